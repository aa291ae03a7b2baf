"""What a figure was measured on: the machine and the versions that matter."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("SQLAlchemy", "asyncpg", "celery", "kombu", "redis", "uvloop")


def facts(*more: str) -> str:
    """Two lines: the machine with its load now, and the versions."""
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, load {load:.1f}, "
        f"{platform.system()} {platform.release()}\n"
        f"Python {platform.python_version()}, {packages}{', ' if more else ''}{', '.join(more)}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
