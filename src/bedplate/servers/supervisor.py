"""The process that owns a stack: `python -m bedplate.servers.supervisor`, one a state folder.

Holds the folder's lock (inherited from the client that started it), starts the servers, restarts
one that dies, answers on the control socket, and stops everything when the last foreground client
leaves and nobody detached, when it is told to, or when its folder is removed. One thread watches
sockets and children; another does what takes time.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bedplate.project import SystemEntry
from bedplate.servers.background import Background
from bedplate.servers.control import Lines, Message, encode, encode_error
from bedplate.servers.embedded import EmbeddedStack
from bedplate.servers.folder import StateFolder
from bedplate.servers.restarts import Restarts
from bedplate.servers.server import Server
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import Step

logger = logging.getLogger("bedplate.servers.supervisor")

# How often we look whether a server died unnoticed, or the folder was removed.
TICK_SECONDS = 1.0
RESTART_SECONDS = 60.0
SEND_SECONDS = 2.0


class Client:
    """One connection. `is_foreground`: the stack lives at least as long as it does."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.lines = Lines()
        self.is_foreground = False
        self.is_watching = False

    def send(self, message: Message) -> None:
        """Send, and do not mind a client that is gone: the selector tells."""
        with contextlib.suppress(OSError):
            self.link.settimeout(SEND_SECONDS)
            self.link.sendall(encode(message))


class Supervisor:
    """The loop. The constructor opens nothing; `run` returns when everything has been stopped."""

    def __init__(self, folder: StateFolder, lock: int, configuration: Message) -> None:
        self.folder = folder
        self.options = StackOptions.from_json(configuration["options"])
        self.systems = _read_systems(configuration)
        self.patience = float(configuration["timeout"])
        self.stack = EmbeddedStack(folder, self.options, self._publish)
        self.clients: dict[int, Client] = {}
        self.steps: list[Step] = []
        self.is_detached = False
        self.is_ready = False
        self.is_ending = False
        self._lock = lock
        self._restarts = Restarts()
        self._background = Background()
        self._selector = selectors.DefaultSelector()

    def run(self, on_listening: Callable[[], None]) -> None:
        """Serve until the end. `on_listening` is called once clients can connect."""
        run = self.folder.make_run()
        path = run / "control"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(64)
            self._watch(listener)
            on_listening()
            self._background.start()
            self._background.run(self._start, self._after_start)
            while not self.is_ending:
                self._turn(listener)
            path.unlink(missing_ok=True)
        self._stop_stack()
        self.folder.remove_run(run)

    def _watch(self, listener: socket.socket) -> None:
        signal.set_wakeup_fd(self._background.writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end("told to by a signal"))
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._background, selectors.EVENT_READ)

    def _turn(self, listener: socket.socket) -> None:
        wait = self._restarts.seconds_to_next(time.monotonic(), TICK_SECONDS)
        for key, _ in self._selector.select(wait):
            if key.fileobj is listener:
                self._accept(listener)
            elif key.fd in self.clients:
                self._read(self.clients[key.fd])
        self._background.deliver()
        self._look_after_servers()
        if not self.folder.is_lock(self._lock):
            self._end("its folder was removed")

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            link, _ = listener.accept()
            self.clients[link.fileno()] = Client(link)
            self._selector.register(link, selectors.EVENT_READ)

    def _read(self, client: Client) -> None:
        try:
            received = client.link.recv(65536)
            for message in client.lines.feed(received):
                self._obey(client, message)
        except (OSError, ValueError, KeyError, TypeError):
            # Gone, or no client of ours.
            received = b""
        if not received:
            self._forget(client)

    def _obey(self, client: Client, message: Message) -> None:
        command = message.get("command")
        if command == "attach":
            self._attach(client, message)
        elif command == "stop":
            self._end("told to by a client")
        elif command in ("status", "detach"):
            self.is_detached = self.is_detached or command == "detach"
            client.send({"state": self._state() if self.is_ready else None})

    def _attach(self, client: Client, message: Message) -> None:
        wanted = StackOptions.from_json(message["options"])
        refusal = self._refuse_options(wanted)
        if refusal:
            client.send({"error": refusal})
            return
        self.is_detached = self.is_detached or bool(message["detach"])
        client.is_foreground = not message["detach"]
        client.is_watching = True
        for step in self.steps:
            client.send({"step": step.__dict__})
        systems, patience = _read_systems(message), float(message["timeout"])
        self._background.run(
            lambda: self._add(wanted, systems, patience),
            lambda error: self._answer(client, error),
        )

    def _add(self, wanted: StackOptions, systems: list[SystemEntry], patience: float) -> None:
        self.stack.add_systems(systems)
        if wanted.has_files:
            self.stack.add_files(systems, time.monotonic() + patience)

    def _answer(self, client: Client, error: BaseException | None) -> None:
        if error is not None:
            client.send(encode_error(error))
        elif self.is_ready:
            client.send({"state": self._state()})

    def _refuse_options(self, wanted: StackOptions) -> dict[str, str] | None:
        if wanted.pinned != self.options.pinned:
            what = "with" if self.options.pinned else "without"
            why = f"the stack runs {what} pinned ports"
        elif wanted.durable and not self.options.durable:
            why = "the stack runs without syncing to the disk"
        elif wanted.has_postgres and not self.options.has_postgres:
            why = "the stack runs without PostgreSQL, which was managed when it started"
        elif wanted.has_valkey and not self.options.has_valkey:
            why = "the stack runs without Valkey, which was managed when it started"
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

    def _start(self) -> None:
        self.stack.start(self.systems, time.monotonic() + self.patience)

    def _after_start(self, error: BaseException | None) -> None:
        self.is_ready = error is None
        if error is not None and not self.is_ending:
            logger.error("start failed", exc_info=error)
            for client in self.clients.values():
                client.send(encode_error(error))
            self._end("a server did not start")

    def _look_after_servers(self) -> None:
        now = time.monotonic()
        for server in self.stack.servers if self.is_ready else ():
            if server.is_up and server.has_died():
                server.is_up = False
                self._publish(Step(server.name, False, 0, f"{server.title} {server.death()}"))
                self._restarts.plan(server.name, now)
        for name in self._restarts.take_due(now):
            self._restart(self.stack.server(name))

    def _restart(self, server: Server) -> None:
        def after(error: BaseException | None) -> None:
            if error is not None:
                logger.error("restart failed", exc_info=error)
                self._restarts.plan(server.name, time.monotonic())

        self._background.run(
            lambda: self.stack.restart(server, time.monotonic() + RESTART_SECONDS), after
        )

    def _publish(self, step: Step) -> None:
        """From any thread: log the step and tell it to every client that watches."""
        _log_step(step)
        self._background.tell(lambda: self._tell(step))

    def _tell(self, step: Step) -> None:
        if not self.is_ready:
            self.steps.append(step)
        for client in self.clients.values():
            if client.is_watching:
                client.send({"step": step.__dict__})

    def _end(self, why: str) -> None:
        if not self.is_ending:
            logger.info("stops: %s", why)
        self.is_ending = True

    def _stop_stack(self) -> None:
        for step in self.stack.stop():
            _log_step(step)
            for client in self.clients.values():
                client.send({"step": step.__dict__})


def _log_step(step: Step) -> None:
    outcome = "ok" if step.ok else "failed"
    logger.info("%s %s after %d ms: %s", step.name, outcome, step.ms, step.detail)


def _read_systems(message: Message) -> list[SystemEntry]:
    return [SystemEntry(**entry) for entry in message["systems"]]


def main() -> None:
    """Arguments: state folder, descriptor of its lock, descriptor to write to once we listen.

    The rest comes as one line of JSON on the standard input: no command line shows it.
    """
    folder, lock, listening = StateFolder(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    configuration = json.loads(sys.stdin.readline())
    # The client's child ends here, so that the supervisor is nobody's child and leaves no zombie.
    if os.fork():
        os._exit(0)
    for descriptor in (lock, listening):
        os.set_inheritable(descriptor, False)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    supervisor = Supervisor(folder, lock, configuration)

    def tell_listening() -> None:
        os.write(listening, b"1")
        os.close(listening)

    try:
        supervisor.run(tell_listening)
    except BaseException:
        logger.exception("the supervisor failed")
        supervisor.stack.stop()
        raise
    # The worker may still wait for a server that is gone: leave at once.
    os._exit(0)


if __name__ == "__main__":
    main()
