"""As whom PostgreSQL runs: it refuses to run as root.

An ordinary user runs it as they are. Root maps itself to another user in a user namespace, which
needs no account and leaves every file root's; where that is refused, the account `nobody` runs it
in a folder of its own, since it may not enter root's.
"""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate.errors import ServerError
from bedplate.servers.binaries import PostgresBinaries
from bedplate.servers.folder import StateFolder, write_private

UNSHARE = ("--user", "--map-user=1000", "--map-group=1000")
NOBODY = "nobody"
# Not /tmp: the data must survive a reboot.
NOBODY_HOME = Path("/var/tmp")  # noqa: S108 - mkdtemp makes a folder of a random name in it


@dataclass(frozen=True)
class Account:
    """Who runs PostgreSQL, where its data and its socket lie."""

    home: Path
    run: Path
    prefix: tuple[str, ...] = ()
    user: str | None = None

    def command(self, command: list[str]) -> list[str]:
        """The command as this account executes it."""
        return [*self.prefix, *command]

    def identity(self) -> dict[str, Any]:
        """Keyword arguments for `subprocess`."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": _group(self.user), "extra_groups": []}

    def hand_over(self, path: Path) -> None:
        """Give a file to the account."""
        if self.user is not None:
            shutil.chown(path, self.user, _group(self.user))

    def reachable(self, found: PostgresBinaries) -> PostgresBinaries:
        """The programs, or a copy of them if they lie where the account may not go."""
        if self.user is None or _is_open_to_all(found.path("postgres")):
            return found
        copy = self.home / f"programs-{found.version}"
        if not copy.exists():
            unfinished = self.home / "programs-unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(found.folder.parent, unfinished, symlinks=True)
            for path in (unfinished, *unfinished.rglob("*")):
                self.hand_over(path)
            unfinished.rename(copy)
        return PostgresBinaries(copy / found.folder.name, found.version)


def choose_account(folder: StateFolder) -> Account:
    """Who may run PostgreSQL here. Only under the lock of the folder."""
    run = folder.make_run()
    if os.geteuid() != 0:
        return Account(folder.path, run)
    unshare = shutil.which("unshare")
    if unshare and _is_granted(unshare):
        return Account(folder.path, run, prefix=(unshare, *UNSHARE))
    home = _nobody_home(folder)
    run = home / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(run, NOBODY, _group(NOBODY))
    return Account(home, run, user=NOBODY)


def _nobody_home(folder: StateFolder) -> Path:
    if not folder.nobody_file.exists():
        home = Path(tempfile.mkdtemp(prefix="bedplate-", dir=NOBODY_HOME))
        shutil.chown(home, NOBODY, _group(NOBODY))
        write_private(folder.nobody_file, str(home))
    home = folder.postgres().parent
    status = home.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != pwd.getpwnam(NOBODY).pw_uid:
        raise ServerError(
            f"{home} is no folder of the account {NOBODY}",
            hint=f"Remove it, and {folder.nobody_file}; the database begins anew.",
        )
    return home


def _is_granted(unshare: str) -> bool:
    done = subprocess.run([unshare, *UNSHARE, "true"], capture_output=True, check=False)
    return done.returncode == 0


def _is_open_to_all(path: Path) -> bool:
    return all(step.stat().st_mode & 0o001 for step in (path, *path.parents))


def _group(user: str) -> int:
    return pwd.getpwnam(user).pw_gid
