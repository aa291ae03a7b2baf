"""`python -m tests.faults.many --minutes 30`: every fault, again and again, each round a new seed.

Prints what held, fault by fault, with the seeds of the rounds in which a test failed:
`FAULT_SEED=<seed> pytest --faults -k <test>` does the same again. Exit status 1 when one failed.
"""

import argparse
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.conftest import SEED_VARIABLE
from tests.faults.selection import OPTION
from tests.texts import ROOT

# A round that is told to end writes its report first.
END_WITHIN_SECONDS = 120


@dataclass
class Tally:
    """How often a test ran, and with which seeds it failed."""

    runs: int = 0
    skipped: int = 0
    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0


def run_round(seed: int, report: Path, *, deadline: float, more: list[str]) -> str:
    """One round of pytest, ended at the deadline; what it printed."""
    command = [sys.executable, "-m", "pytest", "tests", "-m", "fault", OPTION, "-q", *more]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        with subprocess.Popen(
            [*command, f"--junitxml={report}"],
            cwd=ROOT,
            env=os.environ | {SEED_VARIABLE: str(seed)},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(END_WITHIN_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
        output.seek(0)
        return output.read()


def add_report(report: Path, seed: int, tallies: dict[str, Tally]) -> None:
    """Count a round's results; one that was killed has none."""
    if not report.exists():
        return
    # Written by pytest, just now.
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - it is our own
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        tally = tallies[name]
        kinds = {child.tag for child in case}
        tally.seconds += float(case.get("time", 0))
        if "skipped" in kinds:
            tally.skipped += 1
            continue
        tally.runs += 1
        if kinds & {"failure", "error"}:
            tally.seeds.append(seed)


def table(tallies: dict[str, Tally]) -> list[str]:
    """A line a test, by fault."""
    lines = ["fault  runs  failed  s/run  test"]
    for name, tally in sorted(tallies.items(), key=lambda item: (_fault_of(item[0]), item[0])):
        ran = tally.runs or 1
        seeds = f"  seeds {', '.join(map(str, tally.seeds))}" if tally.seeds else ""
        skipped = f"  skipped {tally.skipped}" if tally.skipped else ""
        lines.append(
            f"{_fault_of(name):>5}  {tally.runs:>4}  {len(tally.seeds):>6}"
            f"  {tally.seconds / ran:>5.1f}  {name}{skipped}{seeds}"
        )
    return lines


def main() -> int:
    """Rounds until the time is over; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.many")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None)
    arguments, more = parser.parse_known_args()
    # A shell starts what it puts into the background with SIGINT ignored, and children inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    first = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    deadline = time.monotonic() + arguments.minutes * 60
    tallies: dict[str, Tally] = defaultdict(Tally)
    rounds = 0
    with tempfile.TemporaryDirectory(prefix="bedplate-faults-") as folder:
        while time.monotonic() < deadline:
            seed, report = first + rounds, Path(folder) / f"{rounds}.xml"
            _say(f"round {rounds + 1}, {SEED_VARIABLE}={seed}")
            output = run_round(seed, report, deadline=deadline, more=more)
            before = sum(len(tally.seeds) for tally in tallies.values())
            add_report(report, seed, tallies)
            if sum(len(tally.seeds) for tally in tallies.values()) > before or not report.exists():
                _say(output)
            rounds += 1
    failed = sum(len(tally.seeds) for tally in tallies.values())
    runs = sum(tally.runs for tally in tallies.values())
    faults = len({_fault_of(name) for name in tallies})
    _say("\n".join(table(tallies)))
    _say(f"{rounds} rounds from seed {first}: {faults} faults, {runs} runs, {failed} failed")
    return 1 if failed or not runs else 0


def _fault_of(name: str) -> int:
    found = re.search(r"::test_fault_(\d+)_", name)
    return int(found[1]) if found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
