"""pdf_translator's README.md, held against what it names; its commands of Alembic are run."""

import re
import shlex
from pathlib import Path

from bedplate.testing.clones import ScratchDatabase
from systems.pdf_translator.app import system
from tests.deploy.compose import known_variables
from tests.systems.alembic import alembic, copy_of_the_system
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "pdf_translator"
TEXT = (FOLDER / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
CRITERIA = {f"P{number}" for number in range(1, 23)}


def section(title: str) -> str:
    """What stands under a heading."""
    return re.split(rf"^## {re.escape(title)}\n", TEXT, flags=re.MULTILINE)[1].split("\n## ")[0]


async def test_P16_the_commands_of_the_page_run_as_written(
    blank_database: ScratchDatabase, tmp_path: Path
) -> None:
    """In a copy of the folder, since the first of them writes a file."""
    folder = copy_of_the_system("pdf_translator", tmp_path)
    assert (await alembic(folder, blank_database, "upgrade", "head")).returncode == 0
    (block,) = re.findall(r"```sh\n(.*?)```", section("Migrations"), re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert len(lines) == 5
    for program, *words in lines:
        assert program == "alembic"
        ran = await alembic(folder, blank_database, *words)
        assert ran.returncode == 0, f"{words}: {ran.stderr}"


def test_every_criterion_is_in_the_table_and_every_test_of_it_exists() -> None:
    """A table that names a test that is not there proves nothing."""
    table = section("The specification, clause by clause")
    assert set(re.findall(r"^\| (P\d+) \|", table, re.MULTILINE)) == CRITERIA
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", sources))
    named = set(re.findall(r"`(test_\w+…?)`", table))
    assert len(named) > 60
    for name in named:
        if name.endswith("…"):
            assert any(each.startswith(name[:-1]) for each in there), name
        else:
            assert name in there, name
    of_us = {name for name in there if re.match(r"test_P\d+_", name)}
    shown = {name for name in of_us if any(name.startswith(each.rstrip("…")) for each in named)}
    assert of_us == shown, "tests that the table leaves out"


def test_every_route_file_target_and_variable_of_the_page_exists() -> None:
    """A page that names what is not there costs a newcomer an hour."""
    targets = set(re.findall(r"`make ([a-z-]+)", TEXT))
    assert targets
    assert targets <= TARGETS
    for name in re.findall(r"^\| `([\w./-]+)`", section("What is where"), re.MULTILINE):
        assert (FOLDER / name).exists(), name
    variables = set(re.findall(r"\b((?:PDF_TRANSLATOR|GOOGLE|S3)_[A-Z_]+)\b", TEXT))
    assert variables
    assert variables <= known_variables(FOLDER)
    from bedplate.layer import DataLayer
    from bedplate.settings import Settings

    app = system.create_app(DataLayer(Settings.load(variables={}), name="pdf_translator"))
    routes = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if not path.startswith("/health/")
    }
    named = set()
    for methods, path in re.findall(
        r"`((?:GET|POST|PUT|DELETE)(?:`, `(?:GET|POST|PUT|DELETE))*) (/[^`?]*)",
        section("HTTP interface, under `/pdf_translator`"),
    ):
        named |= {f"{method} {path}" for method in re.findall(r"[A-Z]+", methods)}
    assert {re.sub(r"\{\w+\}", "{id}", route) for route in routes} == named
