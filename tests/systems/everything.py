"""`bedplate run` as a user starts it: real processes, from an empty folder to Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from tests.texts import ROOT

BEDPLATE = [str(Path(sys.executable).parent / "bedplate")]
# Bounds for failure only; nothing waits this long when all is well.
PATIENCE_SECONDS = 240.0
SERVERS = re.compile(r".*DATABASE_URL$|REDIS_URL$")


@dataclass
class Running:
    """`bedplate run` in a state folder of its own, ready to be used."""

    process: "subprocess.Popen[str]"
    address: str
    variables: Mapping[str, str]

    def call(self, *command: str, **more: str) -> Any:
        """The data of a command's answer, as JSON has it."""
        answer = subprocess.run(
            [*BEDPLATE, *command, "-o", "json"],
            cwd=ROOT,
            env={**self.variables, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)["data"]

    def environment(self) -> dict[str, str]:
        """The variables of its servers, as `bedplate env` tells them."""
        found: dict[str, str] = self.call("env")["environment"]
        return found


@contextmanager
def everything(
    folder: Path,
    more: Mapping[str, str],
    *,
    port: int = 0,
    without: re.Pattern[str] = SERVERS,
) -> Iterator[Running]:
    """All of it, with these variables more; ended by Ctrl-C, after which nothing may be left.

    `without` matches the variables of this process that it is not given.
    """
    state = folder / "state"
    port = port or free_port()
    kept = {name: value for name, value in os.environ.items() if not without.match(name)}
    variables = {**kept, "BEDPLATE_STATE_DIR": str(state), **more}
    with (
        (folder / "run.err").open("w+") as errors,
        subprocess.Popen(
            [*BEDPLATE, "run", "--port", str(port), "--timeout", str(PATIENCE_SECONDS)],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        family: list[psutil.Process] = []
        try:
            address = _read_address(process, errors)
            assert address == f"http://127.0.0.1:{port}"
            family = _family(process.pid, state)
            yield Running(process, address, variables)
        finally:
            family += _family(process.pid, state)
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_SECONDS)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    assert alive == [], "processes are left after Ctrl-C"


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _read_address(process: "subprocess.Popen[str]", errors: IO[str]) -> str:
    """The address from the block that `run` prints when all is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("everything"):
            return line.split()[-1]
    errors.seek(0)
    raise AssertionError(f"`bedplate run` ended with {process.wait()}: {errors.read()}")


def _family(pid: int, state: Path) -> list[psutil.Process]:
    """`run`, its children, and the servers that work in its state folder."""

    def belongs(process: psutil.Process) -> bool:
        return process.pid == pid or str(state) in " ".join(process.cmdline()) + process.cwd()

    found = [each for each in psutil.process_iter() if _quietly(belongs, each)]
    for each in list(found):
        found += _quietly(lambda process: process.children(recursive=True), each) or []
    return list(dict.fromkeys(found))


def _quietly(ask: Callable[[psutil.Process], Any], process: psutil.Process) -> Any:
    try:
        return ask(process)
    except psutil.Error:
        return None
