"""What a system's identity may not do, asked by boto3 as somebody who stole it would (attack 13).

SeaweedFS enforces all of it but two things, which the last tests write down.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from bedplate.servers.state import BUCKET, REGION
from tests.integration.files.weed import S3, Weed

SECRET = b"what nobody else may see"
THEIRS = "theirs/note"
OTHER = "other-bucket"
# All that has a setting of its own below a bucket's address.
SETTINGS = (
    "acl",
    "cors",
    "encryption",
    "lifecycle",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "publicAccessBlock",
    "tagging",
    "versioning",
)


def client_as(s3: S3) -> Any:
    """boto3's client of an identity; one try, since a refusal is what is asked for."""
    return Session().client(
        "s3",
        region_name=REGION,
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.key_id,
        aws_secret_access_key=s3.secret,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@pytest.fixture
def admin(s3: S3) -> Iterator[Any]:
    """The stack's own identity, which laid out what is to be stolen."""
    client = client_as(s3)
    client.create_bucket(Bucket=OTHER)
    for bucket, key in ((BUCKET, THEIRS), (OTHER, THEIRS)):
        client.put_object(Bucket=bucket, Key=key, Body=SECRET)
    yield client
    for bucket in (BUCKET, OTHER):
        client.delete_object(Bucket=bucket, Key=THEIRS)
    client.delete_bucket(Bucket=OTHER)
    client.close()


@pytest.fixture
def thief(weed: Weed, system: str) -> Iterator[Any]:
    """A system's identity, in the wrong hands."""
    client = client_as(weed.s3_of(system))
    client.put_object(Bucket=BUCKET, Key=f"{system}/mine", Body=b"1")
    yield client
    client.close()


def refusal(ask: Callable[[], Any]) -> int:
    """The status of an answer that must be no success."""
    with pytest.raises(ClientError) as refused:
        ask()
    return int(refused.value.response["ResponseMetadata"]["HTTPStatusCode"])


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize("bucket", [BUCKET, OTHER])
def test_objects_of_others_are_refused(thief: Any, system: str, bucket: str) -> None:
    """Read, written, deleted, or copied to where it may read."""
    at = {"Bucket": bucket, "Key": THEIRS}
    into = {"Bucket": BUCKET, "Key": f"{system}/stolen"}
    upload = thief.create_multipart_upload(**into)["UploadId"]
    tries = (
        lambda: thief.get_object(**at),
        lambda: thief.head_object(**at),
        lambda: thief.put_object(**at, Body=b"x"),
        lambda: thief.delete_object(**at),
        lambda: thief.create_multipart_upload(**at),
        lambda: thief.copy_object(**into, CopySource=at),
        lambda: thief.upload_part_copy(**into, CopySource=at, PartNumber=1, UploadId=upload),
        lambda: thief.copy_object(**at, CopySource={"Bucket": BUCKET, "Key": f"{system}/mine"}),
    )
    assert [refusal(each) for each in tries] == [403] * len(tries)
    thief.abort_multipart_upload(**into, UploadId=upload)


def test_a_batch_deletes_only_what_is_its_own(thief: Any, admin: Any) -> None:
    """The request names keys in its body, where a check of the address does not look."""
    batch = {"Objects": [{"Key": THEIRS}]}
    answer = thief.delete_objects(Bucket=BUCKET, Delete=batch)
    assert [each["Code"] for each in answer["Errors"]] == ["AccessDenied"]
    assert admin.get_object(Bucket=BUCKET, Key=THEIRS)["Body"].read() == SECRET


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize("bucket", [BUCKET, OTHER])
@pytest.mark.parametrize("prefix", ["", "theirs/", "expiring/"])
def test_listings_beyond_its_prefixes_are_refused(thief: Any, bucket: str, prefix: str) -> None:
    """Keys are no secrets, but how many files others have is nobody's business."""
    at = {"Bucket": bucket, "Prefix": prefix}
    tries = (thief.list_objects, thief.list_objects_v2, thief.list_multipart_uploads)
    assert [refusal(partial(ask, **at)) for ask in tries] == [403] * len(tries)


@pytest.mark.usefixtures("admin")
def test_a_prefix_with_dots_leads_nowhere_else(thief: Any, system: str) -> None:
    """A prefix is text; one that was taken for a path would lead to the others'."""
    for prefix in (f"{system}/../theirs/", f"{system}/../"):
        assert "Contents" not in thief.list_objects_v2(Bucket=BUCKET, Prefix=prefix)


@pytest.mark.usefixtures("admin")
def test_buckets_are_not_its_to_make_or_remove(thief: Any) -> None:
    """A bucket of its own would be one that nobody sweeps."""
    assert refusal(lambda: thief.create_bucket(Bucket="made-by-a-thief")) == 403
    assert refusal(lambda: thief.delete_bucket(Bucket=OTHER)) == 403
    assert refusal(lambda: thief.delete_bucket(Bucket=BUCKET)) == 403


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_set_on_the_bucket_is_not_its_to_see_or_change(thief: Any, setting: str) -> None:
    """One that may write the policy may do anything."""
    for method in ("GET", "PUT", "DELETE"):
        assert _status(thief, method, setting) == 403, method


def test_a_form_is_signed_for_nobody_elses_key(thief: Any, admin: Any) -> None:
    """A browser's form goes by a policy of its own, past the check of other requests."""
    form = thief.generate_presigned_post(BUCKET, "theirs/form")
    assert httpx.post(form["url"], data=form["fields"], files={"file": b"x"}).status_code == 403
    assert refusal(lambda: admin.get_object(Bucket=BUCKET, Key="theirs/form")) == 404


@pytest.mark.usefixtures("admin")
def test_the_list_of_buckets_is_answered_but_empty(thief: Any) -> None:
    """SeaweedFS does not refuse ListAllMyBuckets, as AWS would; it names none."""
    assert thief.list_buckets()["Buckets"] == []


def test_write_once_is_asked_for_and_not_enforced_upon_the_identity(
    thief: Any, system: str
) -> None:
    """No policy of SeaweedFS demands `If-None-Match`: it is ours that sends it, always."""
    at = {"Bucket": BUCKET, "Key": f"{system}/mine"}
    assert refusal(lambda: thief.put_object(**at, Body=b"2", IfNoneMatch="*")) == 412
    thief.put_object(**at, Body=b"2")
    assert thief.get_object(**at)["Body"].read() == b"2"


def _status(client: Any, method: str, setting: str) -> int:
    """What a request for a bucket's setting is answered, whatever its body."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest

    body = b"{}" if method == "PUT" else b""
    url = f"{client.meta.endpoint_url}/{BUCKET}?{setting}="
    request = AWSRequest(method=method, url=url, data=body)
    S3SigV4Auth(client._request_signer._credentials, "s3", REGION).add_auth(request)
    return httpx.request(method, url, content=body, headers=dict(request.headers)).status_code
