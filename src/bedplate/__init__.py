"""bedplate: rows, jobs, cache invalidations and files in one transaction.

The public names, each loaded on first use: importing SQLAlchemy and the drivers with the package
would cost every command line a second. `from bedplate import DataLayer` works as usual, and type
checkers see the names.
"""

# By this name checkers take it as true. From `typing` it would double what the import costs.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from bedplate.cache.connections import RedisPool, get_redis_client
    from bedplate.errors import BedplateError
    from bedplate.failpoints import failpoint
    from bedplate.files.file_store import FileStore, NewFile
    from bedplate.files.stored_files import StoredFile
    from bedplate.files.transfer import delete_file, download_file, upload_file
    from bedplate.guard import outside_transaction
    from bedplate.jobs.run import JobRun
    from bedplate.jobs.tasks import Task, task
    from bedplate.layer import DataLayer
    from bedplate.rows.database import Database
    from bedplate.rows.ids import new_id
    from bedplate.rows.models import Model, Timestamps, UUIDKey, new_metadata
    from bedplate.rows.pagination import Page
    from bedplate.rows.policies import TenantOwned
    from bedplate.rows.repository import Repository
    from bedplate.rows.soft_delete import SoftDelete
    from bedplate.settings import Settings
    from bedplate.system import System
    from bedplate.unit_of_work import UnitOfWork

__version__ = "0.1.0"

_ROOMS = {
    "BedplateError": "bedplate.errors",
    "DataLayer": "bedplate.layer",
    "Database": "bedplate.rows.database",
    "FileStore": "bedplate.files.file_store",
    "JobRun": "bedplate.jobs.run",
    "Model": "bedplate.rows.models",
    "NewFile": "bedplate.files.file_store",
    "Page": "bedplate.rows.pagination",
    "RedisPool": "bedplate.cache.connections",
    "Repository": "bedplate.rows.repository",
    "Settings": "bedplate.settings",
    "SoftDelete": "bedplate.rows.soft_delete",
    "StoredFile": "bedplate.files.stored_files",
    "System": "bedplate.system",
    "Task": "bedplate.jobs.tasks",
    "TenantOwned": "bedplate.rows.policies",
    "Timestamps": "bedplate.rows.models",
    "UUIDKey": "bedplate.rows.models",
    "UnitOfWork": "bedplate.unit_of_work",
    "delete_file": "bedplate.files.transfer",
    "download_file": "bedplate.files.transfer",
    "failpoint": "bedplate.failpoints",
    "get_redis_client": "bedplate.cache.connections",
    "new_id": "bedplate.rows.ids",
    "new_metadata": "bedplate.rows.models",
    "outside_transaction": "bedplate.guard",
    "task": "bedplate.jobs.tasks",
    "upload_file": "bedplate.files.transfer",
}

__all__ = [
    "BedplateError",
    "DataLayer",
    "Database",
    "FileStore",
    "JobRun",
    "Model",
    "NewFile",
    "Page",
    "RedisPool",
    "Repository",
    "Settings",
    "SoftDelete",
    "StoredFile",
    "System",
    "Task",
    "TenantOwned",
    "Timestamps",
    "UUIDKey",
    "UnitOfWork",
    "__version__",
    "delete_file",
    "download_file",
    "failpoint",
    "get_redis_client",
    "new_id",
    "new_metadata",
    "outside_transaction",
    "task",
    "upload_file",
]


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(room), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
