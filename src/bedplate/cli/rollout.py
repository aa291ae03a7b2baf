"""Migrates and seeds every system of a project, one after the other, and says what was done.

Imports Alembic, SQLAlchemy and the systems themselves: only commands that do the work import this.
Called by `migrate`, `seed`, `prepare` and `run`.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from bedplate.cli.output import Output, duration
from bedplate.layer import DataLayer
from bedplate.migrations.steps import Applied
from bedplate.migrations.upgrade import upgrade
from bedplate.project import Project
from bedplate.settings import Settings
from bedplate.system import System, load_system


def load_systems(
    project: Project, variables: Mapping[str, str]
) -> Iterator[tuple[System, Settings]]:
    """Every system that the project lists, with its settings."""
    # What a system logs while it is migrated and seeded is for its log, not for this terminal.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for entry in project.systems:
        if entry.target is not None:
            yield load_system(project, entry), Settings.load(entry.name, variables)


async def migrate_all(
    project: Project, variables: Mapping[str, str], output: Output, *, patience: timedelta
) -> list[dict[str, Any]]:
    """Bring every database to its head; what was applied to each."""
    done = []
    for system, settings in load_systems(project, variables):

        def say(step: Applied, name: str = system.name) -> None:
            output.done(f"{name}: {step.revision} {step.title}", step.duration)

        result = await upgrade(system, settings, timeout=patience, on_step=say)
        if result.waited > timedelta(seconds=1):
            output.note(f"{system.name}: waited {duration(result.waited)} for another process")
        if not result.applied:
            output.done(f"{system.name}: already at head {result.head or ''}".rstrip())
        done.append({"system": system.name, "applied": list(result.applied), "head": result.head})
    return done


async def seed_all(
    project: Project, variables: Mapping[str, str], output: Output
) -> list[dict[str, Any]]:
    """Seed every system in one transaction each, as its owner; what each seed said that it did."""
    done = []
    for system, settings in load_systems(project, variables):
        if system.seed is None:
            output.done(f"{system.name}: nothing to seed")
            continue
        async with DataLayer(settings, name=system.name) as layer, layer.owner_transaction() as uow:
            lines = list(await system.seed(uow))
        for line in lines:
            output.done(f"{system.name}: {line}")
        done.append({"system": system.name, "seeded": lines})
    return done


def nothing_listed(project: Project) -> str:
    """What the commands say in a project without systems."""
    return f"{project.root} lists no system in [tool.bedplate.systems]: nothing to do"


def has_systems(project: Project) -> bool:
    """Whether the project lists a system."""
    return any(entry.target is not None for entry in project.systems)
