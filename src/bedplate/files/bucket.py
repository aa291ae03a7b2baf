"""Where objects are and as whom they are asked for: one value, from the environment's variables.

Everything is passed to the clients explicitly, so that neither a profile in a home folder nor a
proxy's variables change where files go. Without keys, those of the machine's role are used.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from bedplate.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from bedplate.settings import Settings


@dataclass(frozen=True)
class Credentials:
    """A key and its secret, with the token where they are temporary. Never shown."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Bucket:
    """One bucket of one S3, as one identity."""

    name: str
    region: str = "us-east-1"
    endpoint: str | None = None
    credentials: Credentials | None = None
    is_path_style: bool = False
    pool_size: int = 16
    timeout: timedelta = timedelta(seconds=30)

    @classmethod
    def from_settings(cls, settings: "Settings") -> Self:
        """The bucket of AWS_BUCKET_NAME. Raises `SettingsError` when it is missing."""
        addressing = settings.s3_addressing
        return cls(
            name=settings.bucket_name(),
            region=settings.aws_region,
            endpoint=settings.s3_endpoint_url,
            credentials=_credentials(settings),
            is_path_style=addressing == "path"
            or (addressing == "auto" and settings.s3_endpoint_url is not None),
            pool_size=settings.s3_pool_size,
            timeout=settings.s3_timeout,
        )

    @property
    def is_loopback(self) -> bool:
        """Whether the bytes leave the machine; without TLS they must not."""
        return self.endpoint is not None and self.endpoint.startswith("http://")

    def __str__(self) -> str:
        return f"bucket {self.name!r} at {self.endpoint or f'AWS {self.region}'}"


def _credentials(settings: "Settings") -> Credentials | None:
    key_id, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    if key_id is None and secret is None:
        return None
    if key_id is None or secret is None:
        missing = "AWS_ACCESS_KEY_ID" if key_id is None else "AWS_SECRET_ACCESS_KEY"
        raise SettingsError(
            f"{missing} is not set, and the other half of the credentials is",
            hint="Set both, or neither where the machine's role gives access.",
            variable=missing,
        )
    token = settings.aws_session_token
    return Credentials(_plain(key_id), _plain(secret), None if token is None else _plain(token))


def _plain(secret: "SecretStr") -> str:
    return secret.get_secret_value()
