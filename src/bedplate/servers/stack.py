"""How a stack is to be started: what a caller chooses. Light, for the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bedplate.errors import SettingsError

IS_ON = {"1": True, "true": True, "yes": True, "on": True}
IS_OFF = {"0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class StackOptions:
    """What may be chosen about a stack.

    `pinned`: ports 5432 and 6379 and the development credentials of the systems, Valkey without a
    password. `durable=False`: nothing is synced to the disk, for tests. The paths name other
    installations: a folder with `postgres` and `initdb`, a Valkey or Redis server, and SeaweedFS'
    `weed`. Without `has_postgres` or `has_valkey` that one is managed elsewhere, and not started.
    `has_files`: SeaweedFS, too; a stack that runs without it starts it for whoever asks later.
    """

    pinned: bool = False
    durable: bool = True
    postgres_bin: Path | None = None
    valkey_server: Path | None = None
    has_postgres: bool = True
    has_valkey: bool = True
    weed: Path | None = None
    has_files: bool = False

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Self:
        """Read the BEDPLATE_ variables. Raises `SettingsError` naming the one that is wrong."""
        return cls(
            pinned=_read_switch(variables, "BEDPLATE_PINNED", default=False),
            durable=_read_switch(variables, "BEDPLATE_DURABLE", default=True),
            postgres_bin=_read_path(variables, "BEDPLATE_POSTGRES_BIN"),
            valkey_server=_read_path(variables, "BEDPLATE_VALKEY_SERVER"),
            weed=_read_path(variables, "BEDPLATE_WEED"),
        )

    def to_json(self) -> dict[str, Any]:
        """As the supervisor is handed it."""
        return {
            "pinned": self.pinned,
            "durable": self.durable,
            "postgres_bin": self.postgres_bin and str(self.postgres_bin),
            "valkey_server": self.valkey_server and str(self.valkey_server),
            "has_postgres": self.has_postgres,
            "has_valkey": self.has_valkey,
            "weed": self.weed and str(self.weed),
            "has_files": self.has_files,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """The opposite of `to_json`."""
        return cls(
            pinned=bool(found["pinned"]),
            durable=bool(found["durable"]),
            postgres_bin=Path(found["postgres_bin"]) if found["postgres_bin"] else None,
            valkey_server=Path(found["valkey_server"]) if found["valkey_server"] else None,
            has_postgres=bool(found["has_postgres"]),
            has_valkey=bool(found["has_valkey"]),
            weed=Path(found["weed"]) if found["weed"] else None,
            has_files=bool(found["has_files"]),
        )


def _read_switch(variables: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = variables.get(name, "").strip().lower()
    if not value:
        return default
    if value not in IS_ON | IS_OFF:
        raise SettingsError(
            f"{name} is neither on nor off", hint="Set it to 1 or 0.", variable=name
        )
    return value in IS_ON


def _read_path(variables: Mapping[str, str], name: str) -> Path | None:
    value = variables.get(name, "").strip()
    return Path(value).expanduser().absolute() if value else None
