"""deploy/aws: the templates are valid, and each identity may do what it is for, and nothing else.

Tried on servers that enforce policies, by the documents that the stacks were made of. What neither
of them knows is held as text only: the condition on `s3:if-none-match`.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from bedplate import health
from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.errors import NotFoundError, ObjectDeniedError, ObjectNotFoundError
from bedplate.files import stored_files
from bedplate.files.bucket import Bucket
from bedplate.files.file_store import NewFile
from bedplate.files.keys import prefixes
from bedplate.files.object_store import ONE_PUT_BYTES, ObjectStore
from bedplate.layer import DataLayer
from bedplate.servers.binaries import find_weed
from bedplate.testing.clones import ScratchDatabase
from tests.deploy import aws
from tests.deploy.aws import BUCKET_TEMPLATE, IDENTITIES, NAME, OTHER, Cloud, Keys
from tests.integration.files.fault_proxy import fault_proxy

SYSTEM = "pdf_translator"
THERE, OWN = f"{SYSTEM}/there", f"{SYSTEM}/own"
ANY_POLICY = json.dumps({"Version": "2012-10-17", "Statement": []})
TEXT = NewFile("scan.pdf", "application/pdf")

Ask = Callable[[Any], Any]
OBJECTS: dict[str, Ask] = {
    "put": lambda s3: s3.put_object(Bucket=NAME, Key=OWN, Body=b"1"),
    "get": lambda s3: s3.get_object(Bucket=NAME, Key=THERE),
    "head": lambda s3: s3.head_object(Bucket=NAME, Key=THERE),
    "begin parts": lambda s3: s3.create_multipart_upload(Bucket=NAME, Key=OWN),
    "delete": lambda s3: s3.delete_object(Bucket=NAME, Key=OWN),
}
LISTINGS: dict[str, Ask] = {
    "list": lambda s3: s3.list_objects_v2(Bucket=NAME),
    "list in the older way": lambda s3: s3.list_objects(Bucket=NAME),
    "list uploads": lambda s3: s3.list_multipart_uploads(Bucket=NAME),
}
RULES: dict[str, Ask] = {
    "policy": lambda s3: s3.put_bucket_policy(Bucket=NAME, Policy=ANY_POLICY),
    "lifecycle": lambda s3: s3.put_bucket_lifecycle_configuration(
        Bucket=NAME,
        LifecycleConfiguration={
            "Rules": [
                {"ID": "a", "Status": "Enabled", "Prefix": "a/", "Expiration": {"Days": 1}},
            ]
        },
    ),
    "public access": lambda s3: s3.put_public_access_block(
        Bucket=NAME, PublicAccessBlockConfiguration={"BlockPublicAcls": True}
    ),
}
# What nobody of the three is for, each a way to more rights or to others' files.
ELSE: dict[str, Ask] = {
    "list buckets": lambda s3: s3.list_buckets(),
    "make a bucket": lambda s3: s3.create_bucket(Bucket="one-more"),
    "delete a bucket": lambda s3: s3.delete_bucket(Bucket=OTHER),
    "delete the bucket": lambda s3: s3.delete_bucket(Bucket=NAME),
    "get of another": lambda s3: s3.get_object(Bucket=OTHER, Key=THERE),
    "put to another": lambda s3: s3.put_object(Bucket=OTHER, Key=OWN, Body=b"1"),
    "delete of another": lambda s3: s3.delete_object(Bucket=OTHER, Key=THERE),
    "list another": lambda s3: s3.list_objects_v2(Bucket=OTHER),
    "policy of another": lambda s3: s3.put_bucket_policy(Bucket=OTHER, Policy=ANY_POLICY),
    "no policy": lambda s3: s3.delete_bucket_policy(Bucket=NAME),
    "acl": lambda s3: s3.put_bucket_acl(Bucket=NAME, ACL="public-read"),
    "acl of an object": lambda s3: s3.put_object_acl(Bucket=NAME, Key=THERE, ACL="public-read"),
    "tags of an object": lambda s3: s3.put_object_tagging(
        Bucket=NAME, Key=THERE, Tagging={"TagSet": []}
    ),
    "versions": lambda s3: s3.list_object_versions(Bucket=NAME),
    "versioning": lambda s3: s3.put_bucket_versioning(
        Bucket=NAME, VersioningConfiguration={"Status": "Suspended"}
    ),
}
# Whoever makes the bucket may read and set its rules; "make a bucket" is of another name.
MAY = {
    "Application": {*OBJECTS},
    "Sweeper": {*OBJECTS, *LISTINGS},
    "Deploy": {*RULES},
}
EVERYTHING = OBJECTS | LISTINGS | RULES | ELSE


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cloud, dict[str, Any]]]:
    """moto with both stacks and another bucket; the three documents as the stack resolved them."""
    with aws.moto(tmp_path_factory.mktemp("moto")) as cloud:
        outputs = aws.stack(cloud, IDENTITIES, BucketName=NAME)
        aws.stack(cloud, BUCKET_TEMPLATE, BucketName=NAME)
        s3, iam = cloud.client("s3"), cloud.client("iam")
        s3.create_bucket(Bucket=OTHER)
        for bucket in (NAME, OTHER):
            s3.put_object(Bucket=bucket, Key=THERE, Body=b"what is there")
        found: dict[str, Any] = {}
        for name in MAY:
            arn = outputs[f"{name}Policy"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            document = iam.get_policy_version(PolicyArn=arn, VersionId=version)
            found[name] = document["PolicyVersion"]["Document"]
            found[f"key of {name}"] = cloud.key_of(outputs[name])
        found["encryption"] = s3.get_bucket_encryption(Bucket=NAME)
        aws.enforce(cloud)
        yield cloud, found


@pytest.mark.parametrize("template", [BUCKET_TEMPLATE, IDENTITIES], ids=lambda each: each.stem)
def test_P12_the_templates_are_valid(template: Path) -> None:
    """cfn-lint knows every property and what it may be; AWS would say so in mid deployment."""
    found = _lint(template)
    assert found.returncode == 0, found.stdout


def test_P12_a_mistake_in_a_template_is_found(tmp_path: Path) -> None:
    """A check that accepts anything proves nothing."""
    wrong = tmp_path / "bucket.yaml"
    text = BUCKET_TEMPLATE.read_text()
    wrong.write_text(text.replace("BlockPublicPolicy", "BlockPublicPolicies"))
    assert "BlockPublicPolicies" in _lint(wrong).stdout


def test_P12_the_bucket_is_private_encrypted_and_forgets_after_a_day(
    stacked: tuple[Cloud, dict[str, Any]],
) -> None:
    """Read from the template; the encryption also from the bucket that was made of it."""
    bucket = aws.resource(BUCKET_TEMPLATE, "Files", BucketName=NAME)
    assert {*bucket["PublicAccessBlockConfiguration"].values()} == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    working = rules["working-files-end-after-a-day"]
    assert (working["Status"], working["ExpirationInDays"]) == ("Enabled", 1)
    assert working["Prefix"] == prefixes(SYSTEM)[1]
    made = stacked[1]["encryption"]["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert made["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_P12_the_application_may_get_put_and_delete_objects_and_nothing_else(
    stacked: tuple[Cloud, dict[str, Any]],
) -> None:
    """The whole document, word for word."""
    (statement,) = stacked[1]["Application"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        "Resource": f"arn:aws:s3:::{NAME}/*",
    }


@pytest.mark.parametrize("name", MAY)
def test_P12_an_identity_is_refused_everything_that_it_is_not_for(
    stacked: tuple[Cloud, dict[str, Any]], name: str
) -> None:
    """Its own requests are answered, all others with 403."""
    cloud, found = stacked
    s3 = cloud.client("s3", found[f"key of {name}"])
    may = MAY[name]
    assert may < {*EVERYTHING}
    answers = {what: _status(ask, s3) for what, ask in EVERYTHING.items()}
    refused = {what: 403 for what in EVERYTHING if what not in may}
    assert {what: each for what, each in answers.items() if each != 200} == refused


@pytest.mark.parametrize("name", MAY)
def test_P12_no_identity_gives_itself_more(
    stacked: tuple[Cloud, dict[str, Any]], name: str
) -> None:
    """Users, keys and policies are the administrator's."""
    cloud, found = stacked
    iam = cloud.client("iam", found[f"key of {name}"])
    tries: list[Ask] = [
        lambda iam: iam.list_users(),
        lambda iam: iam.create_user(UserName="more"),
        lambda iam: iam.create_access_key(UserName="more"),
        lambda iam: iam.put_user_policy(
            UserName=name, PolicyName="more", PolicyDocument=ANY_POLICY
        ),
    ]
    assert [_status(ask, iam) for ask in tries] == [403] * len(tries)


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """SeaweedFS with the bucket, another one, and an object in each."""
    program = find_weed(None)
    if program is None:
        pytest.skip("SeaweedFS is not installed")
    with aws.weed(program, tmp_path_factory.mktemp("weed")) as cloud:
        s3 = cloud.client("s3")
        for bucket in (NAME, OTHER):
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key=THERE, Body=b"what is there")
        yield cloud


@pytest.fixture(scope="module")
def application(weed: Cloud, stacked: tuple[Cloud, dict[str, Any]]) -> Keys:
    """The application's identity there."""
    return aws.user_of(weed, "application", stacked[1]["Application"])


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_P12_the_bucket_answers_over_tls_only(weed: Cloud, application: Keys) -> None:
    """Refused to the administrator, too: a policy denies before a right allows."""
    policy = aws.resource(BUCKET_TEMPLATE, "FilesPolicy", BucketName=NAME)["PolicyDocument"]
    over_tls, each_key_once = policy["Statement"]
    assert each_key_once["Condition"]["Null"] == {"s3:if-none-match": "true"}
    admin = weed.client("s3", is_tls=True)
    admin.put_bucket_policy(Bucket=NAME, Policy=json.dumps(policy | {"Statement": [over_tls]}))
    try:
        for keys in (application, aws.ADMIN):
            assert _status(OBJECTS["get"], weed.client("s3", keys)) == 403
            assert _status(OBJECTS["get"], weed.client("s3", keys, is_tls=True)) == 200
    finally:
        admin.delete_bucket_policy(Bucket=NAME)


@pytest.fixture
async def under_policy(
    committed: ScratchDatabase, weed: Cloud, application: Keys
) -> AsyncIterator[DataLayer]:
    """A layer under the application's identity, on an S3 that answers 403 for what is missing."""
    with fault_proxy(weed.endpoint) as proxy:
        proxy.is_hiding = True
        async with DataLayer(_settings(committed, proxy.endpoint, application)) as layer:
            yield layer


@pytest.mark.parametrize("size", [1, ONE_PUT_BYTES + 1])
async def test_P12_the_application_works_under_its_identity(
    under_policy: DataLayer, weed: Cloud, size: int
) -> None:
    """Health, upload (whole and in parts), download, link, deletion by the sweep of the rows."""
    report = await health.check(under_policy)
    assert report.services["s3"].is_up, report.services["s3"].reason
    async with under_policy.transaction() as uow:
        file = await uow.store_file(b"x" * size, TEXT)
    assert await under_policy.files.read(file) == b"x" * size
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(await under_policy.files.link(file))
    assert (answer.status_code, len(answer.content)) == (200, size)
    async with under_policy.transaction() as uow:
        await uow.delete_file(file.id)
    await _sweep_now(under_policy)
    listed = weed.client("s3").list_objects_v2(Bucket=NAME)["Contents"]
    assert file.key not in {each["Key"] for each in listed}


def test_P12_nothing_is_copied_from_another_bucket(weed: Cloud, application: Keys) -> None:
    """A copy reads there as whoever asks for it."""
    source = {"Bucket": OTHER, "Key": THERE}
    s3 = weed.client("s3", application)
    assert _status(lambda s3: s3.copy_object(Bucket=NAME, Key=OWN, CopySource=source), s3) == 403


async def test_P12_missing_and_denied_are_told_apart_by_our_own_rows(
    under_policy: DataLayer, committed: ScratchDatabase, weed: Cloud
) -> None:
    """S3 answers 403 for both: no row, a row whose object was lost, a row that is refused."""
    async with under_policy.transaction() as uow:
        file = await uow.store_file(b"here", TEXT)
        gone = await uow.store_file(b"gone", TEXT)
    async with under_policy.transaction() as uow:
        await uow.delete_file(gone.id)
    async with under_policy.reading() as session:
        connection = await session.connection()
        with pytest.raises(NotFoundError):
            await stored_files.load_readable(connection, gone.id)
    weed.client("s3").delete_object(Bucket=NAME, Key=file.key)
    with pytest.raises(ObjectNotFoundError):
        await under_policy.files.read(file)
    stranger = Keys(key_id=aws.ADMIN.key_id, secret="not-the-secret")
    settings = _settings(committed, weed.endpoint, stranger)
    async with DataLayer(settings) as refused:
        with pytest.raises(ObjectDeniedError):
            await refused.files.read(file)


async def test_P12_the_sweepers_identity_finds_what_no_row_names(
    committed: ScratchDatabase, weed: Cloud, stacked: tuple[Cloud, dict[str, Any]]
) -> None:
    """It lists, and the application's may not."""
    document = stacked[1]["Sweeper"]
    on_objects, on_bucket = document["Statement"]
    # SeaweedFS has no right of the name that AWS gave the listing of uploads.
    on_bucket = on_bucket | {"Action": ["s3:List*"]}
    keys = aws.user_of(weed, "sweeper", document | {"Statement": [on_objects, on_bucket]})
    settings = _settings(committed, weed.endpoint, keys)
    orphan = f"{SYSTEM}/2026/01/{'0' * 32}"
    await ObjectStore(Bucket.from_settings(settings)).put(orphan, b"nobody's", "text/plain")
    async with DataLayer(settings) as layer:
        swept = await FileSweeper(layer).sweep_orphans()
    assert swept.quarantined == 1


async def test_P12_the_applications_identity_does_not_sweep_the_bucket(
    under_policy: DataLayer,
) -> None:
    """A page of the bucket is for the sweeper."""
    with pytest.raises(ObjectDeniedError):
        await FileSweeper(under_policy).sweep_orphans()


def _settings(committed: ScratchDatabase, endpoint: str, keys: Keys) -> Any:
    return committed.settings(
        AWS_BUCKET_NAME=NAME,
        S3_ENDPOINT_URL=endpoint,
        AWS_ACCESS_KEY_ID=keys.key_id,
        AWS_SECRET_ACCESS_KEY=keys.secret,
        BEDPLATE_FILE_RETENTION="0.001",
    )


async def _sweep_now(layer: DataLayer) -> None:
    assert layer.settings.file_retention == timedelta(milliseconds=1)
    swept = await FileSweeper(layer).sweep()
    assert swept.deleted == 1


def _status(ask: Ask, client: Any) -> int:
    """The status of an answer; every success is 200 here."""
    try:
        status = int(ask(client)["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return 200 if status < 300 else status


def _lint(template: Path) -> "subprocess.CompletedProcess[str]":
    tool = Path(sys.executable).parent / "cfn-lint"
    return subprocess.run([tool, template], capture_output=True, text=True, check=False)
