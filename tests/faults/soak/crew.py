"""The processes of the soak, each started again when it has been killed, as a supervisor does."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path

from tests.faults.processes import Child, Processes

POLL_SECONDS = 0.1
START_WITHIN = timedelta(minutes=2)
WRITER = """
import asyncio, sys
from pathlib import Path
from tests.faults.soak.writer import main
asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
"""


class Crew:
    """An API, two relays, two workers and the writers; each has a role and an heir."""

    def __init__(
        self, processes: Processes, folder: Path, *, writers: int, chance: random.Random
    ) -> None:
        self._processes = processes
        self._folder = folder
        self._random = chance
        self._roles = ["api", "relay", "relay", "worker", "worker", *["writer"] * writers]
        self._at_work: dict[int, Child] = {}
        self._api_port = 0
        self.restarts = 0

    async def start(self) -> None:
        """Start everybody; the API first, whose port the writers keep."""
        for number, role in enumerate(self._roles):
            self._at_work[number] = self._begin(role)
            if role == "api":
                said = await self._at_work[number].until_says(
                    r"serving on (\d+)", patience=START_WITHIN
                )
                self._api_port = int(said[1])
        for child in self.all():
            # Importing everything takes seconds; what is killed before that has done nothing.
            if child.name != "worker":
                await child.until_says("serving|relaying|writing", patience=START_WITHIN)

    async def keep(self) -> None:
        """Replace whoever has ended, until cancelled."""
        while True:
            self.replace()
            await asyncio.sleep(POLL_SECONDS)

    def replace(self) -> None:
        """Start an heir of each that has ended."""
        for number, child in list(self._at_work.items()):
            if not child.is_alive:
                self.restarts += 1
                self._at_work[number] = self._begin(self._roles[number])

    def all(self) -> list[Child]:
        """Everybody at work."""
        return list(self._at_work.values())

    def workers(self) -> list[Child]:
        """The workers."""
        return [
            child
            for number, child in self._at_work.items()
            if self._roles[number] == "worker" and child.is_alive
        ]

    async def end_writers(self) -> None:
        """Let the actions that run end; nobody follows."""
        writers = [number for number, role in enumerate(self._roles) if role == "writer"]
        for number in writers:
            self._at_work[number].terminate()
        for number in writers:
            await self._at_work.pop(number).until_ended()

    def histories(self) -> list[Path]:
        """The files of all writers, those that were killed, too."""
        return sorted(self._folder.glob("history-*.jsonl"))

    def _begin(self, role: str) -> Child:
        if role != "writer":
            return self._processes.start(role, *[str(self._api_port)] if role == "api" else [])
        history = self._folder / f"history-{len(self._processes.started)}.jsonl"
        address = f"http://127.0.0.1:{self._api_port}"
        seed = str(self._random.randrange(10**9))
        return self._processes.run(WRITER, seed, str(history), API_URL=address)
