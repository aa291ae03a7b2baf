"""The life of `bedplate run` once the databases are ready: children up, watched, ended in order.

The API's socket is opened here and inherited: a restarted API answers at the same address, and
requests that come meanwhile wait for it.
"""

import asyncio
import contextlib
import errno
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from bedplate.cli.called_as import called_as
from bedplate.cli.children import Child, ChildSpec, wait_until_ready
from bedplate.cli.http_probe import describe_unhealthy, wait_until_healthy
from bedplate.cli.options import Invocation
from bedplate.cli.output import Output, duration
from bedplate.cli.run_record import RunRecord
from bedplate.cli.stack import say_step
from bedplate.cli.stand import Stand
from bedplate.errors import WaitTimeoutError
from bedplate.servers.client import RunningStack
from bedplate.servers.folder import StateFolder
from bedplate.servers.state import BUCKET

INTERRUPTED = 130
PORTS_TRIED = 20
# The API answers what is under way; a worker hands its job back, or lets the lease run out.
GRACE = timedelta(seconds=5)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# To read what the supervisor has just said; nothing is waited for.
GLANCE = timedelta(milliseconds=20)
MOST_SYSTEMS_SHOWN = 4


class Everything:
    """The children of one `run`, and the stack that they use."""

    def __init__(
        self,
        invocation: Invocation,
        stand: Stand,
        running: RunningStack | None,
        variables: Mapping[str, str],
        listener: socket.socket,
        record: RunRecord,
    ) -> None:
        self._invocation = invocation
        self._output: Output = invocation.output
        self._stand = stand
        self._running = running
        self._variables = variables
        self._listener = listener
        self._record = record
        self._port = int(listener.getsockname()[1])
        self._ended = asyncio.Event()
        self._children: list[Child] = []

    async def run(self, limit: timedelta) -> int:
        """Start the children, say where everything is, and stay until a signal."""
        self._listen_to_signals()
        self._listen_to_stack()
        self._children = [self._child(spec) for spec in self._specs()]
        keepers = [asyncio.create_task(child.keep()) for child in self._children]
        starting = asyncio.create_task(self._start(keepers, limit))
        ending = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asyncio.wait({ending, *keepers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (starting, ending):
                task.cancel()
            await self._end(keepers)
            self._stop_listening()
        return INTERRUPTED

    def _specs(self) -> list[ChildSpec]:
        descriptor = self._listener.fileno()
        api = ChildSpec("api", ("serve", "--fd", str(descriptor)), (descriptor,))
        if not self._system_names():
            return [api]
        return [api, ChildSpec("relay", ("relay",)), ChildSpec("worker", ("worker",))]

    def _system_names(self) -> list[str]:
        return [entry.name for entry in self._stand.project.systems if entry.target is not None]

    def _child(self, spec: ChildSpec) -> Child:
        return Child(
            spec,
            environment=self._variables,
            folder=self._stand.project.root,
            state=StateFolder(self._stand.project.state),
            output=self._output,
            on_change=self._write_record,
        )

    def _write_record(self) -> None:
        self._record.write(
            [
                {
                    "name": child.name,
                    "pid": child.pid,
                    "port": self._port if child.name == "api" else None,
                }
                for child in self._children
            ]
        )

    async def _start(self, keepers: Sequence["asyncio.Task[None]"], limit: timedelta) -> None:
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await wait_until_ready(self._children, keepers)
                await wait_until_healthy(self._port)
        except TimeoutError:
            raise await self._not_ready(limit) from None
        for child in self._children:
            where = f"http://127.0.0.1:{self._port}" if child.name == "api" else f"pid {child.pid}"
            self._output.done(f"{child.name} ready ({duration(child.ready_after)}) {where}")
        self._output.result(self._data(), self._block())

    async def _not_ready(self, limit: timedelta) -> WaitTimeoutError:
        missing = [child.name for child in self._children if not child.ready.is_set()]
        why = ", ".join(missing) or await describe_unhealthy(self._port)
        return WaitTimeoutError(
            f"not ready after {duration(limit)}: {why}",
            hint=f"bedplate logs {missing[0] if missing else 'api'}; or give more --timeout",
        )

    def _data(self) -> dict[str, object]:
        address = f"http://127.0.0.1:{self._port}"
        return {
            "address": address,
            "systems": {name: f"{address}/{name}" for name in self._system_names()},
            "processes": {child.name: child.pid for child in self._children},
            "managed": self._stand.managed_addresses(),
        }

    def _block(self) -> list[str]:
        """At most 12 lines that can be copied."""
        address = f"http://127.0.0.1:{self._port}"
        names, bedplate = self._system_names(), called_as()
        shown = {
            "everything": address,
            **{name: f"{address}/{name}/docs" for name in names[:MOST_SYSTEMS_SHOWN]},
            "health": f"{address}/health",
            "database": f"{bedplate} psql",
            **self._files(),
            "a shell": f'eval "$({bedplate} env)"',
            "logs": f"{bedplate} logs -f",
            "stop": "Ctrl-C",
        }
        width = max(map(len, shown))
        return ["", *(f"{what:<{width}}  {value}" for what, value in shown.items())]

    def _files(self) -> dict[str, str]:
        url = self._running.state.s3_url if self._running is not None else ""
        return {"files": f"{url}/{BUCKET}"} if url else {}

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._ended.is_set():
            for child in self._children:
                child.kill()  # asked twice: now
        self._ended.set()

    def _listen_to_stack(self) -> None:
        if self._running is not None:
            asyncio.get_running_loop().add_reader(self._running.fileno(), self._hear_stack)

    def _hear_stack(self) -> None:
        if self._running is not None and self._running.wait(
            lambda step: say_step(self._output, step), GLANCE
        ):
            self._output.warn("the embedded servers were stopped; so `run` ends")
            asyncio.get_running_loop().remove_reader(self._running.fileno())
            self._ended.set()

    def _stop_listening(self) -> None:
        loop = asyncio.get_running_loop()
        if self._running is not None:
            loop.remove_reader(self._running.fileno())
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)

    async def _end(self, keepers: Sequence["asyncio.Task[None]"]) -> None:
        """The API first, so that nothing new comes in; then those that work behind it."""
        started = time.monotonic()
        in_order = [[child] for child in self._children[:1]] + [self._children[1:]]
        for together in in_order:
            ended = await asyncio.gather(*(child.end(GRACE) for child in together))
            for child, is_by_itself in zip(together, ended, strict=True):
                if not is_by_itself:
                    self._output.warn(f"{child.name} did not end in time and was killed")
        for keeper in keepers:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await keeper  # what it raised has been told, or is being raised
        took = duration(timedelta(seconds=time.monotonic() - started))
        names = ", ".join(child.name for child in self._children)
        self._output.note(f"stopped {names} ({took})")


@contextmanager
def open_listener(wanted: int, output: Output) -> Iterator[socket.socket]:
    """A listening socket on loopback: at the port that is wanted, or at the next free one."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = _bind(listener, wanted)
        if port != wanted and wanted:
            output.warn(f"port {wanted} is in use: the API takes {port}")
        listener.listen(2048)
        listener.set_inheritable(True)
        yield listener


def _bind(listener: socket.socket, wanted: int) -> int:
    last = min(wanted + PORTS_TRIED, 65536) if wanted else 1
    for port in (*range(wanted, last), 0):
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            break
    return int(listener.getsockname()[1])
