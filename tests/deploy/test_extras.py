"""`pip install bedplate[embedded]` suffices: nothing of ours needs what only developers install.

The development tools are there when tests run, and bring packages that a user has not; kombu
imported one that it does not declare, and only pytest had it installed. So a process is run in
which nothing can be imported but what the package's own requirements bring, all the way down.
"""

import json
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bedplate
from tests.texts import ROOT

# Modules that an extra of their own is for.
EXTRAS = {
    "bedplate.pytest_plugin": "testing",
    "bedplate.accounts.openid": "accounts",
    "bedplate.accounts.routes": "accounts",
}
PROGRAM = """
import importlib, json, runpy, sys

class Undeclared:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"{name} is in no requirement of bedplate", name=name)

hidden, names = json.load(sys.stdin)
sys.meta_path.insert(0, Undeclared())
for name in names:
    importlib.import_module(name)
sys.argv = ["bedplate", "--help"]
runpy.run_module("bedplate.cli.main", run_name="__main__")
"""


def modules() -> list[str]:
    """Every module of the package."""
    return [each.name for each in pkgutil.walk_packages(bedplate.__path__, "bedplate.")]


def declared(extra: str) -> Iterator[Requirement]:
    """What pyproject.toml asks for: always, and for an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in (*project["dependencies"], *project["optional-dependencies"][extra]):
        yield Requirement(line)


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """The distributions that these bring on this machine, those of theirs included."""
    found: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key not in found:
                found.add(key)
                waiting += _required_by(requirement.name, extra)
    return {name for name, _ in found}


def _required_by(name: str, extra: str) -> list[Requirement]:
    required = [Requirement(line) for line in metadata.requires(name) or []]
    chosen = [
        each for each in required if not each.marker or each.marker.evaluate({"extra": extra})
    ]
    for each in chosen:
        each.marker = None
    return chosen


def undeclared(brought: set[str]) -> list[str]:
    """The top-level modules here that only other distributions have."""
    return sorted(
        module
        for module, names in metadata.packages_distributions().items()
        if module != "bedplate" and not {canonicalize_name(each) for each in names} & brought
    )


def run(requirements: Iterable[Requirement], names: list[str]) -> subprocess.CompletedProcess[str]:
    """Import modules and print the help, as if only these requirements were installed."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([undeclared(closure(requirements)), names]),
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_is_imported_without_the_development_tools() -> None:
    """A user has none of them."""
    assert {"pytest", "ruamel", "mypy"} <= set(undeclared(closure(declared("embedded"))))
    names = [name for name in modules() if name not in EXTRAS]
    assert len(names) > 100
    ended = run(declared("embedded"), names)
    assert ended.returncode == 0, ended.stderr
    assert "migrate" in ended.stdout


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_what_an_extra_is_for_is_imported_with_it(module: str, extra: str) -> None:
    """And not without: else it would not need the extra."""
    ended = run(declared(extra), [module])
    assert ended.returncode == 0, ended.stderr
    assert "is in no requirement of bedplate" in run(declared("embedded"), [module]).stderr


def test_a_dependency_that_is_not_declared_is_found() -> None:
    """As kombu's was: it imports `packaging`, and does not say so."""
    without = [each for each in declared("embedded") if each.name != "packaging"]
    assert "packaging is in no requirement" in run(without, ["bedplate.celery"]).stderr
