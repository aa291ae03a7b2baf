"""Every code block of every page is run, or the page says why not.

`make docs` runs them and prints which are not run, and why.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import MetaData

from bedplate.migrations.upgrade import upgrade
from bedplate.system import System
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.clones import Clones, ScratchDatabase
from tests.docs.pages import ROOT, Block, Page, find_pages
from tests.docs.session import LOOKED_AT, Session

PAGES = find_pages()
BLOCKS = [block for page in PAGES for block in page.blocks]


@pytest.fixture
def variables(request: pytest.FixtureRequest) -> Callable[[bool], Mapping[str, str]]:
    """What a page's Python is given: a database with the layer's tables, Redis, a bucket."""

    def ask(has_files: bool) -> Mapping[str, str]:
        database: ScratchDatabase = request.getfixturevalue("page_database")
        files: dict[str, str] = request.getfixturevalue("s3_variables") if has_files else {}
        own = {name.removeprefix("LIBRILABS_"): value for name, value in files.items()}
        return {**own, **database.variables(), "BEDPLATE_ENV": "development"}

    return ask


@pytest.fixture
def page_database(
    clones: Clones, redis_url: str, background: BackgroundLoop
) -> Iterator[ScratchDatabase]:
    """A database of its own in which only the layer's tables are."""
    scratch = clones.blank("librilabs", redis_url)
    try:
        empty = System("page", "A page", MetaData(), create_app=lambda _layer: pytest.fail("none"))
        background.run(upgrade(empty, scratch.settings()))
        yield scratch
    finally:
        clones.drop(scratch)


@pytest.fixture
def execute(
    request: pytest.FixtureRequest, clones: Clones, librilabs: System, background: BackgroundLoop
) -> Callable[[str], None]:
    """Executes SQL on a migrated database of librilabs, as its owner, and rolls it back."""

    def run(sql: str) -> None:
        scratch = clones.clone(librilabs)
        request.addfinalizer(lambda: clones.drop(scratch))
        background.run(_execute_and_forget(scratch.url.render(), sql))

    return run


async def _execute_and_forget(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(sql)
    finally:
        await transaction.rollback()
        await connection.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))
def test_every_block_of_a_page_runs(
    page: Page,
    tmp_path: Path,
    variables: Callable[[bool], Mapping[str, str]],
    execute: Callable[[str], None],
) -> None:
    """What a reader copies must work as it stands there."""
    folder = tmp_path / "empty folder"
    folder.mkdir()
    Session(page, folder, variables, execute).run()


def test_pages_are_found() -> None:
    """A search that finds nothing would hold nothing."""
    names = {str(page.path.relative_to(ROOT)) for page in PAGES}
    assert names >= {"README.md", "docs/environment.md", "systems/librilabs/README.md"}
    assert sum(block.language not in LOOKED_AT for block in BLOCKS) > 5


def test_what_is_not_run_says_why() -> None:
    """A reason is one sentence; the list is printed with `-rP`."""
    listed = [(block.where, reason) for block in BLOCKS if (reason := block.said("not run"))]
    print(*(f"{where}: {reason}" for where, reason in listed), sep="\n")  # noqa: T201 - for -rP
    assert [block.where for block in BLOCKS if block.said("not run") == ""] == []


def test_what_is_run_elsewhere_names_a_test_that_reads_the_page() -> None:
    """Else a block would be run by nobody, and say otherwise."""
    named = [(block, by) for block in BLOCKS if (by := block.said("run by")) is not None]
    assert [block.where for block, by in named if not _reads(ROOT / by, block)] == []


def _reads(test: Path, block: Block) -> bool:
    return test.is_file() and block.page.name in test.read_text(encoding="utf-8")
