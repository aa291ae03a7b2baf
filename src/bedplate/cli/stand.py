"""Which services are embedded here and which are managed, decided by the variables.

A service whose variable is set is managed: used as it is. One whose variable is not set is
embedded. A URL that an embedded stack made (its password says so) counts as not set: it stands in
shells that ran `eval "$(bedplate env)"`, and the running stack knows the present one. Production
embeds nothing. Pure: reads no file and opens no connection. Called by every command that needs a
server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

from bedplate.environment import DEVELOPMENT_MARK, prefixed_for
from bedplate.errors import ProductionRefusedError
from bedplate.project import Project, SystemEntry
from bedplate.urls import DatabaseUrl, redact

DATABASE_VARIABLES = ("DATABASE_URL", "DATABASE_DIRECT_URL", "MIGRATION_DATABASE_URL")
# The rest of an S3's variables, of which a system may have its own: LIBRILABS_AWS_REGION.
FILE_VARIABLES = (
    "S3_ENDPOINT_URL",
    "AWS_BUCKET_NAME",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
LOOPBACK = (None, "localhost", "127.0.0.1", "::1")
FALSE_VALUES = frozenset({"0", "false", "no", "off"})


class Endpoint(NamedTuple):
    """A host and its port, or the path of a socket and no port."""

    host: str
    port: int | None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Stand:
    """The variables without what a stack made, and the managed services among them."""

    project: Project
    variables: Mapping[str, str]
    databases: Mapping[str, DatabaseUrl]
    redis_url: str | None
    is_production: bool

    @classmethod
    def find(cls, project: Project, variables: Mapping[str, str]) -> Self:
        """Decide from the variables. Raises `SettingsError` when a database's URL is none."""
        is_pinned = is_true(variables.get("BEDPLATE_PINNED"))
        of_stack = _files_of_stack(variables)
        kept = {
            name: value
            for name, value in variables.items()
            if name not in of_stack and not _is_made_by_stack(name, value, project, is_pinned)
        }
        databases = {}
        for entry in project.systems:
            url = prefixed_for(entry.name, kept, ("DATABASE_URL",)).get("DATABASE_URL")
            if url:
                variable = entry.variable if entry.variable in kept else "DATABASE_URL"
                databases[entry.name] = DatabaseUrl.parse(url, variable=variable)
        return cls(
            project=project,
            variables=kept,
            databases=databases,
            redis_url=kept.get("REDIS_URL"),
            is_production=variables.get("BEDPLATE_ENV") == "production",
        )

    @property
    def embeds_database(self) -> bool:
        """Whether some system's database is to be embedded."""
        return not self.is_production and len(self.databases) < len(self.project.systems)

    @property
    def embeds_redis(self) -> bool:
        """Whether Redis is to be embedded."""
        return not self.is_production and self.redis_url is None and self.wants_redis

    @property
    def wants_redis(self) -> bool:
        """Whether there is to be a Redis at all; without one, jobs come from PostgreSQL itself."""
        return is_true(self.variables.get("BEDPLATE_REDIS", "1"))

    @property
    def embeds_files(self) -> bool:
        """Whether S3 is to be embedded: where every row is that can name a file, and not else."""
        return (
            self.embeds_database
            and not self.databases
            and not self._s3_variables()
            and is_true(self.variables.get("BEDPLATE_FILES", "1"))
        )

    @property
    def embeds(self) -> bool:
        """Whether anything is to be embedded."""
        return self.embeds_database or self.embeds_redis

    def managed_addresses(self) -> dict[str, str]:
        """What is managed, by variable, for people: no password."""
        found = {
            entry.variable: self.databases[entry.name].redacted()
            for entry in self.project.systems
            if entry.name in self.databases
        }
        if self.redis_url is not None:
            found["REDIS_URL"] = redact(self.redis_url)
        s3 = self._s3_variables()
        return found | {
            name: redact(value) if "//" in value else value for name, value in s3.items()
        }

    def endpoints(self) -> dict[str, Endpoint]:
        """Where the managed services listen: each system's database, and Redis."""
        found = {name: _endpoint_of(url) for name, url in self.databases.items()}
        if self.redis_url is not None:
            parts = urlsplit(self.redis_url)
            is_socket = parts.scheme == "unix"
            found["redis"] = (
                Endpoint(parts.path, None)
                if is_socket
                else Endpoint(parts.hostname or "localhost", parts.port or 6379)
            )
        endpoint = self.variables.get("S3_ENDPOINT_URL")
        if endpoint:
            parts = urlsplit(endpoint)
            port = parts.port or (80 if parts.scheme == "http" else 443)
            found["s3"] = Endpoint(parts.hostname or "localhost", port)
        return found

    def environment(self, embedded: Mapping[str, str]) -> dict[str, str]:
        """The variables for a child: the person's own, and the stack's for what is embedded."""
        own = dict(self.variables)
        if "S3_ENDPOINT_URL" in embedded and self.embeds_files:
            # Keys for another S3, which a shell may hold for other programs, are not for this one.
            own = {name: value for name, value in own.items() if name not in FILE_VARIABLES}
        taken = {
            name: value
            for name, value in embedded.items()
            if name not in own and self._is_wanted(name)
        }
        return {**own, **taken}

    def refuse_gaps_in_production(self) -> None:
        """Raise `ProductionRefusedError` naming every variable that production needs."""
        if not self.is_production:
            return
        missing = [
            entry.variable if len(self.project.systems) > 1 else "DATABASE_URL"
            for entry in self.project.systems
            if entry.name not in self.databases
        ]
        needed = (
            ("REDIS_URL", "BEDPLATE_SECRET_KEY") if self.wants_redis else ("BEDPLATE_SECRET_KEY",)
        )
        missing += [name for name in needed if name not in self.variables]
        if missing:
            raise ProductionRefusedError(
                f"BEDPLATE_ENV=production embeds no server, and {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not set to a production value",
                hint="Set them to the managed services; for development unset BEDPLATE_ENV.",
                missing=missing,
            )

    def _s3_variables(self) -> dict[str, str]:
        """The variables that name an S3 of one's own: an address, or a bucket of AWS's."""
        deciding = FILE_VARIABLES[:2]
        return {name: value for name, value in self.variables.items() if name.endswith(deciding)}

    def _is_wanted(self, name: str) -> bool:
        if name == "REDIS_URL":
            return self.embeds_redis
        if name == "DATABASE_URL":
            return not self.databases
        if name.endswith(FILE_VARIABLES):
            return self.embeds_files
        systems = {entry.variable: entry.name for entry in self.project.systems}
        return systems.get(name) not in self.databases


def is_true(value: str | None) -> bool:
    """Whether a variable is switched on: set, and not to 0, false, no or off."""
    return bool(value) and str(value).strip().lower() not in FALSE_VALUES


def _is_made_by_stack(name: str, value: str, project: Project, is_pinned: bool) -> bool:
    if name == "BEDPLATE_SECRET_KEY":
        return value.startswith(DEVELOPMENT_MARK)
    if name != "REDIS_URL" and not name.endswith(DATABASE_VARIABLES):
        return False
    parts = urlsplit(value)
    if parts.hostname not in LOOPBACK:
        return False
    password = unquote(parts.password or "")
    if password.startswith(DEVELOPMENT_MARK):
        return True
    if name == "REDIS_URL":
        return is_pinned and not password and parts.port == 6379
    return is_pinned and _is_pinned_url(value, project.systems)


def _files_of_stack(variables: Mapping[str, str]) -> frozenset[str]:
    """The variables of S3 that a stack made, if it made them: its keys say so."""
    is_local = urlsplit(variables.get("S3_ENDPOINT_URL", "")).hostname in LOOPBACK
    names = [name for name in variables if name.endswith(FILE_VARIABLES)]
    marked = [name for name in names if variables[name].startswith(DEVELOPMENT_MARK)]
    if not is_local or not marked:
        return frozenset()
    return frozenset(marked) | {"S3_ENDPOINT_URL", "AWS_BUCKET_NAME", "AWS_REGION"}


def _is_pinned_url(value: str, systems: tuple[SystemEntry, ...]) -> bool:
    try:
        url = DatabaseUrl.parse(value)
    except ValueError:
        return False
    return url.port == 5432 and any(
        (entry.owner, entry.development_password, entry.database)
        == (url.user, url.password, url.database)
        for entry in systems
    )


def _endpoint_of(url: DatabaseUrl) -> Endpoint:
    if url.host.startswith("/"):
        return Endpoint(f"{url.host}/.s.PGSQL.{url.port}", None)
    return Endpoint(url.host, url.port)
