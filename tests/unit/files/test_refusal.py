"""Each answer of S3 becomes the error that a caller would treat differently."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError

from bedplate.errors import (
    BedplateError,
    FileMismatchError,
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageUnreachableError,
)
from bedplate.files.bucket import Bucket, Credentials
from bedplate.files.refusal import translated

BUCKET = Bucket("files", credentials=Credentials("the-key-id", "the-secret"))


def answered(status: int, code: str) -> ClientError:
    """What boto3 raises for this answer."""
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


def said(status: int, code: str) -> GenericError:
    """What obstore raises for an answer that it has no class for."""
    return GenericError(f"Server returned non-2xx status code: {status}: <Code>{code}</Code>")


@pytest.mark.parametrize("raised", [answered, said])
@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NoSuchKey", ObjectNotFoundError),
        (404, "NoSuchBucket", ObjectNotFoundError),
        (403, "AccessDenied", ObjectDeniedError),
        (403, "SignatureDoesNotMatch", ObjectDeniedError),
        (400, "ExpiredToken", ObjectDeniedError),
        (412, "PreconditionFailed", ObjectExistsError),
        (409, "ConditionalRequestConflict", ObjectExistsError),
        (400, "BadDigest", FileMismatchError),
        (400, "XAmzContentSHA256Mismatch", FileMismatchError),
        (429, "TooManyRequests", StorageUnreachableError),
        (500, "InternalError", StorageUnreachableError),
        (503, "SlowDown", StorageUnreachableError),
    ],
)
def test_an_answer_has_its_error(
    raised: type, status: int, code: str, expected: type[BedplateError]
) -> None:
    """The same for both clients, with a hint wherever a person can do something."""
    with pytest.raises(expected) as found, translated(BUCKET, "a/key"):
        raise raised(status, code)
    assert type(found.value) is expected
    assert "the-secret" not in str(found.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), StorageUnreachableError),
        (NoCredentialsError(), ObjectDeniedError),
        (GenericError("HTTP error: error sending request"), StorageUnreachableError),
        (AlreadyExistsError("Object at location a/key already exists"), ObjectExistsError),
        (PermissionDeniedError("lacked the necessary privileges"), ObjectDeniedError),
        (FileNotFoundError("Object at location a/key not found"), ObjectNotFoundError),
    ],
)
def test_a_way_that_is_broken_has_its_error(
    error: Exception, expected: type[BedplateError]
) -> None:
    """And what has a class of its own in obstore."""
    with pytest.raises(expected), translated(BUCKET, "a/key"):
        raise error


@pytest.mark.parametrize("error", [FileNotFoundError("no such file"), ValueError("x"), KeyError(1)])
def test_what_did_not_come_from_s3_stays_what_it_is(error: Exception) -> None:
    """A missing local file is no missing object."""
    with pytest.raises(type(error)) as found, translated(BUCKET):
        raise error
    assert found.value is error
