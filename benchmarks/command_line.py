"""How long the command line takes to answer, against Python's own start: `make bench-cli`.

Aims: `--help` at most 6 times `python -c pass`, `status` under 200 ms. Each command is run in
turn with the others, so that a busy moment of the machine meets all of them; the median counts.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 21
RATIO_AIM = 6.0
STATUS_AIM_MS = 200.0
BEDPLATE = str(Path(sys.executable).parent / "bedplate")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "bedplate --help": [BEDPLATE, "--help"],
    "bedplate status": [BEDPLATE, "status"],
    "bedplate env": [BEDPLATE, "env"],
}


def main() -> int:
    """Measure with a running stack, print the table, and fail when an aim is missed."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "BEDPLATE_STATE_DIR": folder, "BEDPLATE_DURABLE": "0"}
        _call([BEDPLATE, "up", "-d"], folder, environment)
        try:
            times = _measure(folder, environment)
        finally:
            _call([BEDPLATE, "down"], folder, environment)
    base = times["python -c pass"]
    for name, took in times.items():
        print(f"{name:<26} {took:6.1f} ms  {took / base:4.1f} x")
    ratio = times["bedplate --help"] / base
    print(f"--help: {ratio:.1f} x (at most {RATIO_AIM:g}); status under {STATUS_AIM_MS:g} ms")
    return 0 if ratio <= RATIO_AIM and times["bedplate status"] < STATUS_AIM_MS else 1


def _measure(folder: str, environment: dict[str, str]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            _call(command, folder, environment)
            times[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(found) for name, found in times.items()}


def _call(command: list[str], folder: str, environment: dict[str, str]) -> None:
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)


if __name__ == "__main__":
    sys.exit(main())
