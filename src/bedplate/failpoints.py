"""Named steps at which a test ends or fails the process: `failpoint("tx.before_commit")`.

Off unless BEDPLATE_FAILPOINTS is set: `tx.before_commit=exit,relay.after_publish=raise`. `exit`
ends the process at once, as kill -9 would; `raise` raises `FailpointError`.
"""

import os

VARIABLE = "BEDPLATE_FAILPOINTS"
EXIT_STATUS = 86


class FailpointError(RuntimeError):
    """A failpoint was told to raise."""


def failpoint(name: str) -> None:
    """Do what BEDPLATE_FAILPOINTS says of this step; nothing when it says nothing."""
    configured = os.environ.get(VARIABLE)
    if not configured:
        return
    for entry in configured.split(","):
        step, _, action = entry.strip().partition("=")
        if step == name:
            _act(name, action)


def _act(name: str, action: str) -> None:
    if action == "exit":
        os._exit(EXIT_STATUS)
    if action == "raise":
        raise FailpointError(f"failpoint {name} was told to raise")
    raise ValueError(f"{VARIABLE}: {name}={action!r} is neither exit nor raise")
