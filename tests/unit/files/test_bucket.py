"""Where files go follows from the variables, and nothing of it is shown."""

import pytest

from bedplate.errors import ProductionRefusedError, SettingsError
from bedplate.files.bucket import Bucket
from bedplate.settings import Settings

AWS = {"AWS_BUCKET_NAME": "files", "AWS_REGION": "eu-central-1"}
KEYS = {"AWS_ACCESS_KEY_ID": "the-key-id", "AWS_SECRET_ACCESS_KEY": "the-secret"}


def bucket(**variables: str) -> Bucket:
    """The bucket of these variables."""
    return Bucket.from_settings(Settings.load(variables={**AWS, **variables}))


def test_aws_is_asked_by_host_and_as_the_machines_role() -> None:
    """Without keys the clients find those of the role."""
    found = bucket()
    assert (found.endpoint, found.credentials, found.is_path_style) == (None, None, False)


def test_another_s3_is_asked_by_path() -> None:
    """A bucket is rarely a host's name there; who has that sets the addressing."""
    assert bucket(S3_ENDPOINT_URL="https://s3.example.com").is_path_style
    virtual = {"S3_ENDPOINT_URL": "https://s3.example.com", "BEDPLATE_S3_ADDRESSING": "virtual"}
    assert not bucket(**virtual).is_path_style


def test_credentials_and_their_token_are_never_shown() -> None:
    """Nor is the key's id, which is half of them."""
    found = bucket(**KEYS, AWS_SESSION_TOKEN="the-token")
    assert found.credentials is not None
    assert found.credentials.token == "the-token"
    for shown in (repr(found), str(found), repr(found.credentials)):
        assert not any(secret in shown for secret in ("the-key-id", "the-secret", "the-token"))


@pytest.mark.parametrize("half", KEYS)
def test_half_of_the_credentials_is_refused(half: str) -> None:
    """The role's would be taken silently."""
    with pytest.raises(SettingsError, match="is not set"):
        bucket(**{half: KEYS[half]})


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://s3.example.com",
        "http://127.0.0.1.example.com",
        "ftp://127.0.0.1",
        "https://user:secret@s3.example.com",
        "https://s3.example.com/path",
        "s3.example.com",
    ],
)
def test_an_endpoint_is_https_or_loopback(endpoint: str) -> None:
    """Files and signatures are not sent in the clear, and no secret hides in the URL."""
    with pytest.raises(SettingsError, match="S3_ENDPOINT_URL must") as raised:
        bucket(S3_ENDPOINT_URL=endpoint)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8333", "http://[::1]:1", "http://localhost"]
)
def test_loopback_needs_no_tls(endpoint: str) -> None:
    """The embedded server has none."""
    assert bucket(S3_ENDPOINT_URL=endpoint).is_loopback


def test_without_a_bucket_the_variable_is_named() -> None:
    """With what to do about it."""
    with pytest.raises(SettingsError, match="AWS_BUCKET_NAME is not set") as raised:
        Bucket.from_settings(Settings.load(variables={}))
    assert raised.value.hint


def test_production_refuses_the_embedded_servers_credentials() -> None:
    """They were made for a laptop."""
    variables = {
        "BEDPLATE_ENV": "production",
        "DATABASE_URL": "postgresql://u:long-and-own@db.example.com/x",
        "BEDPLATE_SECRET_KEY": "k" * 40,
        **KEYS,
        "AWS_SECRET_ACCESS_KEY": "dev-only-secret",
    }
    with pytest.raises(ProductionRefusedError, match="AWS_SECRET_ACCESS_KEY"):
        bucket(**variables)
