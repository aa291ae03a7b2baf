"""Every exception of bedplate, one class for each thing that a caller would treat differently.

    BedplateError
    ├── SettingsError (ValueError)            a variable is missing or wrong
    │   └── ProductionRefusedError            production met a development value
    ├── ProjectError (ValueError)             pyproject's [tool.bedplate] is wrong
    ├── ServerError (RuntimeError)            an embedded server did not start or went away
    │   ├── PortTakenError                    a pinned port is in use
    │   └── StackNotRunningError              no embedded stack runs for this project
    ├── WaitTimeoutError (TimeoutError)       something was not ready in time
    ├── ConsentMissingError (PermissionError) nobody agreed to change a server that is not ours
    ├── UnreachableError (ConnectionError)    a server cannot be reached
    │   ├── DatabaseUnreachableError
    │   ├── RedisUnreachableError
    │   ├── ProviderUnreachableError          who signs people in does not answer
    │   └── StorageUnreachableError           S3 does not answer, or is overloaded
    ├── PoolExhaustedError (TimeoutError)     every connection of the pool is in use
    ├── RoleRefusedError (PermissionError)    the layer would serve as owner or superuser
    ├── TransactionError (RuntimeError)       the unit of work was used wrongly
    │   ├── TransactionEndedError             … after its end
    │   └── TransactionBypassedError          a call takes effect whether it commits or not
    ├── UnknownStepError (LookupError)        a test names a failpoint that does not exist
    ├── CommitUnknownError (ConnectionError)  the answer to COMMIT was lost, and nobody knows
    ├── SignInRefusedError (PermissionError)  a sign-in that does not hold
    ├── TooManyAttemptsError (PermissionError)  passwords were tried too often
    ├── PasswordError (ValueError)            a password that cannot be hashed whole
    ├── NotFoundError (LookupError)           no such row
    ├── ConflictError (ValueError)            the row exists already, or has another state
    ├── SoftDeleteError (RuntimeError)        a statement would reach rows that are deleted
    ├── CursorError (ValueError)              a page's cursor is not one of ours
    ├── VectorError (ValueError)              numbers that a vector column cannot hold
    ├── CacheTypeError (TypeError)            a value or a type that JSON does not hold
    ├── JobError (RuntimeError)
    │   ├── ArgumentsError (TypeError)        arguments that do not fit the task
    │   ├── UnknownTaskError (LookupError)    no task of that name in this process
    │   └── LeaseLostError                    another worker owns the job now
    ├── ObjectNotFoundError (LookupError)     no such object in the bucket, or no such bucket
    ├── ObjectDeniedError (PermissionError)   S3 refuses these credentials
    ├── ObjectExistsError (FileExistsError)   the key is written already; keys are written once
    ├── FileError (ValueError)
    │   ├── FileTooLargeError                 more bytes than the caller allows
    │   ├── FileMismatchError                 other bytes than were declared or stored
    │   └── UploadEndedError                  the upload is swept, or completed already
    ├── SweepRefusedError (RuntimeError)      a sweep would delete what it should not
    │   └── BucketOwnerError                  the bucket belongs to another database
    └── MigrationError (RuntimeError)
        ├── MigrationLockError (TimeoutError) another process migrates, and did not end in time
        └── PendingMigrationError             the database is behind the code

The message says what happened, with the value; `hint` what to do, ideally a command; other data
are attributes. `code` is stable, for JSON output and problem details.
"""

from typing import Any, ClassVar


class BedplateError(Exception):
    """The root. `exit_code` is what the command line ends with: 1 failure, 3 not ready."""

    code: ClassVar[str] = "failure"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            # So that a traceback ends with what to do.
            self.add_note(hint)
        self.data = data


class SettingsError(BedplateError, ValueError):
    """An environment variable is missing or wrong. The message names it, never its value."""

    code = "settings_invalid"


class ProductionRefusedError(SettingsError):
    """BEDPLATE_ENV=production, and a development value was met."""

    code = "production_refused"


class ProjectError(BedplateError, ValueError):
    """The table [tool.bedplate] in pyproject.toml is wrong, or a system cannot be imported."""

    code = "project_invalid"


class ServerError(BedplateError, RuntimeError):
    """An embedded server did not start, or went away."""

    code = "server_failed"


class PortTakenError(ServerError):
    """A pinned port is in use by another program."""

    code = "port_taken"


class StackNotRunningError(ServerError):
    """No embedded stack runs for this project."""

    code = "stack_not_running"
    exit_code = 3


class WaitTimeoutError(BedplateError, TimeoutError):
    """Something that was waited for was not ready in time."""

    code = "not_ready"
    exit_code = 3


class ConsentMissingError(BedplateError, PermissionError):
    """A command would change or destroy what is not ours to change, and nobody agreed to it."""

    code = "consent_missing"


class UnreachableError(BedplateError, ConnectionError):
    """A server cannot be reached."""

    code = "unreachable"
    exit_code = 3


class DatabaseUnreachableError(UnreachableError):
    """PostgreSQL cannot be reached: refused, wrong password, unknown database, TLS."""

    code = "database_unreachable"


class RedisUnreachableError(UnreachableError):
    """Redis or Valkey cannot be reached."""

    code = "redis_unreachable"


class ProviderUnreachableError(UnreachableError):
    """The OpenID provider does not answer, or not as a provider does."""

    code = "provider_unreachable"


class StorageUnreachableError(UnreachableError):
    """S3 cannot be reached, does not answer in time, or answers with a fault of its own."""

    code = "storage_unreachable"


class PoolExhaustedError(BedplateError, TimeoutError):
    """Every connection of the pool was in use for the whole of `pool_timeout`."""

    code = "pool_exhausted"


class RoleRefusedError(BedplateError, PermissionError):
    """A pooled connection would serve as the schema's owner or as a superuser."""

    code = "role_refused"


class TransactionError(BedplateError, RuntimeError):
    """The unit of work was used in a way that would break its promise."""

    code = "transaction_misused"


class TransactionEndedError(TransactionError):
    """The unit of work was used after its end."""

    code = "transaction_ended"


class TransactionBypassedError(TransactionError):
    """A call inside a transaction takes effect at once, whether that commits or not.

    `data` has the file, the line and the call.
    """

    code = "transaction_bypassed"


class UnknownStepError(BedplateError, LookupError):
    """A test names a failpoint that neither bedplate nor an imported module has."""

    code = "step_unknown"


class CommitUnknownError(BedplateError, ConnectionError):
    """The answer to COMMIT was lost, and the server could not be asked what became of it.

    It may be committed: doing it again without looking may do it twice.
    """

    code = "commit_unknown"


class SignInRefusedError(BedplateError, PermissionError):
    """The sign-in does not hold. `data["reason"]` is a word for programs."""

    code = "sign_in_refused"


class TooManyAttemptsError(BedplateError, PermissionError):
    """A password was tried too often. `retry_after` (a timedelta) says when it may be again."""

    code = "too_many_attempts"


class PasswordError(BedplateError, ValueError):
    """A password that cannot be hashed whole: over 72 bytes, or with a NUL."""

    code = "password_unusable"


class NotFoundError(BedplateError, LookupError):
    """No such row, or none that the caller may see."""

    code = "not_found"


class ConflictError(BedplateError, ValueError):
    """The row exists already, or is in another state."""

    code = "conflict"


class SoftDeleteError(BedplateError, RuntimeError):
    """A statement would reach rows that are deleted softly, and did not say that it wants them."""

    code = "deleted_rows_reached"


class CursorError(BedplateError, ValueError):
    """A page's cursor is damaged, or belongs to another query."""

    code = "cursor_invalid"


class VectorError(BedplateError, ValueError):
    """A vector has another number of dimensions than its column, or a number that is none."""

    code = "vector_invalid"


class CacheTypeError(BedplateError, TypeError):
    """A value cannot be cached: JSON does not hold it, or the loader does not say its type."""

    code = "cache_type_invalid"


class JobError(BedplateError, RuntimeError):
    """Something is wrong with a job or its task."""

    code = "job_failed"


class ArgumentsError(JobError, TypeError):
    """The arguments do not fit the task's signature, or are no JSON."""

    code = "job_arguments_invalid"


class UnknownTaskError(JobError, LookupError):
    """No task of that name is registered in this process."""

    code = "task_unknown"


class LeaseLostError(JobError):
    """The lease ran out and another worker owns the job: nothing of this attempt is committed."""

    code = "lease_lost"


class ObjectNotFoundError(BedplateError, LookupError):
    """No such object. For a committed file that is a loss, and not a caller's mistake."""

    code = "object_not_found"


class ObjectDeniedError(BedplateError, PermissionError):
    """S3 refuses these credentials, or what they ask for."""

    code = "object_denied"


class ObjectExistsError(BedplateError, FileExistsError):
    """The key is written already. Keys are written once and never overwritten."""

    code = "object_exists"


class FileError(BedplateError, ValueError):
    """Something is wrong with a file that is being stored or read."""

    code = "file_failed"


class FileTooLargeError(FileError):
    """More bytes than the caller allows. None of them is kept."""

    code = "file_too_large"


class FileMismatchError(FileError):
    """Size or SHA-256 is not what was declared, or what was stored."""

    code = "file_mismatch"


class UploadEndedError(FileError):
    """The file is not pending any more: it was swept after its time, or is complete already."""

    code = "upload_ended"


class SweepRefusedError(BedplateError, RuntimeError):
    """A sweep would delete more than a person should let go unseen."""

    code = "sweep_refused"


class BucketOwnerError(SweepRefusedError):
    """The guard object in the bucket names another database as the one that may delete."""

    code = "bucket_owned"


class MigrationError(BedplateError, RuntimeError):
    """A migration failed, or cannot be applied."""

    code = "migration_failed"


class MigrationLockError(MigrationError, TimeoutError):
    """Another process holds the migration lock, and did not end in time."""

    code = "migration_locked"
    exit_code = 3


class PendingMigrationError(MigrationError):
    """The database is behind the code."""

    code = "migration_pending"
    exit_code = 3
