"""Redis URLs taken apart once: one server, a master that Sentinel names, or a cluster.

    redis://user:password@host:6379/0       unix:///path?db=0
    redis+sentinel://:password@host1:26379,host2:26379/mymaster/0
    redis+cluster://:password@host1:7000,host2:7001

With TLS they begin with rediss. The forms are those of the packages `limits` and `coredis`. The
password is in no repr and no error. No client is imported: the settings check URLs, too.
"""

import re
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from bedplate.errors import SettingsError

Kind = Literal["single", "sentinel", "cluster"]

SCHEMES = frozenset(
    {"unix"}
    | {f"{tls}{kind}" for tls in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster")}
)
# Several addresses are no netloc: newer Pythons refuse one in brackets that is not the first.
_URL = re.compile(r"(?P<scheme>[^:/?#]+://)(?P<netloc>[^/?#]*)(?P<rest>.*)", re.DOTALL)
DEFAULT_PORTS = {"single": 6379, "sentinel": 26379, "cluster": 6379}


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is, and as whom to enter it."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    socket_path: str | None = None
    is_tls: bool = False
    database: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    master: str = ""
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, raw: str) -> Self:
        """Take a URL apart. Raises `SettingsError`, which never says the value."""
        found = _URL.fullmatch(raw.strip())
        parts = urlsplit("" if found is None else found["scheme"] + found["rest"])
        if found is None or parts.scheme not in SCHEMES:
            raise _refusal(
                "must begin with redis://, rediss://, unix://, or with one of these "
                "and +sentinel or +cluster, such as redis+sentinel://"
            )
        kind = _kind_of(parts.scheme)
        options = dict(parse_qsl(parts.query))
        credentials, _, addresses = found["netloc"].rpartition("@")
        user, _, password = credentials.partition(":")
        path = [unquote(each) for each in parts.path.split("/") if each]
        master = ""
        if kind == "sentinel":
            if not path:
                raise _refusal("names no master: redis+sentinel://host:26379/MASTER/0")
            master = path.pop(0)
        socket_path = unquote(parts.path) if parts.scheme == "unix" else None
        database = options.pop("db", None) or (path[0] if path and not socket_path else "0")
        return cls(
            kind=kind,
            hosts=() if socket_path else _hosts(addresses, DEFAULT_PORTS[kind]),
            socket_path=socket_path,
            is_tls=parts.scheme.startswith("rediss"),
            database=_database(database, kind),
            user=unquote(options.pop("username", "") or user) or None,
            password=unquote(options.pop("password", "") or password) or None,
            master=master,
            options=tuple(sorted(options.items())),
        )

    @property
    def sentinel_credentials(self) -> tuple[str | None, str | None]:
        """User and password of the sentinels: `?sentinel_username=…&sentinel_password=…`."""
        options = dict(self.options)
        return options.get("sentinel_username"), options.get("sentinel_password")

    def url_of(self, host: str, port: int, scheme: str | None = None) -> str:
        """The URL of one server, password included, for a client."""
        secret = "" if self.password is None else f":{quote(self.password, safe='')}"
        entry = f"{quote(self.user or '', safe='')}{secret}"
        name = f"[{host}]" if ":" in host else host
        own = {name: value for name, value in self.options if not name.startswith("sentinel_")}
        tail = f"?{urlencode(own)}" if own else ""
        return (
            f"{scheme or ('rediss' if self.is_tls else 'redis')}://{entry}{'@' if entry else ''}"
            f"{name}:{port}/{self.database}{tail}"
        )


def _kind_of(scheme: str) -> Kind:
    if scheme.endswith("+sentinel"):
        return "sentinel"
    return "cluster" if scheme.endswith("+cluster") else "single"


def _hosts(addresses: str, default_port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for address in addresses.split(","):
        try:
            parts = urlsplit(f"//{address}")
            found.append((parts.hostname or "localhost", parts.port or default_port))
        except ValueError:
            raise _refusal("has a port that is no number") from None
    return tuple(found)


def _database(raw: str, kind: Kind) -> int:
    if not raw.isdecimal():
        raise _refusal("has a database that is no number")
    if kind == "cluster" and int(raw):
        raise _refusal("names a database, and a cluster has only database 0")
    return int(raw)


def _refusal(why: str) -> SettingsError:
    return SettingsError(
        f"REDIS_URL {why}", hint="Give it as redis://:PASSWORD@HOST:6379/0", variable="REDIS_URL"
    )
