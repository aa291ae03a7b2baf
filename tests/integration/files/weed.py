"""A SeaweedFS of this run: the stack's own server, without a supervisor that would restart it.

One per process of the run, since a test kills it; configured and closed as the stack's is.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from bedplate.project import SystemEntry
from bedplate.servers.folder import StateFolder
from bedplate.servers.keys import Ports, Secrets
from bedplate.servers.seaweedfs import SeaweedFS
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import BUCKET, S3Keys

READY_WITHIN_SECONDS = 20.0


@dataclass(frozen=True)
class S3:
    """Where the tests' S3 is, and as whom: the administrator, or a system below its prefixes."""

    endpoint: str
    key_id: str
    secret: str
    bucket: str = BUCKET

    def variables(self, *, endpoint: str | None = None) -> dict[str, str]:
        """The environment of a process that uses it."""
        return {
            "S3_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_BUCKET_NAME": self.bucket,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }


class Weed:
    """The process. `start` again after `kill` finds what was acknowledged before."""

    def __init__(self, folder: Path) -> None:
        state = StateFolder(folder)
        state.create()
        state.make_run()
        self._secrets = Secrets(state, is_pinned=False)
        self._secrets.load([])
        ports = Ports(state, is_pinned=False)
        self._server = SeaweedFS(state, StackOptions(durable=False), self._secrets, ports)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._server.start(time.monotonic() + READY_WITHIN_SECONDS)

    def kill(self) -> None:
        """As kill -9, which is also how the stack stops it."""
        assert self._server.end_child()

    def stop(self) -> None:
        """End it for good."""
        assert self._server.stop()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._server.state().pid

    @property
    def s3(self) -> S3:
        """As its administrator, whom every system's tests can use."""
        return self._as(self._secrets.files_admin)

    def s3_of(self, system: str) -> S3:
        """As a system, which is let in when it is new."""
        entry = SystemEntry(system, None, system, system, "")
        self._secrets.load([entry])
        self._server.admit([entry])
        return self._as(self._secrets.files(entry))

    def _as(self, keys: S3Keys) -> S3:
        return S3(self._server.url(), keys.key_id, keys.secret)
