"""The storage fails in the middle of a commit: what database and bucket say afterwards.

    python -m benchmarks.lost_file      (make demo-lost-file)

A row and the file that it names are stored in one transaction, once with advanced-alchemy's file
column and once with bedplate, first while S3 works and then while every PUT to it is cut. Real
PostgreSQL and S3 in a temporary folder; the peer as released, in a virtual environment of its own
that is made there. Rows and objects are looked up past both libraries, with the storage healthy.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import MetaData, text

from bedplate.errors import BedplateError
from bedplate.files.file_store import NewFile
from bedplate.layer import DataLayer
from bedplate.migrations.upgrade import upgrade
from bedplate.project import Project, SystemEntry
from bedplate.servers import client
from bedplate.servers.stack import StackOptions
from bedplate.settings import Settings
from bedplate.system import System
from benchmarks.cut_storage import CutStorage, cut_storage

NAME = "demo"
ROOT = Path(__file__).parents[1]
PEER = Path(__file__).with_name("lost_file_peer.py")
# The others come in the versions of constraints.txt.
PEER_PACKAGES = ("advanced-alchemy==1.12.0", "obstore", "asyncpg", "psycopg[binary]==3.2.13")
SYSTEM = System(NAME, "A demonstration", MetaData(), lambda _layer: FastAPI())
CREATE = "CREATE TABLE IF NOT EXISTS demo_notes (title text PRIMARY KEY, key text NOT NULL)"
INSERT = "INSERT INTO demo_notes (title, key) VALUES (:title, :key)"
LOOK = "SELECT key FROM demo_notes WHERE title = :title"
# A shell's own AWS or PostgreSQL is not what is demonstrated.
FOREIGN_VARIABLES = ("AWS_", "PG", "S3_")
LINE = "{:25}{:12}{:32}{:5}{:16}{:5}"
# The peer's column is JSON with the object's name in it.
LOOK_PEER = "SELECT attachment ->> 'filename' FROM peer_notes WHERE title = :title"


@dataclass(frozen=True)
class Outcome:
    """What one commit said, and what was found."""

    who: str
    is_storage_up: bool
    cut_puts: int
    commit: str
    row_key: str | None
    has_object_at_once: bool
    made: frozenset[str]

    @property
    def is_whole(self) -> bool:
        """A row and the object it names, or neither; and `commit()` said which."""
        is_committed = self.row_key is not None
        named = frozenset() if self.row_key is None else frozenset({self.row_key})
        return is_committed == (self.commit == "returned") and self.made == named


def main() -> int:
    """Run both, print the table."""
    with tempfile.TemporaryDirectory(prefix="bedplate-demo-") as name:
        folder = Path(name)
        print("Making an environment for advanced-alchemy …", file=sys.stderr)
        python = make_environment(folder / "peer")
        with servers(folder) as variables:
            outcomes = demonstrate(variables, python)
        print(table(outcomes))
        print(f"\npeer: {versions(python)}")
    return 0


def demonstrate(variables: Mapping[str, str], python: Path) -> list[Outcome]:
    """Every contestant, with the storage up and then cut."""
    settings = Settings.load(NAME, variables)
    asyncio.run(prepare(settings))
    found = []
    with cut_storage(variables["S3_ENDPOINT_URL"]) as door:
        through = {**variables, "S3_ENDPOINT_URL": door.endpoint}
        for mode in ("async", "sync"):
            for is_up in (True, False):
                door.is_cutting = not is_up
                found.append(store_with_peer(python, mode, through, settings, door))
        for is_up in (True, False):
            door.is_cutting = not is_up
            found.append(asyncio.run(store_with_bedplate(through, settings, door)))
    return found


async def prepare(settings: Settings) -> None:
    """bedplate's tables, and one whose rows name a file each."""
    await upgrade(SYSTEM, settings)
    async with (
        DataLayer(settings, name=NAME) as layer,
        layer.owner_database.engine.begin() as connection,
    ):
        await connection.execute(text(CREATE))


async def store_with_bedplate(
    variables: Mapping[str, str], direct: Settings, door: CutStorage
) -> Outcome:
    """A row and its file, in one unit of work."""
    title, cuts = f"bedplate, {door.is_cutting}", door.cuts
    before = await objects(direct)
    commit = "returned"
    async with DataLayer(Settings.load(NAME, variables), name=NAME) as layer:
        try:
            async with layer.transaction() as uow:
                file = await uow.store_file(b"hello", NewFile("note.txt", "text/plain"))
                await uow.execute(text(INSERT), {"title": title, "key": file.key})
        except BedplateError as error:
            commit = f"raised {type(error).__name__}"
        at_once = await objects(direct) - before
    return Outcome(
        "bedplate",
        not door.is_cutting,
        door.cuts - cuts,
        commit,
        await look(direct, LOOK, title),
        bool(at_once),
        await objects(direct) - before,
    )


def store_with_peer(
    python: Path, mode: str, variables: Mapping[str, str], direct: Settings, door: CutStorage
) -> Outcome:
    """The same with advanced-alchemy, in a process of its environment."""
    title, cuts = f"{mode}, {door.is_cutting}", door.cuts
    before = asyncio.run(objects(direct))
    told = run([python, PEER, mode, title, f"{NAME}/peer-{mode}-{door.is_cutting}.txt"], variables)
    answer = json.loads(told.splitlines()[-1])
    return Outcome(
        f"advanced-alchemy, {mode}",
        not door.is_cutting,
        door.cuts - cuts,
        answer["commit"],
        asyncio.run(look(direct, LOOK_PEER, title)),
        answer["has_object_at_once"],
        asyncio.run(objects(direct)) - before,
    )


async def look(settings: Settings, query: str, title: str) -> str | None:
    """The key that a row names, as the database's owner sees it."""
    async with (
        DataLayer(settings, name=NAME) as layer,
        layer.owner_database.engine.connect() as connection,
    ):
        found: str | None = await connection.scalar(text(query), {"title": title})
    return found


async def objects(settings: Settings) -> frozenset[str]:
    """The keys of every object that the bucket has of us."""
    async with DataLayer(settings, name=NAME) as layer:
        found = await layer.files.objects.page(f"{NAME}/")
    return frozenset(each.key for each in found)


def table(outcomes: Sequence[Outcome]) -> str:
    """What happened, a line each."""
    lines = [LINE.format("", "storage", "commit()", "row", "object at once", "later")]
    for each in outcomes:
        storage = "up" if each.is_storage_up else f"{each.cut_puts} PUTs cut"
        row, later = _yes(each.row_key is not None), _yes(bool(each.made))
        cells = (each.who, storage, each.commit, row, _yes(each.has_object_at_once), later)
        lines.append(
            (LINE.format(*cells) + ("" if each.is_whole else "  <- they disagree")).rstrip()
        )
    return "\n".join(lines)


def make_environment(folder: Path) -> Path:
    """A virtual environment with the peer in it: its Python."""
    run([Path(sys.executable), "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    constraints = str(ROOT / "constraints.txt")
    run([python, "-m", "pip", "install", "-q", "-c", constraints, *PEER_PACKAGES])
    return python


def versions(python: Path) -> str:
    """What the environment has of what matters."""
    wanted = ("advanced_alchemy", "obstore", "SQLAlchemy", "asyncpg", "psycopg")
    listed = run([python, "-m", "pip", "list", "--format=freeze"]).splitlines()
    return ", ".join(line for line in listed if line.split("==")[0] in wanted)


def run(command: Sequence[object], variables: Mapping[str, str] | None = None) -> str:
    """A program's standard output; what it logs stays visible only when it fails."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    done = subprocess.run(
        [str(word) for word in command],
        env={**kept, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[:4]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL and S3 of our own, durable as in production."""
    entry = SystemEntry(NAME, None, NAME, NAME, "unused")
    project = Project(root=folder, systems=(entry,), state=folder / "state")
    with client.attach(project, StackOptions(has_files=True)) as stack:
        yield {**stack.state.environment(project.systems), "BEDPLATE_ENV": "test"}


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


if __name__ == "__main__":
    sys.exit(main())
