"""Rooms across real API processes, and a real Redis that is stopped, killed and started again."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from bedplate.testing.clones import ScratchDatabase
from tests.faults.processes import Child, Processes
from tests.integration.cache.valkey import Valkey, until
from tests.systems.conftest import Catalogue
from tests.systems.live_agent.asking import log_in
from tests.systems.live_agent.browsers import Live, People, seated
from tests.systems.live_agent.test_live import SELECT_KINDS
from tests.texts import ROOT

# A project that lists this system alone; the code is where it is.
PROJECT = """
[project]
name = "rooms"
version = "1"
[tool.bedplate.systems]
live_agent = "systems.live_agent.app:system"
"""
# What `bedplate serve` runs, once it knows that no servers are to be embedded.
SERVE = """
import os, sys
os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from bedplate.cli.api import serve
from bedplate.cli.child_process import configure_logging
configure_logging("INFO")
serve("127.0.0.1", 0, None, on_ready=lambda: None)
"""

Serve = Callable[[], Child]


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Valkey]:
    """A server of this test's own, which knows after a restart what it knew before."""
    server = await Valkey(tmp_path / "valkey", "appendonly yes", "appendfsync always").start()
    yield server
    server.kill()


@pytest.fixture
def serve(tmp_path: Path, bedplate_database: ScratchDatabase, valkey: Valkey) -> Iterator[Serve]:
    """Starts processes of `bedplate serve`; all are gone at the end."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    variables = {**bedplate_database.variables(), "REDIS_URL": valkey.url}
    processes = Processes(tmp_path, variables)
    yield lambda: processes.run(SERVE, str(tmp_path), str(ROOT))
    processes.close()


async def address_of(child: Child) -> str:
    """Where a process serves live_agent."""
    said = await child.until_says(r"Serving on (http://127\.0\.0\.1:\d+)")
    return f"{said[1]}/live_agent"


@pytest.fixture
async def both(serve: Serve) -> list[Child]:
    """Two API processes."""
    return [serve(), serve()]


@pytest.fixture
async def addresses(both: list[Child]) -> list[str]:
    """Where they serve."""
    return [await address_of(child) for child in both]


@pytest.fixture
async def people(addresses: list[str]) -> AsyncIterator[People]:
    """Whoever is made here signs in at the first one."""
    made = People(addresses[0])
    yield made
    await made.close()


async def exchange(*seats: Live) -> None:
    """Each says something, and all hear the same in the same order."""
    for speaker in seats:
        await speaker.say("heard by all")
        heard = [await seat.until("message") for seat in seats]
        assert all(each == heard[0] for each in heard)


async def test_A19_two_api_processes_see_the_same_room(
    people: People, addresses: list[str], both: list[Child], catalogue: Catalogue
) -> None:
    """Two browsers at two processes; one stops, its browser goes to the other one."""
    admin = await people.admin("Acme")
    member, _ = await people.join(admin, "Ben")
    session_id = await people.room(admin)
    async with seated(admin, session_id) as ann:
        async with member.at(addresses[1]).live(session_id) as ben:
            assert {each["name"] for each in (await ben.hear())["present"]} == {"Acme", "Ben"}
            assert (await ann.until("join", member=ben_of(await ben.until("join"))))["position"] > 0
            await exchange(ann, ben)
            both[1].process.send_signal(signal.SIGTERM)
            assert await ben.until_closed() == 1001
            assert (await ann.until("leave"))["member"]["name"] == "Ben"
        async with seated(member, session_id) as ben:
            await exchange(ann, ben)
    await both[1].until_ended()
    kinds = [row["kind"] for row in await catalogue(SELECT_KINDS, session_id)]
    assert kinds[:7] == ["start", "join", "join", "message", "message", "leave", "join"]


def ben_of(joined: dict[str, object]) -> object:
    """The member of an event."""
    return joined["member"]


@pytest.mark.bad_day(
    "Redis dies while members are in a live room",
    sees="`interrupted`; what is said is kept and comes late; `resumed` when Redis is back",
)
async def test_A19_a_lost_redis_is_said_and_comes_back(
    people: People, addresses: list[str], valkey: Valkey, catalogue: Catalogue
) -> None:
    """Killed and started: nothing that was said is lost, told twice, or out of order."""
    admin = await people.admin("Acme")
    member, _ = await people.join(admin, "Ben")
    session_id = await people.room(admin)
    async with (
        seated(admin, session_id) as ann,
        seated(member.at(addresses[1]), session_id) as ben,
    ):
        await exchange(ann, ben)
        valkey.kill()
        for seat in (ann, ben):
            told = await seat.until("interrupted")
            assert told["code"] == "redis_unreachable"
            assert "Redis" in told["detail"]
            assert "127.0.0.1" not in told["detail"]
        await ann.send(type="presence")
        assert (await ann.until("error"))["code"] == "redis_unreachable"
        for index in range(5):
            await (ann if index % 2 else ben).say(f"while away {index}")
        for seat in (ann, ben):
            heard = [(await seat.until("message"))["text"] for _ in range(5)]
            assert sorted(heard) == [f"while away {index}" for index in range(5)]
        # Who signs in is known by Redis: nobody new comes in meanwhile.
        assert await admin.refused(session_id) == (503, "redis_unreachable")
        await valkey.start()
        for seat in (ann, ben):
            await seat.until("resumed")
        await ann.say("back")
        for seat in (ann, ben):
            assert (await seat.until("message"))["text"] == "back"

        async def are_both_there() -> bool:
            await ben.send(type="presence")
            told = await ben.until("presence")
            return {each["name"] for each in told["present"]} == {"Acme", "Ben"}

        await until(are_both_there, "each process says again who is there")
    kept = await catalogue(
        "SELECT position, text FROM session_events WHERE kind = 'message' ORDER BY position"
    )
    assert len(kept) == 2 + 5 + 1


@pytest.mark.bad_day(
    "Redis loses everything while members are in a live room",
    sees="signed out (4401); after a new login the room and its history",
)
async def test_A19_a_redis_that_lost_everything_signs_out_and_loses_no_event(
    people: People, valkey: Valkey, tmp_path: Path
) -> None:
    """Sign-ins are in Redis alone; what was said is not."""
    admin = await people.admin("Acme")
    session_id = await people.room(admin)
    async with seated(admin, session_id) as ann:
        await ann.say("before")
        await ann.until("message")
        valkey.kill()
        await ann.until("interrupted")
        shutil.rmtree(tmp_path / "valkey" / "appendonlydir")
        await valkey.start()
        assert await ann.until_closed() == 4401
    assert await admin.refused(session_id) == (401, "not_signed_in")
    assert (await log_in(admin.client, "admin@acme.example")).status_code == 200
    async with admin.live(session_id) as ann:
        shown = (await ann.hear())["events"]
        assert "before" in [each["text"] for each in shown]
        await exchange(ann)


async def test_A19_a_redis_that_stands_still_is_said_and_goes_on(
    people: People, addresses: list[str], valkey: Valkey
) -> None:
    """Its connections stand, and it says nothing: SIGSTOP, and SIGCONT."""
    admin = await people.admin("Acme")
    session_id = await people.room(admin)
    async with (
        seated(admin, session_id) as here,
        seated(admin.at(addresses[1]), session_id) as there,
    ):
        await exchange(here, there)
        valkey.stop()
        await here.say("while it stands still")
        for seat in (here, there):
            await seat.until("interrupted")
            assert (await seat.until("message"))["text"] == "while it stands still"
        valkey.go_on()
        for seat in (here, there):
            await seat.until("resumed")
        await exchange(here, there)


async def test_A19_a_process_that_is_killed_takes_only_its_own_browsers_along(
    people: People, addresses: list[str], both: list[Child]
) -> None:
    """kill -9: the other process and its room go on; who lost the connection comes back there."""
    admin = await people.admin("Acme")
    member, _ = await people.join(admin, "Ben")
    session_id = await people.room(admin)
    async with seated(admin, session_id) as ann:
        async with seated(member.at(addresses[1]), session_id) as ben:
            await exchange(ann, ben)
            both[1].kill()
            assert await ben.until_closed() == 1006
        async with seated(member, session_id) as ben:
            await exchange(ann, ben)
            async with asyncio.timeout(5):
                await ben.send(type="presence")
                told = await ben.until("presence")
            assert {each["name"] for each in told["present"]} == {"Acme", "Ben"}
