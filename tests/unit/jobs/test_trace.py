"""Trace contexts: what is taken from a request, and what a job hands on."""

import asyncio
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace as otel
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bedplate.jobs import trace

IDS = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
PARENT = f"00-{IDS}-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def _without_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has never loaded it."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")


@pytest.fixture
def _span() -> Iterator[None]:
    """A span of the application is open."""
    token = attach(TraceContextTextMapPropagator().extract({"traceparent": OTHER}))
    yield
    detach(token)


def test_a_valid_context_is_taken_as_it_is() -> None:
    """Pass-through: the next one must see what the first one sent."""
    state = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,fw529a3039@dt=FfAAAA"
    assert trace.accept([PARENT], [state]) == {"traceparent": PARENT, "tracestate": state}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        f"{PARENT}\n",
        f" {PARENT}",
        f"{PARENT}-more",
        f"ff-{IDS}-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        "٠٠" + PARENT[2:],
        "00-" + "a" * 100_000,
        f"01-{IDS}-01-" + "a" * 1000,
        f"01-{IDS}-01-\x00",
    ],
)
def test_a_parent_that_the_grammar_does_not_allow_is_dropped(parent: str) -> None:
    """Anyone can send it, and it is stored and told to other systems."""
    assert trace.accept([parent], ["a=b"]) is None


def test_two_parents_are_none() -> None:
    """Nobody can say which of them is meant."""
    assert trace.accept([PARENT, PARENT]) is None
    assert trace.accept([]) is None


def test_a_later_version_is_read_as_this_one() -> None:
    """As the standard wants it: what is understood goes on, with the one flag that is known."""
    assert trace.accept([f"cc-{IDS}-ff-what-the-future-brings"]) == {"traceparent": PARENT}


@pytest.mark.parametrize(
    "state",
    [
        "a",
        "a=",
        "a=b=c",
        "A=b",
        "a=b,a=c",
        "a=b\x00",
        "a=ü",
        "a=" + "b" * 257,
        "a=" + "b" * 200 + ",c=" + "d" * 200 + ",e=" + "f" * 200,
        ",".join(f"k{number}=v" for number in range(33)),
    ],
)
def test_a_bad_state_is_dropped_alone(state: str) -> None:
    """The standard allows it; the trace itself holds together without."""
    assert trace.accept([PARENT], [state]) == {"traceparent": PARENT}


def test_states_of_several_headers_are_one() -> None:
    """A proxy may split them; empty members and blanks around them mean nothing."""
    accepted = trace.accept([PARENT], ["a=b , ,", "\tc=d e"])
    assert accepted == {"traceparent": PARENT, "tracestate": "a=b,c=d e"}


@pytest.mark.usefixtures("_without_opentelemetry")
def test_without_opentelemetry_the_request_s_context_is_current() -> None:
    """In the block, and nowhere after it."""
    with trace.carrying({"traceparent": PARENT}):
        assert trace.current() == {"traceparent": PARENT}
    assert trace.current() is None


@pytest.mark.usefixtures("_span")
def test_an_open_span_comes_before_the_request_s_headers() -> None:
    """A job is the child of the step that enqueued it, not of the whole request."""
    with trace.carrying({"traceparent": PARENT}):
        assert trace.current() == {"traceparent": OTHER}


@pytest.mark.usefixtures("_span")
def test_a_job_runs_in_its_own_trace_and_not_in_the_worker_s() -> None:
    """Also one that has none."""
    with trace.running({"traceparent": PARENT, "tracestate": "a=b"}):
        span = otel.get_current_span().get_span_context()
        assert (span.trace_id, span.is_remote) == (int(IDS[:32], 16), True)
        assert trace.current() == {"traceparent": PARENT, "tracestate": "a=b"}
    with trace.running(None):
        assert trace.current() is None
    assert trace.current() == {"traceparent": OTHER}


def test_what_the_row_holds_is_not_trusted_either() -> None:
    """Whoever may insert jobs could have written it."""
    with trace.running({"traceparent": "x" * 10_000, "baggage": "who=me"}):
        assert trace.current() is None


def test_a_large_state_of_another_library_is_not_stored() -> None:
    """OpenTelemetry takes 8 KB from a request; a row per job would hold them."""
    large = {"traceparent": PARENT, "tracestate": ",".join(f"k{n}={'v' * 250}" for n in range(20))}
    token = attach(TraceContextTextMapPropagator().extract(large))
    try:
        assert trace.current() == {"traceparent": PARENT}
    finally:
        detach(token)


async def test_two_requests_at_once_keep_their_own() -> None:
    """Each runs in a task of its own."""
    both_in = asyncio.Barrier(2)

    async def request(parent: str) -> object:
        token = attach(Context())
        with trace.carrying({"traceparent": parent}):
            await both_in.wait()
            found = trace.current()
        detach(token)
        return found

    found = tuple(await asyncio.gather(request(PARENT), request(OTHER)))
    assert found == ({"traceparent": PARENT}, {"traceparent": OTHER})
