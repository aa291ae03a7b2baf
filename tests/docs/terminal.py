"""A terminal in a folder: commands are typed one after the other, what they print is read.

One shell for a whole page, so that `cd`, `export` and `source` last. What stays in the foreground
until Ctrl-C (`bedplate run`) is left running, as in a second terminal, until the page ends or
starts the next one.
"""

import contextlib
import os
import re
import secrets
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.compare import differences

LIMIT = timedelta(seconds=180)
STAYS = re.compile(r"^(?:\w+=\S+ +)*bedplate (?:-\S+ +)*(?:run|up|worker|relay|logs -f)\b")
# What `bedplate run` says when all answer.
READY = "…\neverything …\n…"
RETURNS = re.compile(r"\s(?:-d|--detach|-h|--help)\b")


class Terminal:
    """`with Terminal(folder, variables) as terminal: terminal.type("ls")`."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = dict(variables)
        self._shell: subprocess.Popen[bytes] | None = None
        self._foreground: tuple[int, Path] | None = None
        self._count = 0

    def __enter__(self) -> Self:
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._shell is not None
        self.interrupt()
        with self._shell as shell, contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)

    @property
    def folder(self) -> Path:
        """Where one is, after every `cd`."""
        return Path(self._run("pwd")[0].strip())

    def type(self, command: str, shown: str | None = None, status: int = 0) -> None:
        """Type a command, and compare what it prints with what a page shows, if it shows any.

        Raises AssertionError with both when they differ, or when it ends with another status.
        """
        if STAYS.match(command) and not RETURNS.search(command):
            self._start(command, shown)
            return
        seen, ended = self._run(command)
        assert ended == status, f"$ {command}\n{seen}\nended with {ended}, not {status}"
        if shown is not None:
            difference = differences(shown, seen)
            assert difference is None, f"$ {command}\n{difference}"

    def type_until(self, command: str, shown: str) -> None:
        """Type a command again and again until it prints what is shown."""
        ends = time.monotonic() + LIMIT.total_seconds()
        difference = differences(shown, self._run(command)[0])
        while difference is not None:
            assert time.monotonic() < ends, f"$ {command}\n{difference}"
            difference = differences(shown, self._run(command)[0])

    def interrupt(self) -> None:
        """Press Ctrl-C where something runs in the foreground, and wait for its end."""
        if self._foreground is None:
            return
        pid, _output = self._foreground
        self._foreground = None
        # A shell that no person sits at starts what is to go on with SIGINT ignored.
        self._run(f"kill -TERM {pid}; wait {pid}")

    def _run(self, command: str) -> tuple[str, int]:
        mark = f"mark-{secrets.token_hex(8)}"
        self._write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s %d\\n' {mark} $?\n")
        output = self._read_until(mark, command)
        seen, _, rest = output.partition(f"\n{mark} ")
        return seen, int(rest.strip())

    def _start(self, command: str, shown: str | None) -> None:
        self.interrupt()
        self._count += 1
        output = self._folder.parent / f"{self._folder.name}-foreground-{self._count}.txt"
        output.touch()
        pid, _status = self._run(f"{command} >{shlex.quote(str(output))} 2>&1 & echo $!")
        self._foreground = (int(pid), output)
        wanted = shown or (READY if " run" in command else "…")
        difference: str | None = ""
        ends = time.monotonic() + LIMIT.total_seconds()
        while time.monotonic() < ends:
            seen = output.read_text(encoding="utf-8")
            difference = differences(wanted, seen)
            if difference is None and seen:
                return
            _said, alive = self._run(f"sleep 0.05; kill -0 {pid}")
            assert alive == 0, f"$ {command}\n{seen}\nended"
        raise AssertionError(f"$ {command}\n{difference}")

    def _write(self, text: str) -> None:
        assert self._shell is not None
        assert self._shell.stdin is not None
        self._shell.stdin.write(text.encode())
        self._shell.stdin.flush()

    def _read_until(self, mark: str, command: str) -> str:
        assert self._shell is not None
        assert self._shell.stdout is not None
        descriptor, read = self._shell.stdout.fileno(), b""
        ends = time.monotonic() + LIMIT.total_seconds()
        while re.search(rb"\n%s \d+\n" % mark.encode(), read) is None:
            ready, _, _ = select.select([descriptor], [], [], max(ends - time.monotonic(), 0))
            piece = os.read(descriptor, 65536) if ready else b""
            assert piece, f"$ {command}\n{read.decode(errors='replace')}\ndid not end"
            read += piece
        return read.decode(errors="replace")
