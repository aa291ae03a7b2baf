"""What a stack tells about itself: its services, URLs and keys, and the steps of its start.

Values only, with their JSON forms for the control socket and the state file. Passwords stand in
no repr.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bedplate.project import SystemEntry


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
class StackState:
    """A running stack: how to reach each service, and who watches them."""

    services: tuple[ServiceState, ...]
    databases: dict[str, str] = field(repr=False)
    redis_url: str = field(repr=False)
    admin_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    supervisor_pid: int
    client_tools: Path
    is_detached: bool

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
        return variables

    def service(self, name: str) -> ServiceState:
        """The service of that name: "postgres" or "valkey". Raises `KeyError`."""
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
        return cls(**{**found, "services": services, "client_tools": Path(found["client_tools"])})
