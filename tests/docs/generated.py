"""Pages that are made from the code: written anew by `python -m tests.docs.generated`.

The errors, the public names, and the diagrams of the tables on the page of the database. The
pages of commands and of faults are made by tests of their own.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator
from sqlalchemy import Column, ForeignKey, MetaData, Table
from sqlalchemy.dialects import postgresql

import bedplate
import bedplate.delivery.inbox
import bedplate.delivery.outbox
import bedplate.fastapi
import bedplate.files.table
import bedplate.jobs.direct_claims
import bedplate.jobs.scheduler
import bedplate.jobs.table
import bedplate.testing
from bedplate import errors
from bedplate.errors import BedplateError
from bedplate.fastapi.problems import problem_of
from bedplate.project import Project
from bedplate.rows.layer_metadata import LAYER_METADATA
from bedplate.system import load_system
from tests.docs.pages import ROOT

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no types for it
DOCS = ROOT / "docs"
SOURCE = ROOT / "src"
NOTE = "It is made from the code by `python -m tests.docs.generated`; a test holds it true."
DIAGRAM = re.compile(r"<!-- diagram: (\w+) -->\n+```mermaid\n.*?```\n", re.DOTALL)


def render_errors() -> str:
    """docs/errors.md."""
    head = f"""\
# Errors

Every exception of bedplate is a `BedplateError`, and also the builtin that its caller expects.
`str(error)` says what happened, `error.hint` what to do, `error.code` is stable for programs: in
the JSON of a command and in the problem details (RFC 9457) of an HTTP answer.
{NOTE}

`bedplate` ends with the exit status; an API answers with the HTTP status.

| class | code | exit | HTTP | when |
|---|---|---|---|---|
"""
    rows = "".join(_error_row(kind) for kind in error_classes())
    hints = "".join(_hints_of(kind) for kind in error_classes())
    return f"{head}{rows}\n## What to do\n\nThe hints that each is raised with.\n{hints}"


def error_classes() -> list[type[BedplateError]]:
    """All of them, in the order of the file."""
    found = [each for each in vars(errors).values() if inspect.isclass(each)]
    return [each for each in found if issubclass(each, BedplateError)]


def _error_row(kind: type[BedplateError]) -> str:
    bases = ", ".join(base.__name__ for base in kind.__bases__)
    status = problem_of(kind("…")).status_code
    when = " ".join((kind.__doc__ or "").split()).replace("|", "\\|")
    return (
        f"| `{kind.__name__}` ({bases}) | `{kind.code}` | {kind.exit_code} | {status} | {when} |\n"
    )


def _hints_of(kind: type[BedplateError]) -> str:
    hints = sorted(set(_raised_hints().get(kind.__name__, ())))
    if not hints:
        return ""
    return f"\n**{kind.__name__}**\n\n" + "".join(f"- {hint}\n" for hint in hints)


@cache
def _raised_hints() -> dict[str, list[str]]:
    """Class to the hints that the code gives it; what is filled in at run time is `…`."""
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for keyword in node.keywords:
                    text = _literal(keyword.value) if keyword.arg == "hint" else ""
                    if text.replace("…", "").strip():
                        found.setdefault(node.func.id, []).append(text)
    return found


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.strip()
    if isinstance(node, ast.JoinedStr):
        parts = (each.value if isinstance(each, ast.Constant) else "…" for each in node.values)
        return "".join(map(str, parts)).strip()
    if isinstance(node, ast.BinOp):
        return f"{_literal(node.left)} {_literal(node.right)}"
    return ""


def render_names() -> str:
    """docs/api.md."""
    parts = [f"# Public names\n\nEverything else may change without notice. {NOTE}\n"]
    for module in (bedplate, bedplate.fastapi, bedplate.testing):
        parts.append(f"\n## {module.__name__}\n")
        names = sorted(name for name in module.__all__ if not name.startswith("__"))
        parts += [_name_section(name, getattr(module, name)) for name in names]
    return "".join(parts)


def _name_section(name: str, found: object) -> str:
    lines = [f"\n### {name}\n\n```text\n{name}{_signature(found)}\n```\n\n{_first_line(found)}\n"]
    if inspect.isclass(found) and found.__module__.startswith("bedplate"):
        lines += [
            f"- `{member}{_signature(value)}`: {_first_line(value)}\n"
            for member, value in _members(found)
        ]
        if len(lines) > 1:
            lines[0] += "\n"
    return "".join(lines)


def _members(kind: type) -> Iterator[tuple[str, object]]:
    """What a class itself defines for others, in the order of its source."""
    for name, value in vars(kind).items():
        plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        is_documented = bool(getattr(plain, "__doc__", None)) and not isinstance(plain, str | int)
        if not name.startswith("_") and is_documented and _is_ours(plain):
            yield name, plain


def _is_ours(value: object) -> bool:
    inner = getattr(value, "fget", None) or getattr(value, "func", None) or value
    return inspect.isfunction(inner) and inner.__module__.startswith("bedplate")


def _signature(found: object) -> str:
    if get_origin(found) is Annotated:
        return ""
    try:
        # Annotations differ between versions of Python in how they are written.
        signature = inspect.signature(found)  # type: ignore[arg-type] # what has none raises
    except (TypeError, ValueError):
        return ""
    parameters = [
        each.replace(annotation=inspect.Parameter.empty, default=_shown(each.default))
        for each in signature.parameters.values()
        if each.name not in ("self", "cls")
    ]
    plain = signature.replace(parameters=parameters, return_annotation=signature.empty)
    return str(plain)


def _shown(default: object) -> object:
    simple = isinstance(default, str | int | float | bool | tuple | type(None))
    return default if simple or default is inspect.Parameter.empty else _Ellipsis()


class _Ellipsis:
    """A default that says nothing to a reader."""

    def __repr__(self) -> str:
        return "…"


def _first_line(found: object) -> str:
    if not (inspect.isclass(found) or callable(found) or hasattr(found, "__doc__")):
        return ""
    if get_origin(found) is Annotated:
        inner, *meanings = get_args(found)
        told = ", ".join(map(_meaning, meanings))
        return f"`Annotated[{inner.__name__}, {told}]`"
    text = inspect.getdoc(found) or ""
    return " ".join(text.split("\n\n")[0].split())


def _meaning(annotation: Any) -> str:
    if isinstance(annotation, AfterValidator):
        return f"AfterValidator({getattr(annotation.func, '__name__', '')})"
    return f"Depends({annotation.dependency.__name__})"


def diagrams() -> dict[str, str]:
    """Name to diagram: the layer's tables, and each system's."""
    project = Project.find({}, ROOT)
    found = {"bedplate": LAYER_METADATA}
    for entry in project.systems:
        found[entry.name] = load_system(project, entry).metadata
    return {name: draw(metadata) for name, metadata in found.items()}


def draw(metadata: MetaData) -> str:
    """An entity-relationship diagram of every table, as Mermaid writes it."""
    lines = ["erDiagram"]
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        lines += [f"    {table.name} {{", *map(_column, table.columns), "    }"]
        lines += sorted({_relation(table, key.column.table, key.parent) for key in _keys(table)})
    return "\n".join(lines) + "\n"


def _keys(table: Table) -> list[ForeignKey]:
    return sorted(table.foreign_keys, key=lambda key: key.parent.name)


def _column(column: "Column[object]") -> str:
    kind = re.sub(r"\W+", "_", str(column.type.compile(dialect=DIALECT)).lower()).strip("_")
    marks = ["PK"] if column.primary_key else []
    marks += ["FK"] if column.foreign_keys else []
    note = "" if not column.nullable else ' "or null"'
    return f"        {kind} {column.name} {', '.join(marks)}".rstrip() + note


def _relation(table: Table, other: Table, column: "Column[object]") -> str:
    at_least = "|o" if column.nullable else "||"
    return f"    {other.name} {at_least}--o{{ {table.name} : {column.name}"


def with_diagrams(text: str) -> str:
    """A page with its diagrams drawn anew."""
    drawn = diagrams()
    return DIAGRAM.sub(
        lambda found: f"<!-- diagram: {found[1]} -->\n\n```mermaid\n{drawn[found[1]]}```\n", text
    )


def pages() -> dict[Path, str]:
    """Each generated page and what it is to hold."""
    database = DOCS / "database.md"
    return {
        DOCS / "errors.md": render_errors(),
        DOCS / "api.md": render_names(),
        database: with_diagrams(database.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"wrote {path}\n")
