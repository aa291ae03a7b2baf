"""Crash a function of one's own at every step that it passes, and look what is left.

    async def order_tea(layer):
        await place_order(layer, "tea")
        await drain(layer, system.tasks)

    async def check(layer): ...  # an order that is there is shipped, exactly once

    async def test_no_crash_loses_an_order(bedplate_crashes):
        await bedplate_crashes.run(order_tea, check)

A first run notes the failpoints that are passed: bedplate's, and those that the code marks by
`failpoint("shop.after_charge")`. Then, for each pass of each, the function runs in a process of its
own that is killed there (kill -9); the system recovers; and the check is called.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from bedplate.jobs.tasks import Task
from bedplate.layer import DataLayer
from bedplate.settings import PER_SYSTEM, Settings
from bedplate.testing.recovery import recover

Scenario = Callable[[DataLayer], Awaitable[object]]

# One run of the function, and the import before the first.
RUN_TIMEOUT = timedelta(seconds=60)
# Each is a process, a recovery and a check: some hundredths of a second.
MOST_CRASHES = 200


@dataclass(frozen=True)
class CrashPoint:
    """A step, and at which of its passes the process was killed."""

    step: str
    nth: int

    def __str__(self) -> str:
        return self.step if self.nth == 1 else f"{self.step} (pass {self.nth})"


class Crashes:
    """Crashes functions on one database, which is emptied before each run. Made by the fixture."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        tasks: Iterable[Task[Any]],
        reset: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._name = name
        self._tasks = tuple(tasks)
        self._reset = reset

    async def run(
        self,
        scenario: Scenario,
        check: Scenario,
        *,
        prepare: Scenario | None = None,
        limit: int = MOST_CRASHES,
    ) -> list[CrashPoint]:
        """Crash `scenario` everywhere; returns where. All three are given an open layer.

        `prepare` fills the database before each run, in this process. `scenario` is a function of
        a module, which a child process can import. What `check` raises is raised, with a note that
        names the step. Raises `AssertionError` when the scenario fails by itself, passes no step,
        or more than `limit`.
        """
        with tempfile.TemporaryDirectory(prefix="bedplate-crashes-") as folder:
            async with _Child(self._settings, self._name, scenario, Path(folder)) as child:
                await self._begin(prepare)
                points = limited(await child.record(), limit, scenario)
                await self._look(check, "without a crash")
                for point in points:
                    await self._begin(prepare)
                    await child.crash(point)
                    await self._look(check, f"after a crash at {point}")
        return points

    async def _begin(self, prepare: Scenario | None) -> None:
        await asyncio.to_thread(self._reset)
        if prepare is not None:
            async with self._layer() as layer:
                await prepare(layer)

    async def _look(self, check: Scenario, when: str) -> None:
        try:
            async with self._layer() as layer:
                await recover(layer, self._tasks)
                await check(layer)
        except Exception as error:
            error.add_note(when)
            raise

    def _layer(self) -> DataLayer:
        """A fresh one each time: what is cached in a process does not outlive its crash."""
        return DataLayer(self._settings, name=self._name)


class _Child:
    """The process that runs the scenario, in a process of its own each time."""

    def __init__(self, settings: Settings, name: str, scenario: Scenario, folder: Path) -> None:
        self._found = _found(settings, name, scenario)
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        # Those of one system would win over what the settings say.
        prefix = self._found["name"].upper().replace("-", "_")
        own = {f"{prefix}_{name}" for name in PER_SYSTEM}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bedplate.testing.crash_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if key not in own},
            start_new_session=True,
        )
        await self._ask(self._found)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.communicate()

    async def record(self) -> list[CrashPoint]:
        """Run it without a crash: the steps that it passes, in order."""
        noted = self._folder / "passes"
        noted.touch()
        await self._run(f"*=record:{noted}", expected=0)
        passes: Counter[str] = Counter()
        points = []
        for step in noted.read_text(encoding="utf-8").split():
            passes[step] += 1
            points.append(CrashPoint(step, passes[step]))
        return points

    async def crash(self, point: CrashPoint) -> None:
        """Run it and have it killed there."""
        await self._run(f"{point.step}@{point.nth}=kill", expected=-signal.SIGKILL)

    async def _run(self, failpoints: str, *, expected: int) -> None:
        error = self._folder / "error"
        answer = await self._ask({"failpoints": failpoints, "error": str(error)})
        if answer["status"] == expected:
            return
        if error.exists():
            raise AssertionError(f"the scenario failed, {failpoints}:\n{error.read_text()}")
        if answer["status"] == 0:
            raise AssertionError(
                f"the scenario came to its end without {failpoints}: it must do the same each time"
            )
        raise AssertionError(f"the scenario ended with {answer['status']}, {failpoints}")

    async def _ask(self, request: Mapping[str, object]) -> Any:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("the child process is not open")
        process.stdin.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(RUN_TIMEOUT.total_seconds()):
            answer = await process.stdout.readline()
        if not answer:
            raise AssertionError(
                "the process of the scenario ended; what it said is above, on standard error"
            )
        return json.loads(answer)


def variables_of(settings: Settings) -> dict[str, str]:
    """The variables that make these settings, secrets included: for a child process of a test."""
    found: dict[str, str] = {}
    for name, each in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, timedelta):
            value = f"{value.total_seconds():g}"
        if isinstance(value, bool):
            value = str(value).lower()
        if value is not None and each.alias is not None:
            found[each.alias] = str(value)
    return found


def _found(settings: Settings, name: str, scenario: Scenario) -> dict[str, Any]:
    function = getattr(scenario, "__qualname__", repr(scenario))
    module = sys.modules.get(getattr(scenario, "__module__", ""))
    file = getattr(module, "__file__", None)
    if getattr(module, function, None) is not scenario or file is None:
        raise TypeError(
            f"{function} cannot be imported by another process: "
            "write it as a function of a module, neither nested nor a method"
        )
    return {
        "module": scenario.__module__,
        "file": str(file),
        "function": function,
        "name": name,
        "variables": variables_of(settings),
        "path": [str(Path(entry).resolve()) for entry in sys.path],
    }


def limited(points: list[CrashPoint], limit: int, scenario: Scenario) -> list[CrashPoint]:
    """The same points, if there are some and not too many. Raises `AssertionError`."""
    what = getattr(scenario, "__qualname__", repr(scenario))
    if not points:
        raise AssertionError(f"{what} passes no failpoint, so there is nowhere to crash it")
    if len(points) > limit:
        raise AssertionError(
            f"{what} passes {len(points)} failpoints, and the limit is {limit}: "
            "let it do less, or raise the limit"
        )
    return points
