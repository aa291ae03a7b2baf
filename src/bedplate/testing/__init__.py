"""What a team tests its own backend with; `docs/testing.md` shows each in use.

Also what tests of bedplate itself stand on: one stack per run, a database per worker. The public
names are loaded on first use, because choosing a run's folder must cost nothing.
"""

# By this name checkers take it as true. From `typing` it would double what the import costs.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from bedplate.failpoints import FailpointError
    from bedplate.testing.assertions import (
        EnqueuedJob,
        assert_enqueued,
        assert_invalidated,
        assert_not_enqueued,
        assert_not_stored,
        assert_stored,
        enqueued,
        invalidated,
    )
    from bedplate.testing.crashes import Crashes, CrashPoint
    from bedplate.testing.draining import Drained, Run, drain
    from bedplate.testing.failures import fail_at, failing
    from bedplate.testing.recovery import recover
    from bedplate.testing.steps import known_steps

_ROOMS = {
    "CrashPoint": "bedplate.testing.crashes",
    "Crashes": "bedplate.testing.crashes",
    "Drained": "bedplate.testing.draining",
    "EnqueuedJob": "bedplate.testing.assertions",
    "FailpointError": "bedplate.failpoints",
    "Run": "bedplate.testing.draining",
    "assert_enqueued": "bedplate.testing.assertions",
    "assert_invalidated": "bedplate.testing.assertions",
    "assert_not_enqueued": "bedplate.testing.assertions",
    "assert_not_stored": "bedplate.testing.assertions",
    "assert_stored": "bedplate.testing.assertions",
    "drain": "bedplate.testing.draining",
    "enqueued": "bedplate.testing.assertions",
    "fail_at": "bedplate.testing.failures",
    "failing": "bedplate.testing.failures",
    "invalidated": "bedplate.testing.assertions",
    "known_steps": "bedplate.testing.steps",
    "recover": "bedplate.testing.recovery",
}

__all__ = [
    "CrashPoint",
    "Crashes",
    "Drained",
    "EnqueuedJob",
    "FailpointError",
    "Run",
    "assert_enqueued",
    "assert_invalidated",
    "assert_not_enqueued",
    "assert_not_stored",
    "assert_stored",
    "drain",
    "enqueued",
    "fail_at",
    "failing",
    "invalidated",
    "known_steps",
    "recover",
]


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(room), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
