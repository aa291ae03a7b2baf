"""Apertium, an offline engine from Debian's packages (`apertium-eng-spa` and others).

One process for each chunk, since its start takes 0.2 s whatever the length; `-u`, since unknown
words are else marked with an asterisk. The program is a shell script over a pipeline: it runs as
a process group of its own, which is killed whole when it takes too long or the job is cancelled.
"""

import asyncio
import os
import signal
import tempfile
from contextlib import suppress
from datetime import timedelta
from typing import IO

from systems.translation.engines import (
    EngineError,
    EngineMissingError,
    EngineName,
    PairUnavailableError,
)
from systems.translation.languages import three_letters

PROGRAM = "apertium"
_LIST_TIMEOUT = timedelta(seconds=10)


class Apertium:
    """The program `apertium`. A pair is looked up once and then remembered."""

    name: EngineName = "apertium"
    note: str | None = None

    def __init__(self, program: str = PROGRAM, timeout: timedelta = timedelta(seconds=60)) -> None:
        self.program = program
        self.timeout = timeout
        self._modes: dict[tuple[str, str], str] = {}

    async def check_pair(self, source: str, target: str) -> None:
        """Raises `PairUnavailableError`, `EngineMissingError`."""
        await self._mode(source, target)

    async def translate(self, text: str, source: str, target: str) -> str:
        """The text in `target`; white space around it stays as it was. Raises `EngineError`."""
        inner = text.strip()
        if not inner:
            return text
        mode = await self._mode(source, target)
        translated = await self._run(self.timeout, "-f", "txt", "-u", mode, text=inner)
        start = text.index(inner)
        return text[:start] + translated.strip() + text[start + len(inner) :]

    async def _mode(self, source: str, target: str) -> str:
        pair = (source, target)
        if pair not in self._modes:
            self._modes[pair] = await self._find_mode(source, target)
        return self._modes[pair]

    async def _find_mode(self, source: str, target: str) -> str:
        available = (await self._run(_LIST_TIMEOUT, "-l")).split()
        # Older pairs are named by two letters, newer ones by three.
        for mode in (f"{three_letters(source)}-{three_letters(target)}", f"{source}-{target}"):
            if mode in available:
                return mode
        raise PairUnavailableError(self.name, source, target, available)

    async def _run(self, bound: timedelta, *arguments: str, text: str = "") -> str:
        # A file, and no pipe of the loop's: uvloop's are sockets, which the script, by way of
        # /dev/stdin, cannot open, and then it translates nothing without a word.
        with tempfile.TemporaryFile() as given:
            given.write(text.encode())
            given.seek(0)
            process = await self._start(given, *arguments)
        try:
            async with asyncio.timeout(bound.total_seconds()):
                output, errors = await process.communicate()
        except TimeoutError:
            raise EngineError(
                f"{self.program} did not end within {bound.total_seconds():g} s"
            ) from None
        finally:
            await _end_group(process)
        if process.returncode != 0:
            reason = errors.decode(errors="replace").strip()[:500]
            raise EngineError(f"{self.program} ended with {process.returncode}: {reason}")
        if text and not output.strip():
            raise EngineError(f"{self.program} has answered nothing to a text")
        return output.decode(errors="replace")

    async def _start(self, given: IO[bytes], *arguments: str) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                self.program,
                *arguments,
                stdin=given,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise EngineMissingError(
                f"{self.program!r} cannot be started: {error.strerror}; "
                "install it, for example by apt-get install apertium apertium-eng-spa"
            ) from error


async def _end_group(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # Drains the pipes too: their transports stay open for as long as data is left in them.
        await process.communicate()
