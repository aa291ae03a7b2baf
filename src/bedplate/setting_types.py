"""The types of environment variables: durations, and the addresses of servers.

What pydantic says of a wrong one is shown to people after the variable's name, so each message
here goes on from there. Used by `settings.py` and by systems' settings of their own.
"""

from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from bedplate.errors import SettingsError
from bedplate.redis_address import RedisAddress
from bedplate.urls import DatabaseUrl, normalize_redis_url

CERTIFICATE_CHECKS = ("none", "optional", "required")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _seconds(value: Any) -> Any:
    """Plain numbers are seconds, in a variable as everywhere."""
    if not isinstance(value, str):
        return value
    try:
        duration = timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        raise ValueError("must be a number of seconds") from None
    if duration <= timedelta(0):
        raise ValueError("must be more than 0 seconds")
    return duration


def _database_url(value: SecretStr) -> SecretStr:
    DatabaseUrl.parse(value.get_secret_value())
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    url = normalize_redis_url(value.get_secret_value())
    try:
        address = RedisAddress.parse(url)
    except SettingsError as error:
        raise ValueError(error.message.removeprefix("REDIS_URL ")) from None
    if dict(address.options).get("ssl_cert_reqs", "none") not in CERTIFICATE_CHECKS:
        raise ValueError(f"has an unknown ssl_cert_reqs (one of {', '.join(CERTIFICATE_CHECKS)})")
    return SecretStr(url)


def _s3_endpoint(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with https:// and name a host")
    if parts.username or parts.query or parts.path not in ("", "/"):
        raise ValueError("must be scheme, host and port only")
    if parts.scheme == "http" and not _is_of_this_network(parts.hostname):
        raise ValueError("must begin with https://; http:// is for loopback and for containers")
    return value.rstrip("/")


def missing(variable: str) -> SettingsError:
    """The error for a variable that is needed and not set."""
    return SettingsError(
        f"{variable} is not set",
        hint='Start the embedded servers with `bedplate up -d`, then `eval "$(bedplate env)"`; '
        f"or set {variable} to a server of your own.",
        variable=variable,
    )


def _is_of_this_network(host: str) -> bool:
    """Loopback, or a name without a dot: another container's."""
    return host in LOOPBACK or not set(host) & set(".:")


Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_database_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
S3Endpoint = Annotated[str, AfterValidator(_s3_endpoint)]
