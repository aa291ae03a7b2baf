"""Every invariant of one live system, checked one after the other: read-only, bounded, paged.

    report = await check(Subject(layer))
    assert not report.failures

Called by `bedplate doctor --consistency` and by tests. It takes no lock and changes nothing; what
is deleted while it looks is no finding. What only the history of a client can tell is not here.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from bedplate.consistency import copies, ledger, objects, privacy, transactions
from bedplate.consistency.finding import Checked, Checker, Finding, Subject

CHECKERS: Mapping[int, Checker] = {
    1: transactions.transactions_are_whole,
    2: transactions.commits_last,
    3: ledger.jobs_end,
    4: ledger.jobs_end_once,
    5: ledger.fences_rise,
    6: ledger.jobs_are_alone,
    7: objects.files_have_their_bytes,
    8: objects.nothing_is_left_in_the_bucket,
    9: copies.copies_are_true,
    10: privacy.tenants_are_apart,
    11: transactions.nothing_is_left_open,
    12: transactions.costs_return,
    15: privacy.no_secret_is_written_down,
}
# What the two that are missing would need.
NOT_CHECKED: Mapping[int, str] = {
    13: "a restored backup satisfies the others: restore one, and check that",
    14: "2xx means committed: only the client knows what it was answered",
}


@dataclass(frozen=True)
class Result:
    """What one invariant's checker said, and how long it took."""

    invariant: int
    promise: str
    checked: Checked
    took: timedelta


@dataclass
class Report:
    """Every result, in the order of the invariants."""

    results: list[Result] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [finding for result in self.results for finding in result.checked.findings]

    @property
    def failures(self) -> list[Finding]:
        """Those that break an invariant."""
        return [finding for finding in self.findings if not finding.is_warning]


async def check(
    subject: Subject,
    *,
    only: frozenset[int] = frozenset(CHECKERS),
    on_result: Callable[[Result], None] = lambda _: None,
) -> Report:
    """Run the checkers. Raises what PostgreSQL and S3 raise when they cannot be asked."""
    report = Report()
    for invariant, checker in CHECKERS.items():
        if invariant not in only:
            continue
        started = time.monotonic()
        checked = await checker(subject)
        took = timedelta(seconds=time.monotonic() - started)
        report.results.append(Result(invariant, promise_of(checker), checked, took))
        on_result(report.results[-1])
    return report


def promise_of(checker: Checker) -> str:
    """The invariant in a checker's own words."""
    first = (checker.__doc__ or "").partition("\n")[0]
    return first.partition(": ")[2].rstrip(".")
