"""upload_file, download_file, delete_file: any size through little memory, and clear errors."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from bedplate.errors import (
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageUnreachableError,
)
from bedplate.files.multipart import PART_BYTES
from bedplate.files.transfer import delete_file, download_file, upload_file
from bedplate.settings import Settings
from tests.integration.files.weed import S3

MOST_MEGABYTES = 64

# Peak memory from the open client on: what 500 MB cost, and not what importing boto3 does.
MEASURE = """
import resource, sys
from pathlib import Path
from bedplate.files.transfer import delete_file, download_file, upload_file
class Generated:
    def __init__(self, left): self.left = left
    def read(self, size=-1):
        size = min(size, self.left); self.left -= size
        return bytes(size)
class Counted:
    size = 0
    def write(self, data): self.size += len(data)
key, size = sys.argv[1], 500_000_000
upload_file(Generated(1), key + "-first")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
upload_file(Generated(size), key)
counted = Counted()
download_file(key, counted)
delete_file(key)
assert counted.size == size
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""

MEASURE_STREAM = """
import asyncio, resource, sys
from bedplate.files.bucket import Bucket
from bedplate.files.object_store import ObjectStore
from bedplate.files.source import Measured
from bedplate.settings import Settings
async def generated(count):
    for _ in range(count):
        yield bytes(1_000_000)
async def drained(objects, key):
    measured = Measured(objects.stream(key))
    async for _ in measured:
        pass
    return measured.size_bytes
async def main(key):
    objects = ObjectStore(Bucket.from_settings(Settings.load()))
    await objects.put_stream(key + "-first", generated(20), "a/b")
    await drained(objects, key + "-first")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await objects.put_stream(key, generated(500), "a/b")
    assert await drained(objects, key) == 500_000_000
    await objects.delete([key])
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def settings(s3: S3) -> Settings:
    """Settings with an S3, and nothing else."""
    return Settings.load(variables=s3.variables())


@pytest.mark.parametrize("size_bytes", [0, 5, PART_BYTES, 2 * PART_BYTES + 1])
def test_P14_what_is_uploaded_is_downloaded(
    settings: Settings, system: str, tmp_path: Path, size_bytes: int
) -> None:
    """Of every size, from a path to a path."""
    source, target, key = tmp_path / "source", tmp_path / "target", f"{system}/x"
    source.write_bytes(b"abcde" * (size_bytes // 5) + b"z" * (size_bytes % 5))
    upload_file(source, key, settings=settings)
    download_file(key, target, settings=settings)
    assert target.read_bytes() == source.read_bytes()


def test_a_key_is_written_once(settings: Settings, system: str) -> None:
    """In one piece and in parts: the second is refused and changes nothing."""
    key = f"{system}/x"
    upload_file(io.BytesIO(b"first"), key, settings=settings)
    for second in (b"second", b"2" * (PART_BYTES + 1)):
        with pytest.raises(ObjectExistsError, match=key):
            upload_file(io.BytesIO(second), key, settings=settings)
    found = io.BytesIO()
    download_file(key, found, settings=settings)
    assert found.getvalue() == b"first"


def test_P14_a_missing_object_is_not_found_and_leaves_no_file(
    settings: Settings, system: str, tmp_path: Path
) -> None:
    """Nothing appears before the last byte is there."""
    with pytest.raises(ObjectNotFoundError, match="no object"):
        download_file(f"{system}/none", tmp_path / "target", settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_a_local_file_that_is_missing_is_its_own_error(settings: Settings, tmp_path: Path) -> None:
    """It is no matter of S3's."""
    with pytest.raises(FileNotFoundError):
        upload_file(tmp_path / "none", "x", settings=settings)


def test_P14_deleting_twice_is_deleting_once(settings: Settings, system: str) -> None:
    """What is gone is gone."""
    upload_file(io.BytesIO(b"x"), f"{system}/x", settings=settings)
    for _ in range(2):
        delete_file(f"{system}/x", settings=settings)
    with pytest.raises(ObjectNotFoundError):
        download_file(f"{system}/x", io.BytesIO(), settings=settings)


@pytest.mark.bad_day("Wrong S3 credentials", sees="`ObjectDeniedError`; which variables")
def test_P14_wrong_credentials_are_denied(s3: S3, system: str) -> None:
    """And no secret is in the message."""
    variables = {**s3.variables(), "AWS_SECRET_ACCESS_KEY": "wrong-and-never-shown"}
    with pytest.raises(ObjectDeniedError) as raised:
        upload_file(io.BytesIO(b"x"), f"{system}/x", settings=Settings.load(variables=variables))
    assert "wrong-and-never-shown" not in str(raised.value)
    assert s3.key_id not in str(raised.value)


@pytest.mark.bad_day("An S3 bucket that is not there", sees="the bucket's name")
def test_a_missing_bucket_is_named(s3: S3, system: str) -> None:
    """The hint says which variable to look at."""
    settings = Settings.load(variables={**s3.variables(), "AWS_BUCKET_NAME": "no-such-bucket"})
    with pytest.raises(ObjectNotFoundError, match="no-such-bucket") as raised:
        download_file(f"{system}/x", io.BytesIO(), settings=settings)
    assert "AWS_BUCKET_NAME" in raised.value.hint


def test_P14_a_server_that_is_not_there_is_unreachable(s3: S3, system: str) -> None:
    """After few tries, within seconds."""
    settings = Settings.load(variables=s3.variables(endpoint="http://127.0.0.1:9"))
    with pytest.raises(StorageUnreachableError, match="cannot be reached"):
        delete_file(f"{system}/x", settings=settings)


@pytest.mark.parametrize("program", [MEASURE, MEASURE_STREAM], ids=["blocking", "streaming"])
def test_P14_half_a_gigabyte_takes_little_memory(s3: S3, system: str, program: str) -> None:
    """500 MB up and down in a process of their own: less than 64 MB more than before."""
    environment = {"PATH": "/usr/bin:/bin", **s3.variables()}
    measured = subprocess.run(
        [sys.executable, "-c", program, f"{system}/large"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert measured.returncode == 0, measured.stderr
    assert int(measured.stdout) < MOST_MEGABYTES
