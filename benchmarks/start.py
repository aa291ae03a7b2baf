"""How long the embedded servers take: first start, later starts, stop, and each one's share.

Called by `make bench-start`. Every round works in an empty folder of its own. Each figure is the
least of all rounds (what the machine can do when nothing else runs) and the median beside it.

    python -m benchmarks.start [ROUNDS]

`BEDPLATE_FILES=0` measures PostgreSQL and Valkey alone, without S3.
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bedplate.project import Project, SystemEntry
from bedplate.servers.client import attach, read_state, stop
from bedplate.servers.stack import StackOptions

ROUNDS = 7
HAS_FILES = os.environ.get("BEDPLATE_FILES", "1") != "0"
AIMS = {
    "cold": 2500 if HAS_FILES else 1500,
    "warm": 1500 if HAS_FILES else 500,
    "down": 500,
}
OPTIONS = StackOptions(has_files=HAS_FILES)
SYSTEM = SystemEntry("shop", None, "shop", "shop", "shop_dev")
UP = f"""
import sys
from pathlib import Path
from bedplate.project import Project, SystemEntry
from bedplate.servers.client import attach
from bedplate.servers.stack import StackOptions
system = SystemEntry("shop", None, "shop", "shop", "shop_dev")
folder = Path(sys.argv[1])
project = Project(folder, (system,), folder / ".bedplate")
attach(project, StackOptions(has_files={HAS_FILES}), detach=True)
"""
Figures = dict[tuple[str, str], list[float]]


def main() -> None:
    """Run the rounds and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    figures: Figures = defaultdict(list)
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="bedplate-bench-"))
        try:
            measure(folder, figures)
        finally:
            shutil.rmtree(folder)
    prefix = "" if HAS_FILES else "BEDPLATE_FILES=0 "
    print(f"$ {prefix}python -m benchmarks.start {rounds}")
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}\n")
    print(f"{'':6}{'':28}{'least':>8}{'median':>9}{'aim':>8}   (ms, {rounds} rounds)")
    for (phase, part), values in figures.items():
        aim = str(AIMS[phase]) if part == "whole" and phase in AIMS else ""
        print(f"{phase:6}{part:28}{min(values):8.0f}{statistics.median(values):9.0f}{aim:>8}")


def measure(folder: Path, figures: Figures) -> None:
    """One cold start, one stop, one warm start, one of a process of its own, one stop."""
    project = Project(folder, (SYSTEM,), folder / ".bedplate")
    for phase in ("cold", "warm"):
        began = time.monotonic()
        running = attach(project, OPTIONS, detach=True)
        figures[phase, "whole"].append(_ms_since(began))
        for step in running.steps:
            figures[phase, f"  {step.name}"].append(step.ms)
        _time(figures, ("state", "read_state"), lambda: read_state(project))
        began = time.monotonic()
        steps = stop(project)
        figures["down", "whole"].append(_ms_since(began))
        for step in steps:
            figures["down", f"  {step.name}"].append(step.ms)
    command = [sys.executable, "-c", UP, str(folder)]
    _time(figures, ("warm", "as a process of its own"), lambda: subprocess.run(command, check=True))
    stop(project)


def _time(figures: Figures, key: tuple[str, str], call: Callable[[], object]) -> None:
    began = time.monotonic()
    call()
    figures[key].append(_ms_since(began))


def _ms_since(began: float) -> float:
    return (time.monotonic() - began) * 1000


if __name__ == "__main__":
    main()
