"""Valkey processes of a test's own: killed, stopped, on old data, in clusters, behind Sentinel."""

import asyncio
import os
import signal
import socket
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from redis import Redis
from redis.exceptions import RedisError

from bedplate.servers.binaries import find_valkey

PATIENCE = timedelta(seconds=30)


def free_port() -> int:
    """A port that nobody listens on, nor on the one that a cluster adds to it."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        if port < 55_000:
            return port


class Valkey:
    """One server in a folder of its own. `lines` are added to its configuration."""

    def __init__(self, folder: Path, *lines: str, is_sentinel: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._lines = lines
        self._is_sentinel = is_sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "Redis":
        """A client that blocks; close it."""
        return Redis(port=self.port, socket_timeout=5, decode_responses=True)

    def ask(self, *command: str | int) -> object:
        """One command on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*command)

    async def start(self) -> "Valkey":
        """Start it, and wait until it answers."""
        path = self.folder / "valkey.conf"
        if not path.exists():
            own = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}", *self._lines]
            path.write_text("\n".join(own) + "\n")
        command = [str(find_valkey(None)), str(path), *(["--sentinel"] * self._is_sentinel)]
        with (self.folder / "log").open("ab") as log:
            self._process = _fork(command, log)
        await until(self._answers, f"Valkey on port {self.port} answers")
        return self

    def _answers(self) -> bool:
        try:
            return self.ask("PING") is True
        except (RedisError, OSError):
            return False

    def kill(self) -> None:
        """kill -9, also when it is stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGSTOP."""
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)


def _fork(command: list[str], log: BinaryIO) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=log, stderr=log)


async def until(holds: object, what: str, patience: timedelta = PATIENCE) -> None:
    """Wait until a function, sync or async, returns something true; Redis' errors are not yet."""
    assert callable(holds)
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while True:
                try:
                    found = holds()
                    if asyncio.iscoroutine(found):
                        found = await found
                except RedisError:
                    found = None
                if found:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


async def start_cluster(folder: Path, masters: int = 3) -> list[Valkey]:
    """Masters that share the slots, each told of the others."""
    lines = ("cluster-enabled yes", 'save ""', "cluster-node-timeout 1000")
    nodes = [await Valkey(folder / f"node{index}", *lines).start() for index in range(masters)]
    share = 16384 // masters
    for index, node in enumerate(nodes):
        first = index * share
        last = 16383 if index == masters - 1 else first + share - 1
        node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port)
    for node in nodes:
        await until(lambda node=node: "'ok'" in cluster_info(node), "a cluster")
    return nodes


def cluster_info(node: Valkey) -> str:
    """As the node says."""
    with node.client() as client:
        return str(client.cluster("INFO"))


async def start_sentinels(folder: Path, master: Valkey, count: int = 3) -> list[Valkey]:
    """Sentinels that watch a master and replace it after a second."""
    lines = (
        f"sentinel monitor main 127.0.0.1 {master.port} 2",
        "sentinel down-after-milliseconds main 1000",
        "sentinel failover-timeout main 3000",
    )
    return [
        await Valkey(folder / f"sentinel{index}", *lines, is_sentinel=True).start()
        for index in range(count)
    ]
