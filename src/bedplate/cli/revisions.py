"""Writes a new revision of a system with Alembic's autogenerate. Called by `migrate new`.

A system without Alembic's files gets them first.
"""

import contextlib
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script
from alembic.util import CommandError

from bedplate.environment import prefixed_for
from bedplate.errors import MigrationError
from bedplate.migrations.revisions import INI
from bedplate.migrations.scaffold import scaffold
from bedplate.project import Project
from bedplate.system import load_system


def write_revision(project: Project, name: str, variables: Mapping[str, str], message: str) -> Path:
    """The file of the new revision. Raises `MigrationError` with what Alembic says."""
    system = load_system(project, project.entry(name))
    if system.migrations is None:
        raise MigrationError(
            f"system {name!r} has no migrations",
            hint="Give System(migrations=Path(...)): a folder for its revisions.",
        )
    if not (system.migrations / INI).exists():
        target = str(project.entry(name).target)
        scaffold(system.migrations, root=project.root, name=name, target=target)
    # env.py reads the environment, as under plain `alembic`.
    os.environ.update(variables)
    os.environ.update(prefixed_for(name, variables, ("DATABASE_URL",)))
    config = Config(str(system.migrations / INI), stdout=io.StringIO())
    try:
        # Alembic says what it does on stdout, where our result is to be alone.
        with contextlib.redirect_stdout(sys.stderr):
            made = command.revision(config, message, autogenerate=True)
    except CommandError as error:
        raise MigrationError(str(error), hint="bedplate migrate, then again") from error
    if not isinstance(made, Script):
        raise MigrationError("Alembic wrote no single revision", hint="alembic heads")
    return Path(made.path)
