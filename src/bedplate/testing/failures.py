"""Let something fail at a named step, in this process or in a child.

    with fail_at("tx.before_commit"), pytest.raises(FailpointError):
        await place_order(layer, "tea")

    variables = failing("relay.after_publish", "kill")
    subprocess.run([...], env={**os.environ, **variables})

A step is where the code says `failpoint("shop.after_charge")`; bedplate has its own. One that does
not exist is refused, and one that the block never passed fails the test: a fault that does not
happen proves nothing.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bedplate import failpoints
from bedplate.testing.steps import check_step


class Failing:
    """What became of a step that was to fail: how often it was passed, and which others were."""

    def __init__(self, step: str, action: str | BaseException, nth: int | None) -> None:
        self.step = step
        self.passes: Counter[str] = Counter()
        self._action = action
        self._nth = nth

    @property
    def has_failed(self) -> bool:
        """Whether the step was passed, and at the pass that was meant."""
        return self.passes[self.step] >= (self._nth or 1)

    def tell(self, name: str) -> None:
        """A step is passed. Called by `failpoint`."""
        self.passes[name] += 1
        if name != self.step or self._nth not in (None, self.passes[name]):
            return
        if isinstance(self._action, BaseException):
            raise self._action
        failpoints.act(name, self._action)


@contextmanager
def fail_at(
    step: str,
    action: str | BaseException = "raise",
    *,
    nth: int | None = None,
    must_fail: bool = True,
) -> Iterator[Failing]:
    """Fail at a step of this process, for the time of the block.

    `action`: an exception to raise; or "raise" (`FailpointError`), "exit", "kill", "stop",
    "sleep:SECONDS". `nth`: at that pass only (1 is the first), else at each. A block that ends well
    without having come there raises `AssertionError`, unless `must_fail` is False.
    Raises `UnknownStepError`.
    """
    check_step(step)
    failing = Failing(step, action, nth)
    failpoints.armed.append(failing.tell)
    try:
        yield failing
    finally:
        failpoints.armed.remove(failing.tell)
    if must_fail and not failing.has_failed:
        passed = ", ".join(failing.passes) or "none"
        which = "" if nth is None else f" {nth} times"
        raise AssertionError(f"{step} was not passed{which}; passed were: {passed}")


def failing(step: str, action: str = "kill", *, nth: int | None = None) -> dict[str, str]:
    """The variable that has a child process fail at a step, beside what this one's says already.

    The step may be of a module that only the child imports: name one module that is imported here,
    or it is refused. Raises `UnknownStepError`.
    """
    check_step(step)
    entry = f"{step}={action}" if nth is None else f"{step}@{nth}={action}"
    before = os.environ.get(failpoints.VARIABLE)
    return {failpoints.VARIABLE: f"{before},{entry}" if before else entry}
