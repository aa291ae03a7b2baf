"""Which failpoints there are: those in bedplate's code, and those of the modules that have one.

Read from the source, so that no list can be behind it. A test that names a step which does not
exist would wait for a fault that never comes, and pass.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import bedplate
from bedplate import failpoints
from bedplate.errors import UnknownStepError


def known_steps() -> frozenset[str]:
    """The name of each failpoint in bedplate, and in every module that has imported it."""
    found = set(_steps_of_bedplate())
    for module in list(sys.modules.values()):
        path = _source_of(module)
        if path is not None and _has_failpoints(module):
            found |= _steps_in(path)
    return frozenset(found)


def check_step(name: str) -> None:
    """Raises `UnknownStepError`, which lists the known ones, for a name that is none of them."""
    known = known_steps()
    if name not in known:
        raise UnknownStepError(
            f"no failpoint is named {name!r}",
            hint=f"Known: {', '.join(sorted(known))}. Those of a module count once it is imported.",
            step=name,
        )


@cache
def _steps_of_bedplate() -> frozenset[str]:
    folder = Path(bedplate.__file__).parent
    return frozenset(step for path in folder.rglob("*.py") for step in _steps_in(path))


def _has_failpoints(module: ModuleType) -> bool:
    values = list(vars(module).values())
    return any(each is failpoints.failpoint or each is failpoints for each in values)


def _source_of(module: ModuleType) -> Path | None:
    name = getattr(module, "__file__", None)
    return Path(name) if isinstance(name, str) and name.endswith(".py") else None


@cache
def _steps_in(path: Path) -> frozenset[str]:
    try:
        source = path.read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    return frozenset(_steps_of(source)) if "failpoint(" in source else frozenset()


def _steps_of(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id="failpoint") | ast.Attribute(attr="failpoint"),
                args=[ast.Constant(value=str(step))],
            ):
                yield step
