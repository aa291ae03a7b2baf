"""The project that a command is called in: its root, its systems, its state folder.

Read from `[tool.bedplate]` of the nearest `pyproject.toml` upward. Light on purpose: nothing of a
system is imported here (`system.py` does that).
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bedplate.environment import find_upward
from bedplate.errors import ProjectError

STATE_FOLDER = ".bedplate"
# A project that lists no system still gets one database, so that `bedplate up` is of use to it.
PLAIN_DATABASE = "app"


@dataclass(frozen=True)
class SystemEntry:
    """One line of `[tool.bedplate.systems]`: where a system is, and whose its database is."""

    name: str
    target: str | None
    database: str
    owner: str
    development_password: str

    @property
    def variable(self) -> str:
        """The variable that names this system's own database."""
        return self.own("DATABASE_URL")

    def own(self, name: str) -> str:
        """What a variable is called that this system has for itself: LIBRILABS_AWS_REGION."""
        return f"{self.name.upper().replace('-', '_')}_{name}"


@dataclass(frozen=True)
class Project:
    """The folder with `pyproject.toml`, and what `[tool.bedplate]` says in it."""

    root: Path
    systems: tuple[SystemEntry, ...]
    state: Path
    name: str = ""

    @classmethod
    def find(cls, variables: Mapping[str, str], start: Path | None = None) -> Self:
        """The nearest project upward of `start`; without one, the folder itself is the project."""
        path = find_upward("pyproject.toml", start)
        root = path.parent if path else (start or Path.cwd()).resolve()
        document = _read_document(path) if path else {}
        systems = _read_systems(path, document) if path else ()
        state = variables.get("BEDPLATE_STATE_DIR")
        return cls(
            root=root,
            systems=_chosen(systems, variables) or (_plain_entry(),),
            state=Path(state).expanduser().resolve() if state else root / STATE_FOLDER,
            name=_read_name(document) or root.name,
        )

    def entry(self, name: str) -> SystemEntry:
        """The system of that name. Raises `ProjectError`."""
        for entry in self.systems:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.systems)
        raise ProjectError(f"no system is named {name!r}", hint=f"Known here: {known}")

    def choose(self, name: str | None) -> SystemEntry:
        """The system of that name; without one the only one there is. Raises `ProjectError`."""
        if name is not None:
            return self.entry(name)
        if len(self.systems) != 1:
            raise ProjectError(
                f"{len(self.systems)} systems are listed, and none was named",
                hint=f"Name one: {', '.join(entry.name for entry in self.systems)}",
            )
        return self.systems[0]


def _chosen(
    systems: tuple[SystemEntry, ...], variables: Mapping[str, str]
) -> tuple[SystemEntry, ...]:
    """Those that BEDPLATE_SYSTEMS names, all without it. Raises `ProjectError`."""
    wanted = [name.strip() for name in variables.get("BEDPLATE_SYSTEMS", "").split(",")]
    wanted = [name for name in wanted if name]
    known = {entry.name for entry in systems}
    for name in wanted:
        if name not in known:
            raise ProjectError(
                f"BEDPLATE_SYSTEMS names {name!r}, and no system is named so",
                hint=f"Known here: {', '.join(sorted(known)) or 'none'}",
            )
    return tuple(entry for entry in systems if not wanted or entry.name in wanted)


def _plain_entry() -> SystemEntry:
    return SystemEntry(PLAIN_DATABASE, None, PLAIN_DATABASE, PLAIN_DATABASE, PLAIN_DATABASE)


def _read_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProjectError(f"{path} cannot be read: {error}") from error


def _read_name(document: Mapping[str, Any]) -> str:
    table = document.get("project")
    return str(table.get("name", "")) if isinstance(table, dict) else ""


def _read_systems(path: Path, document: Mapping[str, Any]) -> tuple[SystemEntry, ...]:
    table = document.get("tool", {}).get("bedplate", {}).get("systems", {})
    if not isinstance(table, dict):
        raise ProjectError(f"{path}: tool.bedplate.systems is no table", hint=_FORM)
    return tuple(_read_entry(path, name, value) for name, value in table.items())


def _read_entry(path: Path, name: str, value: Any) -> SystemEntry:
    table = {"system": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("system"), str):
        raise ProjectError(f"{path}: tool.bedplate.systems.{name} names no system", hint=_FORM)
    database = str(table.get("database", name))
    owner = str(table.get("owner", database))
    return SystemEntry(
        name=name,
        target=table["system"],
        database=database,
        owner=owner,
        development_password=str(table.get("development_password", f"{owner}_dev")),
    )


_FORM = 'Give it as librilabs = "systems.librilabs.app:system"'
