"""Starts a child process that reads or writes a PDF, and bounds what it may cost.

Called by the tasks. The child gets the file, a folder of its own and no variable of ours; it has
limits on memory, processor time and output, and a deadline here for what waits without computing.
However it ends, by itself, by a signal, by silence, the caller gets pages or `PdfRefusedError`.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systems.documents.limits import PdfLimits, PdfRefusedError, Reason

log = logging.getLogger("systems.documents")

READER = "systems.documents.child"
# A page in one line of JSON; 100,000 characters of it with coordinates.
LONGEST_LINE = 64 * 1024 * 1024
LAST_WORDS_BYTES = 2000
# pdfium ends itself by a trap when it gets no memory, the C++ library by an abort.
OUT_OF_ROOM = {-signal.SIGXFSZ, -signal.SIGABRT, -signal.SIGTRAP, -signal.SIGILL}


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """A block as the child read it; `coordinates` in points from the page's top left corner."""

    text: str
    is_wordless: bool
    coordinates: dict[str, float]


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page as the child read it; `number` from 0, of `of` pages; sizes in points."""

    number: int
    of: int
    width: float
    height: float
    blocks: list[ReadBlock]


async def read_pages(source: Path, limits: PdfLimits | None = None) -> AsyncGenerator[ReadPage]:
    """The pages of a PDF, one by one. Raises `PdfRefusedError`."""
    async with running(READER, limits or PdfLimits(), source) as child:
        async for said in child.lines():
            blocks = [ReadBlock(**block) for block in said.pop("blocks")]
            yield ReadPage(said["page"], said["of"], said["width"], said["height"], blocks)


class Child:
    """A running child, by its three pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("the child needs all three pipes")
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr

    async def tell(self, message: bytes) -> None:
        """All that it is told."""
        try:
            self._stdin.write(message)
            await self._stdin.drain()
        except ConnectionError:
            pass  # it has refused the file already, and says so
        finally:
            self._stdin.close()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """What it says, but its last word. Raises `PdfRefusedError` when that is a refusal."""
        async for line in self._stdout:
            said: dict[str, Any] = json.loads(line)
            if "done" in said:
                return
            if "refused" in said:
                raise PdfRefusedError(Reason(said["refused"]), said["detail"])
            yield said
        raise await self._died()

    async def _died(self) -> PdfRefusedError:
        """Why it ended without a last word."""
        last = (await self._stderr.read(LAST_WORDS_BYTES)).decode("utf-8", "replace")
        code = await self._process.wait()
        log.warning("A PDF ended its process", extra={"code": code, "last_words": last[-500:]})
        if code in {-signal.SIGXCPU, -signal.SIGKILL}:
            return PdfRefusedError(Reason.TOO_SLOW)
        if code in OUT_OF_ROOM or "MemoryError" in last or "bad_alloc" in last:
            return PdfRefusedError(Reason.TOO_COMPLEX)
        return PdfRefusedError(Reason.DAMAGED)


@asynccontextmanager
async def running(module: str, limits: PdfLimits, *files: Path) -> AsyncIterator[Child]:
    """A child that runs the module (`child.run`) on these files; it ends with the block.

    Raises `PdfRefusedError`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        limits.as_json(),
        *files,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        env=_environment(),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(limits.time.total_seconds() * 2):
            yield Child(process)
    except TimeoutError as error:
        raise PdfRefusedError(Reason.TOO_SLOW) from error
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # The pipes close with the transport, at once and not when it is collected.
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other door


def _environment() -> dict[str, str]:
    """Enough to import the code; none of our variables, which hold secrets."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
