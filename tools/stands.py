"""The same tests of the systems on every stand: `make stands` prints one table.

embedded-18 and embedded-16 are the wheels' servers, pgbouncer has a transaction pooler in front,
named is a server that TEST_DATABASE_URL names: one that is started here beside the tests, with an
owner who may create databases and roles and is no superuser. Each is one run of pytest, of what a
stand can change (tests/stands.py says what is left out, and why); the table is read from what it
reports. Exits 1 when a test failed, or nothing was run.
"""

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import asyncpg

from bedplate.project import Project, SystemEntry
from bedplate.servers.client import attach
from bedplate.servers.stack import StackOptions
from bedplate.testing.pooler import find_pgbouncer
from bedplate.urls import DatabaseUrl

ROOT = Path(__file__).resolve().parent.parent
PYTEST = (sys.executable, "-m", "pytest", "--stands", "-q", "--no-header", "--dist", "loadfile")
TESTS = "tests/systems"
# Says of each system which server it is on; run with whatever tests are chosen.
ON_WHICH = "tests/systems/test_stand.py"
# Several times what a run takes: one that waits for ever is a failure; the others are still run.
TIMEOUT = timedelta(minutes=25)
OWNER, DATABASE = "somebody", "somebodys_test"
# Inherited, these would make one stand another.
CHOOSING = ("TEST_", "BEDPLATE_POSTGRES_BIN", "BEDPLATE_TEST_STATE_DIR", "DATABASE_URL")
CREATE = (
    "CREATE ROLE {owner} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'",
    "CREATE DATABASE {database} OWNER {owner}",
)


@dataclass(frozen=True)
class Stand:
    """What a run of the tests is on. `open` yields the variables that say so."""

    name: str
    title: str
    open: Callable[[], AbstractContextManager[Mapping[str, str]]]


@dataclass(frozen=True)
class Outcome:
    """One line of the table."""

    title: str
    version: str
    passed: int
    failed: int
    skipped: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether anything passed and nothing failed."""
        return self.passed > 0 and self.failed == 0


def main(arguments: Sequence[str]) -> int:
    """Run the stands that are asked for, or all, one after another."""
    parser = argparse.ArgumentParser(description="Run the systems' tests on every stand.")
    parser.add_argument("--workers", default="2", help="pytest's processes")
    parser.add_argument(
        "--tests", action="append", metavar="PATH", help=f"of these only, not all of {TESTS}"
    )
    parser.add_argument("stands", nargs="*", metavar="STAND", help=", ".join(STANDS))
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.stands) - set(STANDS)
    if unknown:
        parser.error(f"no stand is named {', '.join(sorted(unknown))}; there are {list(STANDS)}")
    tests = [*chosen.tests, ON_WHICH] if chosen.tests else [TESTS]
    outcomes = [run(STANDS[name], tests, chosen.workers) for name in chosen.stands or STANDS]
    print_table([outcome for outcome in outcomes if outcome is not None])
    return 0 if all(outcome is None or outcome.is_good for outcome in outcomes) else 1


def run(stand: Stand, tests: Sequence[str], workers: str) -> Outcome | None:
    """One run of pytest; None where the stand cannot be had here and need not be."""
    if stand.name == "pgbouncer" and find_pgbouncer() is None:
        sys.stderr.write("pgbouncer: not installed; on Debian: apt-get install pgbouncer\n")
        is_required = os.environ.get("REQUIRE_PGBOUNCER") == "1"
        return Outcome(stand.title, "-", 0, 0, 0, 0.0) if is_required else None
    sys.stderr.write(f"{stand.title} …\n")
    kept = {name: each for name, each in os.environ.items() if not name.startswith(CHOOSING)}
    with tempfile.TemporaryDirectory() as folder, stand.open() as variables:
        report = Path(folder) / "report.xml"
        began = time.monotonic()
        finished = _await_run(
            [*PYTEST, *tests, "-n", workers, "--junit-xml", str(report)],
            {**kept, **variables},
        )
        if not finished:
            sys.stderr.write(f"{stand.title}: ended after {TIMEOUT}\n")
        return read(report, stand.title, time.monotonic() - began)


def _await_run(command: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Whether pytest ended by itself; what it prints is for watching."""
    try:
        subprocess.run(
            command,
            cwd=ROOT,
            env=variables,
            stdout=sys.stderr,
            check=False,
            timeout=TIMEOUT.total_seconds(),
        )
    except subprocess.TimeoutExpired:
        return False
    return True


def read(report: Path, title: str, seconds: float) -> Outcome:
    """What pytest says of a run, and which server a test found there."""
    if not report.exists():
        return Outcome(title, "-", 0, 1, 0, seconds)
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314 - written by us
    if suite is None:
        return Outcome(title, "-", 0, 1, 0, seconds)
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    skipped = int(suite.attrib["skipped"])
    version = suite.find(".//property[@name='server_version']")
    return Outcome(
        title=title,
        version="-" if version is None else version.attrib["value"].split()[0],
        passed=int(suite.attrib["tests"]) - failed - skipped,
        failed=failed,
        skipped=skipped,
        seconds=seconds,
    )


def print_table(outcomes: Sequence[Outcome]) -> None:
    """For people, and to be copied into documentation."""
    lines = [
        "| stand | server | passed | failed | skipped | seconds |",
        "|---|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {each.title} | {each.version} | {each.passed} | {each.failed} | {each.skipped}"
        f" | {each.seconds:.0f} |"
        for each in outcomes
    ]
    sys.stdout.write("\n".join(lines) + "\n")


@contextmanager
def named_server() -> Iterator[Mapping[str, str]]:
    """A server that the tests do not start, with an ordinary owner on it."""
    with tempfile.TemporaryDirectory() as folder:
        entry = SystemEntry("somebody", None, "elsewhere", "elsewhere", "unused")
        project = Project(Path(folder), (entry,), Path(folder) / "state")
        with attach(project, StackOptions(durable=False, has_valkey=False)) as running:
            admin = DatabaseUrl.parse(running.state.admin_url)
            # Not marked as a stack's: this server is somebody's.
            password = secrets.token_urlsafe(16)
            url = replace(admin, user=OWNER, password=password, database=DATABASE)
            asyncio.run(_create_owner(admin, url))
            path = f"{running.state.client_tools}{os.pathsep}{os.environ['PATH']}"
            yield {"TEST_DATABASE_URL": url.render(), "PATH": path}


async def _create_owner(admin: DatabaseUrl, url: DatabaseUrl) -> None:
    # As managed services have it: an owner may use the extension that only a superuser makes.
    template = await asyncpg.connect(**admin.with_database("template1").connect_arguments())
    try:
        await template.execute("CREATE EXTENSION vector")
    finally:
        await template.close()
    connection = await asyncpg.connect(**admin.connect_arguments())
    try:
        for statement in CREATE:
            await connection.execute(
                statement.format(owner=url.user, password=url.password, database=url.database)
            )
    finally:
        await connection.close()


STANDS = {
    stand.name: stand
    for stand in (
        Stand("embedded-18", "embedded 18", lambda: nullcontext({})),
        Stand("embedded-16", "embedded 16", lambda: nullcontext({"TEST_POSTGRES": "16"})),
        Stand("pgbouncer", "behind PgBouncer", lambda: nullcontext({"TEST_STAND": "pgbouncer"})),
        Stand("named", "named by TEST_DATABASE_URL", named_server),
    )
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
