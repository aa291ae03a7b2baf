"""The process that owns a stack: `python -m bedplate.servers.supervisor`, one a state folder.

Holds the folder's lock (inherited from the client that started it), starts the servers, restarts
one that dies, answers on the control socket, and stops everything when the last foreground client
leaves and nobody detached, when it is told to, or when its folder is removed. One thread watches
sockets and children; another does what takes time, one thing after the other.
"""

import contextlib
import json
import logging
import os
import queue
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bedplate.project import SystemEntry
from bedplate.servers.control import Lines, Message, encode, encode_error
from bedplate.servers.embedded import EmbeddedStack
from bedplate.servers.folder import StateFolder
from bedplate.servers.server import Server
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import Step

logger = logging.getLogger("bedplate.servers.supervisor")

# How often we look whether a server has died without a signal, or the folder was removed.
TICK_SECONDS = 1.0
# Before each next try to restart a server that dies again and again.
BACKOFF_SECONDS = (0.0, 0.2, 1.0, 5.0, 15.0, 30.0)
# A server that ran this long before it died is restarted at once again.
STEADY_SECONDS = 60.0
SEND_SECONDS = 2.0


class Client:
    """One connection. `is_foreground`: the stack lives at least as long as it does."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.lines = Lines()
        self.is_foreground = False
        self.waits_for_state = False

    def send(self, message: Message) -> None:
        """Send, and do not mind a client that is gone: the selector tells."""
        with contextlib.suppress(OSError):
            self.link.settimeout(SEND_SECONDS)
            self.link.sendall(encode(message))


class Supervisor:
    """The loop. The constructor opens nothing; `run` returns when everything has been stopped."""

    def __init__(self, folder: StateFolder, lock: int, configuration: dict[str, Any]) -> None:
        self.folder = folder
        self.lock = lock
        self.options = StackOptions.from_json(configuration["options"])
        self.systems = _read_systems(configuration["systems"])
        self.patience = float(configuration["timeout"])
        self.stack = EmbeddedStack(folder, self.options, self._publish)
        self.clients: dict[int, Client] = {}
        self.is_detached = False
        self.is_ready = False
        self.is_ending = False
        self.steps: list[Step] = []
        self.restarts: dict[str, tuple[int, float]] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        self._answers: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run(self, on_listening: Callable[[], None]) -> None:
        """Serve until the end. `on_listening` is called once clients can connect."""
        path = self.folder.make_run() / "control"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(64)
            self._watch(listener)
            on_listening()
            threading.Thread(target=self._work_off, daemon=True).start()
            self._in_background(self._start, self._after_start)
            while not self.is_ending:
                self._turn(listener)
            path.unlink(missing_ok=True)
        self._stop_stack()

    def _watch(self, listener: socket.socket) -> None:
        for descriptor in (self._wake_reader, self._wake_writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end("told to by a signal"))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)

    def _turn(self, listener: socket.socket) -> None:
        for key, _ in self._selector.select(TICK_SECONDS):
            if key.fileobj is listener:
                self._accept(listener)
            elif key.fd == self._wake_reader:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_reader, 4096)
            elif key.fd in self.clients:
                self._read(self.clients[key.fd])
        while not self._answers.empty():
            self._answers.get()()
        self._restart_dead()
        if not self.folder.is_lock(self.lock):
            self._end("its folder was removed")

    # -- clients ---------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            link, _ = listener.accept()
            self.clients[link.fileno()] = Client(link)
            self._selector.register(link, selectors.EVENT_READ)

    def _read(self, client: Client) -> None:
        try:
            received = client.link.recv(65536)
            messages = client.lines.feed(received)
        except (OSError, ValueError):
            received, messages = b"", []
        for message in messages:
            self._obey(client, message)
        if not received:
            self._forget(client)

    def _obey(self, client: Client, message: Message) -> None:
        command = message.get("command")
        if command == "attach":
            self._attach(client, message)
        elif command == "status":
            client.send({"state": self._state() if self.is_ready else None})
        elif command == "detach":
            self.is_detached = True
            client.send({"state": self._state() if self.is_ready else None})
        elif command == "stop":
            client.waits_for_state = True
            self._end("told to by a client")

    def _attach(self, client: Client, message: Message) -> None:
        refusal = self._refuse_options(StackOptions.from_json(message["options"]))
        if refusal:
            client.send({"error": refusal})
            return
        if message["detach"]:
            self.is_detached = True
        else:
            client.is_foreground = True
        client.waits_for_state = True
        for step in self.steps:
            client.send({"step": step.__dict__})
        systems = _read_systems(message["systems"])
        self._in_background(
            lambda: self.stack.add_systems(systems) if self.is_ready else None,
            lambda error: self._answer(client, error),
        )

    def _answer(self, client: Client, error: BaseException | None) -> None:
        if error is not None:
            client.send(encode_error(error))
        elif self.is_ready:
            client.send({"state": self._state()})
        client.waits_for_state = False

    def _refuse_options(self, wanted: StackOptions) -> dict[str, str] | None:
        if wanted.pinned != self.options.pinned:
            what = "with" if self.options.pinned else "without"
            why = f"the stack runs {what} pinned ports"
        elif wanted.durable and not self.options.durable:
            why = "the stack runs without syncing to the disk"
        else:
            return None
        return {"code": "server_failed", "message": why, "hint": "Stop it first: bedplate down"}

    def _forget(self, client: Client) -> None:
        self._selector.unregister(client.link)
        del self.clients[client.link.fileno()]
        client.link.close()
        is_last = client.is_foreground and not any(c.is_foreground for c in self.clients.values())
        if is_last and not self.is_detached:
            self._end("the last client left")

    def _state(self) -> dict[str, Any]:
        state = self.stack.state(supervisor_pid=os.getpid(), is_detached=self.is_detached)
        return state.to_json()

    # -- the stack -------------------------------------------------------------------------------

    def _start(self) -> None:
        self.stack.start(self.systems, time.monotonic() + self.patience)

    def _after_start(self, error: BaseException | None) -> None:
        if error is None:
            self.is_ready = True
            return
        logger.error("start failed", exc_info=error)
        for client in self.clients.values():
            client.send(encode_error(error))
        self._end("a server did not start")

    def _restart_dead(self) -> None:
        now = time.monotonic()
        for server in self.stack.servers if self.is_ready else ():
            if server.is_up and server.has_died():
                server.is_up = False
                self._publish(Step(server.name, False, 0, f"{server.title} {server.death()}"))
                tries, last = self.restarts.get(server.name, (0, 0.0))
                tries = 0 if now - last > STEADY_SECONDS else tries
                self._plan_restart(server, tries, now)

    def _plan_restart(self, server: Server, tries: int, now: float) -> None:
        delay = BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)]
        self.restarts[server.name] = (tries + 1, now + delay)

        def restart() -> None:
            time.sleep(delay)
            self.stack.restart(server, time.monotonic() + self.patience)

        def after(error: BaseException | None) -> None:
            if error is not None:
                logger.error("restart failed", exc_info=error)
                self._plan_restart(server, tries + 1, time.monotonic())

        self._in_background(restart, after)

    def _publish(self, step: Step) -> None:
        """From any thread: log the step and tell it to every client that listens."""
        logger.info(
            "%s %s %d ms %s", step.name, "ok" if step.ok else "FAILED", step.ms, step.detail
        )
        self._answers.put(lambda: self._tell(step))
        self._wake()

    def _tell(self, step: Step) -> None:
        if not self.is_ready:
            self.steps.append(step)
        for client in self.clients.values():
            if client.waits_for_state or client.is_foreground:
                client.send({"step": step.__dict__})

    def _end(self, why: str) -> None:
        if not self.is_ending:
            logger.info("stops: %s", why)
        self.is_ending = True

    def _stop_stack(self) -> None:
        steps = self.stack.stop()
        for step in steps:
            logger.info("%s %s %d ms", step.name, "ok" if step.ok else "FAILED", step.ms)
        for client in self.clients.values():
            for step in steps:
                client.send({"step": step.__dict__})
            client.send({"ended": True})

    # -- the worker ------------------------------------------------------------------------------

    def _in_background(
        self, task: Callable[[], None], then: Callable[[BaseException | None], None]
    ) -> None:
        def work() -> None:
            error: BaseException | None = None
            try:
                task()
            except BaseException as caught:  # noqa: BLE001 - handed to `then`, which tells it
                error = caught
            self._answers.put(lambda: then(error))
            self._wake()

        self._work.put(work)

    def _work_off(self) -> None:
        while True:
            self._work.get()()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")


def _read_systems(found: list[dict[str, Any]]) -> list[SystemEntry]:
    return [SystemEntry(**entry) for entry in found]


def main() -> None:
    """Arguments: state folder, descriptor of its lock, descriptor to close once we listen."""
    state, lock, listening = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for descriptor in (lock, listening):
        os.set_inheritable(descriptor, False)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    configuration = json.loads(sys.stdin.readline())
    supervisor = Supervisor(StateFolder(state), lock, configuration)

    def tell_listening() -> None:
        os.write(listening, b"1")
        os.close(listening)

    try:
        supervisor.run(tell_listening)
    except Exception:
        logger.exception("the supervisor failed")
        supervisor.stack.stop()
        raise
    finally:
        sys.stderr.flush()
    # Nothing is left to tidy, and a worker may be waiting: leave at once.
    os._exit(0)


if __name__ == "__main__":
    main()
