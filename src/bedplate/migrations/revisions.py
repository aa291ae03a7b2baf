"""A system's revisions read from its files, without importing Alembic or the files.

Importing Alembic costs about 200 ms, which a start that finds nothing to do need not pay.
Revision files assign literals to `revision` and `down_revision`: that is all that is read.
"""

import ast
import configparser
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bedplate.errors import MigrationError

INI = "alembic.ini"


@dataclass(frozen=True)
class Revision:
    """One file of a system's `versions` folder."""

    number: str
    parents: tuple[str, ...]
    title: str


@dataclass(frozen=True)
class History:
    """All revisions of a system, by number."""

    revisions: Mapping[str, Revision]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The revisions below `folder`, which holds `alembic.ini`. Raises `MigrationError`."""
        found = (_read(path) for path in sorted(_versions_folder(folder).glob("*.py")))
        return cls({each.number: each for each in found if each is not None})

    @property
    def heads(self) -> tuple[str, ...]:
        """Revisions that no other builds upon: one, unless a merge is missing."""
        parents = {parent for each in self.revisions.values() for parent in each.parents}
        return tuple(sorted(set(self.revisions) - parents))

    def pending(self, current: Iterable[str]) -> tuple[Revision, ...]:
        """What is not applied in a database that is at `current`, in the order of applying.

        Nothing when the database is ahead: what it has, only the newer code knows.
        """
        if self.is_ahead(current):
            return ()
        applied = set(self._lineage(current))
        return tuple(
            self.revisions[number] for number in self._lineage(self.heads) if number not in applied
        )

    def is_ahead(self, current: Iterable[str]) -> bool:
        """Whether a newer release, since rolled back, has migrated the database."""
        return not set(current) <= set(self.revisions)

    def _lineage(self, numbers: Iterable[str]) -> list[str]:
        """The numbers and all that they build upon, parents first."""
        ordered: dict[str, None] = {}
        stack = [(number, False) for number in numbers]
        while stack:
            number, is_expanded = stack.pop()
            if number in ordered or number not in self.revisions:
                continue
            if is_expanded:
                ordered[number] = None
            else:
                stack.append((number, True))
                stack += [(parent, False) for parent in self.revisions[number].parents]
        return list(ordered)


def _versions_folder(folder: Path) -> Path:
    ini = folder / INI
    parser = configparser.ConfigParser({"here": str(folder)})
    try:
        parser.read_string(ini.read_text(encoding="utf-8"))
        location = parser.get("alembic", "script_location")
    except (OSError, configparser.Error) as error:
        raise MigrationError(
            f"{ini} cannot be read: {error}",
            hint="It needs a section [alembic] with script_location = %(here)s/migrations.",
        ) from error
    return (folder / location / "versions").resolve()


def _read(path: Path) -> Revision | None:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        values = _assigned_literals(tree)
    except (SyntaxError, ValueError, UnicodeDecodeError) as error:
        raise MigrationError(
            f"{path} cannot be read: {error}",
            hint="revision and down_revision must be literals, as Alembic writes them.",
        ) from error
    if not isinstance(values.get("revision"), str):
        return None
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Revision(values["revision"], _as_tuple(values.get("down_revision")), title)


def _assigned_literals(tree: ast.Module) -> dict[str, Any]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            targets: list[ast.expr] = [node.target]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and target.id in ("revision", "down_revision"):
                found[target.id] = ast.literal_eval(node.value) if node.value else None
    return found


def _as_tuple(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
