"""The public surface: what it is, that each name is there, and that it costs nothing to import."""

import ast
import subprocess
import sys
from pathlib import Path

import bedplate

SOURCE = Path(bedplate.__file__).read_text()


def test_the_names_are_sorted_and_all_there() -> None:
    """A name that is listed and cannot be loaded is a broken promise."""
    assert bedplate.__all__ == sorted(bedplate.__all__)
    assert dir(bedplate) == bedplate.__all__
    for name in bedplate.__all__:
        assert getattr(bedplate, name) is not None


def test_checkers_see_what_is_loaded() -> None:
    """The names stand twice: for the type checker, and for the loading on first use."""
    imported = {
        (alias.name, node.module)
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bedplate.")
        for alias in node.names
    }
    assert imported == set(bedplate._ROOMS.items())
    assert {*bedplate._ROOMS, "__version__"} == set(bedplate.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module, so that `hasattr` and `from … import` work."""
    assert not hasattr(bedplate, "Manager")


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    """SQLAlchemy and the drivers cost a second that most commands need not pay."""
    program = (
        "import sys; before = set(sys.modules); import bedplate;"
        "print(sorted(set(sys.modules) - before))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "['bedplate']"
