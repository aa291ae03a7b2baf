"""What S3 refused, in words of ours: the errors of boto3 and obstore, one class for each reaction.

Called wherever a client is used. obstore gives a class to few answers and the rest as text, so its
text is read for status and code. No message carries a URL with a signature, a key or a secret.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bedplate.errors import (
    BedplateError,
    FileMismatchError,
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageUnreachableError,
)
from bedplate.files.bucket import Bucket

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})|HTTP error: (\d{3})")
_IS_OBJECT = "Object at location"
# 409: two conditional writes of one key at the same time, and another one won.
_EXISTS = {409, 412}
# S3 computed another checksum than the request carries: the bytes changed on the way.
_CHANGED = {
    "BadDigest",
    "InvalidDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
}
_PASSING_STATUS = {408, 429}


@contextmanager
def translated(bucket: Bucket, key: str | None = None) -> Iterator[None]:
    """Turn what the clients raise inside the block into errors of ours."""
    try:
        yield
    except BedplateError:
        raise
    except Exception as error:
        found = translate(error, bucket, key)
        if found is None:
            raise
        raise found from error


def translate(error: Exception, bucket: Bucket, key: str | None) -> BedplateError | None:
    """The error of ours; None when this one did not come from S3 or the way to it."""
    module = type(error).__module__.partition(".")[0]
    if module in {"botocore", "boto3", "s3transfer", "urllib3"}:
        return _from_boto(error, bucket, key)
    # A missing object is a plain FileNotFoundError there; a missing local file is not ours.
    if module == "obstore" or (isinstance(error, FileNotFoundError) and _IS_OBJECT in str(error)):
        return _from_obstore(error, bucket, key)
    return None


def _from_boto(error: Exception, bucket: Bucket, key: str | None) -> BedplateError:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError"}:
            return _denied(bucket, key, "no credentials were found")
        return _unreachable(bucket, type(error).__name__)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _from_answer(status, str(response.get("Error", {}).get("Code", "")), bucket, key)


def _from_obstore(error: Exception, bucket: Bucket, key: str | None) -> BedplateError:
    text = str(error)
    code = _CODE.search(text)
    status = _STATUS.search(text)
    number = int(next(group for group in status.groups() if group)) if status else 0
    if not number:
        number = _STATUS_BY_CLASS.get(type(error).__name__, 0)
    return _from_answer(number, code.group(1) if code else "", bucket, key)


_STATUS_BY_CLASS = {
    "FileNotFoundError": 404,
    "AlreadyExistsError": 412,
    "PreconditionError": 412,
    "PermissionDeniedError": 403,
    "UnauthenticatedError": 401,
}


def _from_answer(status: int, code: str, bucket: Bucket, key: str | None) -> BedplateError:
    if code == "NoSuchBucket":
        return ObjectNotFoundError(
            f"there is no {bucket}",
            hint="Check AWS_BUCKET_NAME and S3_ENDPOINT_URL, or make the bucket.",
            reason="no_such_bucket",
        )
    if status == 404:
        return ObjectNotFoundError(f"there is no object {key!r} in {bucket}", key=key)
    if code in _CHANGED:
        return FileMismatchError(
            f"the bytes of {key!r} changed on their way to {bucket}",
            hint="Store the file again.",
            key=key,
        )
    if status in _EXISTS:
        return ObjectExistsError(
            f"the object {key!r} is in {bucket} already",
            hint="A key is written once. Store the file again, under a new key.",
            key=key,
        )
    if 400 <= status < 500 and status not in _PASSING_STATUS:
        return _denied(bucket, key, code or f"status {status}")
    return _unreachable(bucket, code or (f"status {status}" if status else "no answer"))


def _denied(bucket: Bucket, key: str | None, why: str) -> ObjectDeniedError:
    return ObjectDeniedError(
        f"{bucket} refuses access{f' to {key!r}' if key else ''}: {why}",
        hint="Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the identity's policy and the clock.",
        key=key,
        reason="denied",
    )


def _unreachable(bucket: Bucket, why: str) -> StorageUnreachableError:
    return StorageUnreachableError(
        f"{bucket} cannot be reached: {why}",
        hint="Start the embedded servers with bedplate up -d, or check S3_ENDPOINT_URL.",
        reason=why,
    )
