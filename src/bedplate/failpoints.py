"""Named steps at which a test ends or fails the process: `failpoint("tx.before_commit")`.

Off unless BEDPLATE_FAILPOINTS is set, for a process of its own, or a test armed one in this
process (`bedplate.testing.fail_at`): `tx.before_commit=kill,relay.after_publish@2=raise`. `@2`: at
the second pass only. `kill` is kill -9, `exit` ends the process at once, `stop` is SIGSTOP,
`raise` raises `FailpointError`, `sleep:0.5` waits that many seconds, `record:PATH` notes the pass
in a file. The step `*` is every step. Applications mark steps of their own, named alike.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

VARIABLE = "BEDPLATE_FAILPOINTS"
EXIT_STATUS = 86
EVERY_STEP = "*"
ACTIONS = ("exit", "kill", "stop", "raise", "sleep:SECONDS", "record:PATH")

# What tests of this process armed: told the name of each step that is passed.
armed: list[Callable[[str], None]] = []
_passes: Counter[str] = Counter()


class FailpointError(RuntimeError):
    """A failpoint was told to raise."""


def failpoint(name: str) -> None:
    """Do what a test has said of this step; nothing when none has."""
    configured = os.environ.get(VARIABLE)
    if configured:
        _passes[name] += 1
        for entry in configured.split(","):
            step, _, action = entry.strip().partition("=")
            if _is_meant(step, name):
                act(name, action)
    for tell in armed:
        tell(name)


def act(name: str, action: str) -> None:
    """Do one of `ACTIONS` at the step of this name. Raises `ValueError` for any other."""
    kind, _, value = action.partition(":")
    match kind:
        case "exit":
            os._exit(EXIT_STATUS)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise FailpointError(f"failpoint {name} was told to raise")
        case "sleep":
            time.sleep(float(value))
        case "record":
            _record(name, value)
        case _:
            raise ValueError(f"{VARIABLE}: {name}={action!r} is none of {', '.join(ACTIONS)}")


def _is_meant(step: str, name: str) -> bool:
    wanted, _, nth = step.partition("@")
    return wanted in (name, EVERY_STEP) and (not nth or _passes[name] == int(nth))


def _record(name: str, path: str) -> None:
    """In one write: several processes may note theirs in one file."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{name}\n".encode())
    finally:
        os.close(handle)
