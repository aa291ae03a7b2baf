"""The trace that a job belongs to: W3C `traceparent` and `tracestate`, from request to job to job.

Where the process has loaded OpenTelemetry, a job carries the span that enqueues it, and runs with
that span as its parent. Everywhere else the request's two headers are passed through unchanged.
Headers are anyone's: what the grammar does not allow is dropped. No baggage is carried: it would
store what a client sends. Called by the FastAPI door, the unit of work and the worker.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
# The least that a tracestate must be passed on with, and enough: it is stored with each job.
LONGEST_STATE = 512
MOST_MEMBERS = 32

_PARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-[\x20-\x7e]{0,200})?"
)
_MEMBER = re.compile(
    r"(?P<key>[a-z0-9][a-z0-9_*/@-]{0,255})="
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_SAMPLED = 0x01

_carried: ContextVar[Mapping[str, str] | None] = ContextVar("bedplate_trace", default=None)


def accept(parents: Sequence[str], states: Sequence[str] = ()) -> dict[str, str] | None:
    """A trace context from the values of both headers, or None when there is none that is valid.

    A bad `tracestate` alone is left out. A `traceparent` of a later version becomes one of 00.
    """
    if len(parents) != 1:
        return None
    found = _PARENT.fullmatch(parents[0])
    if found is None:
        return None
    parent = parents[0]
    if found["version"] != "00":
        parent = f"00-{found['ids']}-{int(found['flags'], 16) & _SAMPLED:02x}"
    elif found["more"] is not None:
        return None
    state = _accepted_state(",".join(states))
    return {TRACEPARENT: parent, TRACESTATE: state} if state else {TRACEPARENT: parent}


def current() -> Mapping[str, str] | None:
    """The trace context here: OpenTelemetry's span, or what `carrying` and `running` were given."""
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        span: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(span)
        if span:
            return _again(span)
    return _carried.get()


@contextmanager
def carrying(context: Mapping[str, str] | None) -> Iterator[None]:
    """Pass a request's trace context on to what is enqueued in the block."""
    token = _carried.set(context)
    try:
        yield
    finally:
        _carried.reset(token)


@contextmanager
def running(stored: Mapping[str, str] | None) -> Iterator[None]:
    """Run a job's task in the job's trace, and not in that of whoever works."""
    context = _again(stored or {})
    with carrying(context):
        if "opentelemetry.trace" not in sys.modules:
            yield
            return
        from opentelemetry.context import attach, detach
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        token = attach(TraceContextTextMapPropagator().extract(context or {}))
        try:
            yield
        finally:
            detach(token)


def _again(stored: Mapping[str, str]) -> dict[str, str] | None:
    """What another library wrote, or another version of this one, bounded as a request's is."""
    return accept(*([stored[name]] if name in stored else [] for name in (TRACEPARENT, TRACESTATE)))


def _accepted_state(value: str) -> str:
    """The members of a tracestate, or nothing when one is malformed, twice there, or too many."""
    if len(value) > LONGEST_STATE:
        return ""
    members = [each for each in (part.strip(" \t") for part in value.split(",")) if each]
    found = [_MEMBER.fullmatch(each) for each in members]
    keys = {each["key"] for each in found if each is not None}
    is_valid = len(keys) == len(members) <= MOST_MEMBERS
    return ",".join(members) if is_valid else ""
