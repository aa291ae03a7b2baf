"""Database URLs as providers give them, taken apart once and rendered for each driver.

Accepts `postgres://`, `postgresql://`, `postgresql+asyncpg://`, percent-encoded parts and the
parameters that providers add: TLS (`rows/tls.py`), `options`, and what is meant for another client,
which changes nothing. `channel_binding` is taken and not done: asyncpg has none, so who needs to
know the server asks for `sslmode=verify-full`. The password is in no repr and no error. No import
of a driver: the command line reads URLs too.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from bedplate.errors import SettingsError

SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# What other clients' users write.
SSL_WORDS = {"true": "require", "1": "require", "no-verify": "require", "false": "disable"}
TRUE_WORDS = ("true", "1")
FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"


@dataclass(frozen=True)
class DatabaseUrl:
    """One PostgreSQL database and the user to enter it with."""

    host: str
    port: int
    user: str
    database: str
    password: str = field(default="", repr=False)
    sslmode: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, raw: str, *, variable: str = "DATABASE_URL") -> Self:
        """Take a URL apart. Raises `SettingsError` naming `variable`, never the value."""
        try:
            parts = urlsplit(raw.strip())
            query = dict(parse_qsl(parts.query))
            port = int(query.pop("port", parts.port or 5432))
        except ValueError:
            raise _refusal(variable, "is no URL") from None
        if parts.scheme not in SCHEMES:
            raise _refusal(variable, "is no PostgreSQL URL")
        database = unquote(parts.path.lstrip("/"))
        if not database:
            raise _refusal(variable, "names no database")
        host = query.pop("host", None) or unquote(parts.hostname or "")
        sslmode = query.pop("sslmode", None) or query.pop("ssl", None)
        sslmode = SSL_WORDS.get(sslmode, sslmode) if sslmode else None
        if sslmode is not None and sslmode not in SSL_MODES:
            raise _refusal(variable, f"has an unknown sslmode (one of {', '.join(SSL_MODES)})")
        return cls(
            host=host or "localhost",
            port=port,
            user=unquote(parts.username or "postgres"),
            password=unquote(parts.password or ""),
            database=database,
            sslmode=sslmode,
            options=tuple(sorted(query.items())),
        )

    def render(self, scheme: str = "postgresql") -> str:
        """The whole URL, password included: for a driver or a child process, never for a log."""
        return self._render(scheme, quote(self.password, safe=""))

    def redacted(self) -> str:
        """The URL for people: the password is `***`."""
        return self._render("postgresql", "***" if self.password else "")

    def with_database(self, database: str) -> Self:
        """The same server and user, another database."""
        return replace(self, database=database)

    def with_user(self, user: str, password: str) -> Self:
        """The same server and database, another user."""
        return replace(self, user=user, password=password)

    def connect_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `asyncpg.connect`, certificates apart."""
        arguments: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password or None,
            "database": self.database,
        }
        if self.sslmode is not None:
            arguments["ssl"] = self.sslmode
        given = dict(self.options).get("options")
        if given:
            arguments["server_settings"] = {"options": given}
        return arguments

    @property
    def is_marked_pooler(self) -> bool:
        """Whether the URL itself says that it leads to a transaction pooler: `?pgbouncer=true`."""
        return dict(self.options).get("pgbouncer", "").lower() in TRUE_WORDS

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine: a loopback address or a socket."""
        return self.host.startswith("/") or bool(
            re.fullmatch(r"localhost|127(\.\d+){3}|::1", self.host)
        )

    def _render(self, scheme: str, password: str) -> str:
        query = dict(self.options)
        if self.sslmode:
            query["sslmode"] = self.sslmode
        host = self.host
        if host.startswith("/"):
            query["host"], query["port"], host = host, str(self.port), ""
        elif ":" in host:
            host = f"[{host}]"
        secret = f":{password}" if password else ""
        tail = f"?{urlencode(query)}" if query else ""
        address = f"{host}:{self.port}" if host else ""
        return (
            f"{scheme}://{quote(self.user, safe='')}{secret}@{address}"
            f"/{quote(self.database, safe='')}{tail}"
        )


def normalize_redis_url(raw: str) -> str:
    """`ssl_cert_reqs=CERT_NONE`, as Celery writes it, in redis-py's words: `none`."""
    if "ssl_cert_reqs" not in raw:
        return raw.strip()
    parts = urlsplit(raw.strip())
    query = [
        (name, value.lower().removeprefix("cert_") if name == "ssl_cert_reqs" else value)
        for name, value in parse_qsl(parts.query)
    ]
    return parts._replace(query=urlencode(query)).geturl()


def redact(url: str) -> str:
    """Any URL with its password as `***`: for messages about Redis, S3 and proxies."""
    hidden = re.sub(r"(?<=://)([^/@:]*):([^@]*)@", r"\1:***@", url)
    return re.sub(r"(password=)[^&\s]+", r"\1***", hidden)


def _refusal(variable: str, why: str) -> SettingsError:
    return SettingsError(f"{variable} {why}", hint=f"Give it as {FORM}", variable=variable)
