"""`bedplate new NAME`: a project that runs, in a folder of that name, to be filled in.

Fifteen small files, the project's own from then on. Nothing that exists is ever overwritten.
"""

import keyword
import re
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from bedplate.cli.options import Invocation, declare
from bedplate.errors import ProjectError
from bedplate.migrations.scaffold import scaffold

# What the files are called in a project, where that differs from their names here: a file that
# begins with a dot is left out by some tools that build packages.
NAMES = {"gitignore": ".gitignore", "env.example": ".env.example"}
PACKAGE = "package"
FORM = re.compile(r"[a-z][a-z0-9_]{0,39}")
# A package of that name would hide another, or be hidden by it.
TAKEN = {"bedplate", "fastapi", "sqlalchemy", "alembic", "celery", "redis", "tests", "app"}


@declare("new", "Make a project: a backend that runs, ready to be filled in.")
@click.argument("name")
def command(invocation: Invocation, name: str) -> None:
    """Write the files and say what to type next."""
    _check_name(name)
    folder = Path.cwd() / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProjectError(
            f"{folder} exists already",
            hint="Choose another name, or remove it.",
        )
    written = write_project(folder, name)
    invocation.output.result(
        {"folder": str(folder), "files": [str(path.relative_to(folder)) for path in written]},
        [f"made {name}/ with {len(written)} files", f"next   cd {name} && bedplate run"],
    )


def write_project(folder: Path, name: str) -> list[Path]:
    """Write every file of a new project. Returns the paths."""
    values = {"name": name, "title": name.replace("_", " ").capitalize()}
    root = resources.files("bedplate.cli") / "new_project"
    written = []
    for parts, source in _walk(root, ()):
        path = folder.joinpath(*(name if part == PACKAGE else part for part in parts))
        path.parent.mkdir(parents=True, exist_ok=True)
        text = Template(source.read_text(encoding="utf-8")).substitute(values)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    migrations = folder / name / "migrations"
    return written + scaffold(migrations, root=folder, name=name, target=f"{name}.app:system")


def _walk(folder: Traversable, above: tuple[str, ...]) -> list[tuple[tuple[str, ...], Traversable]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _walk(entry, (*above, entry.name))
        elif entry.name.endswith(".txt"):
            name = entry.name.removesuffix(".txt")
            found.append(((*above, NAMES.get(name, name)), entry))
    return found


def _check_name(name: str) -> None:
    if not FORM.fullmatch(name) or keyword.iskeyword(name):
        raise ProjectError(
            f"{name!r} cannot be the name of a project",
            hint="It becomes a Python package: lower-case letters, digits and _, a letter first.",
        )
    if name in TAKEN or name in sys.stdlib_module_names:
        raise ProjectError(
            f"{name!r} is the name of a package that is there already",
            hint="Choose another name.",
        )
