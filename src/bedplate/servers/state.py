"""What a stack tells about itself: its services, URLs and keys, and the steps of its start.

Values only, with their JSON forms for the control socket and the state file. Passwords stand in
no repr.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bedplate.project import SystemEntry

# Where every system's files are, below its own prefix.
BUCKET = "bedplate"
REGION = "us-east-1"


@dataclass(frozen=True)
class Step:
    """One thing that was done: for people to watch. `ms` is how long it took."""

    name: str
    ok: bool
    ms: int
    detail: str = ""


@dataclass(frozen=True)
class ServiceState:
    """One server of the stack. `ready_ms` is from its start to its first answer."""

    name: str
    pid: int
    port: int
    version: str
    ready_ms: int
    log: Path
    is_up: bool


@dataclass(frozen=True)
class S3Keys:
    """One identity of S3: the id of a key and its secret."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True)
class StackState:
    """A running stack: how to reach each service, and who watches them.

    Without SeaweedFS `s3_url` is empty; `s3_keys` are those of each system.
    """

    services: tuple[ServiceState, ...]
    databases: dict[str, str] = field(repr=False)
    redis_url: str = field(repr=False)
    admin_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    supervisor_pid: int
    client_tools: Path
    is_detached: bool
    s3_url: str = ""
    s3_keys: dict[str, S3Keys] = field(default_factory=dict, repr=False)

    def environment(self, systems: Iterable[SystemEntry]) -> dict[str, str]:
        """The variables that point a process at this stack."""
        entries = list(systems)
        variables = {
            entry.variable: self.databases[entry.name]
            for entry in entries
            if entry.name in self.databases
        }
        if len(entries) == 1 and variables:
            variables["DATABASE_URL"] = self.databases[entries[0].name]
        if self.redis_url:
            variables["REDIS_URL"] = self.redis_url
        variables["BEDPLATE_SECRET_KEY"] = self.secret_key
        return variables | self._files_environment(entries)

    def service(self, name: str) -> ServiceState:
        """The service of that name: "postgres", "valkey" or "seaweedfs". Raises `KeyError`."""
        for service in self.services:
            if service.name == name:
                return service
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The whole state, passwords included: for the control socket only."""
        found = asdict(self)
        found["client_tools"] = str(self.client_tools)
        for service in found["services"]:
            service["log"] = str(service["log"])
        return found

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """The opposite of `to_json`."""
        services = tuple(
            ServiceState(**{**service, "log": Path(service["log"])})
            for service in found["services"]
        )
        values = {
            **found,
            "services": services,
            "client_tools": Path(found["client_tools"]),
            "s3_keys": {name: S3Keys(**keys) for name, keys in found["s3_keys"].items()},
        }
        return cls(**values)

    def _files_environment(self, entries: list[SystemEntry]) -> dict[str, str]:
        if not self.s3_url:
            return {}
        variables = {
            "S3_ENDPOINT_URL": self.s3_url,
            "AWS_REGION": REGION,
            "AWS_BUCKET_NAME": BUCKET,
        }
        for entry in entries:
            keys = self.s3_keys.get(entry.name)
            if keys is not None:
                pair = {"AWS_ACCESS_KEY_ID": keys.key_id, "AWS_SECRET_ACCESS_KEY": keys.secret}
                variables |= {entry.own(name): value for name, value in pair.items()}
                if len(entries) == 1:
                    variables |= pair
        return variables
