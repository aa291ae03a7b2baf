"""One backend that stands on the layer: what the commands and the root application need of it.

A system is declared once, as a value, and found by `[tool.bedplate.systems]`:

    system = System("shop", create_app=create_app, metadata=Base.metadata, tasks=(send_mail,), …)
"""

import importlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData

from bedplate.errors import ProjectError
from bedplate.project import Project, SystemEntry

if TYPE_CHECKING:
    from fastapi import FastAPI

    from bedplate.jobs.tasks import Task
    from bedplate.layer import DataLayer
    from bedplate.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class System:
    """A backend's name and parts. `migrations` is the folder that holds its `alembic.ini`.

    `extensions` of PostgreSQL that its revisions enable, each with its least version.
    """

    name: str
    title: str
    metadata: MetaData
    create_app: "Callable[[DataLayer], FastAPI]"
    migrations: Path | None = None
    tasks: "Sequence[Task[Any]]" = field(default=())
    seed: "Callable[[UnitOfWork], Awaitable[Sequence[str]]] | None" = None
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)


def load_system(project: Project, entry: SystemEntry) -> System:
    """Import the system that an entry names. Raises `ProjectError`."""
    if entry.target is None:
        raise ProjectError(
            f"{project.root} lists no system",
            hint='Add to pyproject.toml: [tool.bedplate.systems] shop = "shop.app:system"',
        )
    module_name, _, attribute = entry.target.partition(":")
    if str(project.root) not in sys.path:
        sys.path.insert(0, str(project.root))
    try:
        found = getattr(importlib.import_module(module_name), attribute or "system")
    except (ImportError, AttributeError) as error:
        raise ProjectError(
            f"system {entry.name!r} cannot be imported from {entry.target!r}: {error}",
            hint="Check the line in [tool.bedplate.systems] and the folder that holds it.",
        ) from error
    if not isinstance(found, System):
        raise ProjectError(f"{entry.target!r} is no bedplate System, but {type(found).__name__}")
    return found
