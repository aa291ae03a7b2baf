"""Whether every pinned package has a wheel, or is pure Python, for a Python and each platform.

pip is asked, by the registry that it is set up with; nothing is installed or built. Exits 0 when
all have one, 1 and a line each for those that have none, 3 when no registry can be reached.
`python tools/wheels.py [VERSION]`; the version is 3.14, the image's, when none is given.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "3.14"
# Tags that a machine of the platform accepts: glibc 2.28 (Debian 10, RHEL 8), macOS 14.
MANYLINUX = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 29))]
PLATFORMS = {
    "Linux x86-64": [f"{tag}_x86_64" for tag in ("manylinux1", "manylinux2010", *MANYLINUX)],
    "Linux arm64": [f"{tag}_aarch64" for tag in MANYLINUX],
    # macOS 13 for SeaweedFS, 14 for pikepdf; all others have wheels for 11.
    "macOS arm64": [f"macosx_{version}_0_arm64" for version in (11, 12, 13, 14)],
}
UNREACHABLE = 3
# Pure Python and small: when not even this is found, the registry is what is missing.
PROBE = "iniconfig"


def pins() -> list[str]:
    """The lines of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_reachable(version: str) -> bool:
    """Whether pip is there and finds anything at all."""
    probe = [pin for pin in pins() if pin.startswith(PROBE)]
    return _resolves(probe, next(iter(PLATFORMS)), version)


def is_pure(pin: str) -> bool:
    """Whether this very version is installed here from a wheel for any machine."""
    name, version = pin.split("==")
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return False
    wheel = installed.read_text("WHEEL") or ""
    return installed.version == version and "none-any" in wheel


def without_wheel(wanted: Sequence[str], platform: str, version: str) -> list[str]:
    """Which of these pins have no wheel. One question for all; halves only when it fails."""
    if _resolves(wanted, platform, version):
        return []
    if len(wanted) == 1:
        return list(wanted)
    middle = len(wanted) // 2
    return [
        pin
        for half in (wanted[:middle], wanted[middle:])
        for pin in without_wheel(half, platform, version)
    ]


def _resolves(wanted: Sequence[str], platform: str, version: str) -> bool:
    tags = [part for tag in PLATFORMS[platform] for part in ("--platform", tag)]
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-input", "--ignore-installed"]
        # Whoever has no network is told soon.
        command += ["--retries", "1", "--timeout", "15"]
        command += ["--only-binary=:all:", "--target", target]
        command += ["--implementation", "cp", "--python-version", version, *tags, *wanted]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def missing(version: str) -> Iterator[tuple[str, str]]:
    """Platform and pin of each that has no wheel. What is pure is asked for on one of them."""
    with ThreadPoolExecutor(max_workers=len(PLATFORMS)) as pool:
        compiled = [pin for pin in pins() if not is_pure(pin)]
        asked = [pins(), *[compiled] * (len(PLATFORMS) - 1)]
        found = pool.map(
            lambda each, wanted: without_wheel(wanted, each, version), PLATFORMS, asked
        )
        for platform, lacking in zip(PLATFORMS, found, strict=True):
            yield from ((platform, pin) for pin in lacking)


def main(arguments: Sequence[str]) -> int:
    """Ask, and say what is missing."""
    version = arguments[0] if arguments else VERSION
    if not is_reachable(version):
        sys.stderr.write("no package registry can be reached\n")
        return UNREACHABLE
    found = list(missing(version))
    for platform, pin in found:
        sys.stderr.write(f"{pin} has no wheel for Python {version} on {platform}\n")
    if not found:
        sys.stdout.write(f"{len(pins())} packages: a wheel each on {', '.join(PLATFORMS)}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
