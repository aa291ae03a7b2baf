"""SeaweedFS as an embedded server: an S3 with one bucket, and an identity for each system.

It is one process of five servers (master, volume, filer, S3, admin) that trust everyone who
reaches them, unless told otherwise: the HTTP of all but S3 is closed or wants a token or a
certificate, their gRPC a certificate of ours. Acknowledged writes survive kill -9, which is also
how it is stopped: its orderly end takes up to 29 s.
"""

import json
import signal
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from bedplate.errors import ServerError
from bedplate.project import SystemEntry
from bedplate.servers.binaries import find_weed, why_no_weed
from bedplate.servers.certificates import make_certificate
from bedplate.servers.folder import StateFolder, write_private
from bedplate.servers.keys import SEAWEEDFS_TOKENS, Ports, Secrets
from bedplate.servers.orphans import SEAWEEDFS_ADMIN_OFFSET as ADMIN_OFFSET
from bedplate.servers.orphans import clear_seaweedfs
from bedplate.servers.s3_request import request
from bedplate.servers.server import POLL_SECONDS, Server
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import BUCKET, REGION, S3Keys

ADMIN_ACTIONS = ("Admin",)
# Write includes to delete. No action on the bucket itself: what is there is not a system's to see.
SYSTEM_ACTIONS = ("Read", "Write", "List")
# What is below one of these and a system's name is that system's (`files/keys.py`).
PREFIXES = ("", "expiring/")
PARTS = ("master", "volume", "filer")
GRPC_COMPONENTS = ("master", "volume", "filer", "s3", "admin", "worker", "client")
# The volume server's HTTP wants a token; TLS there would cost each byte of each object.
HTTPS_COMPONENTS = ("master", "admin")
OPTIONS = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-disableHttp",
    "-master.telemetry=false",
    # A master that remembers volumes refuses writes for 15 s, lest servers of theirs are still to
    # come. Ours has one server, in its own process, which reports them before S3 opens.
    "-master.resumeState=false",
    "-master.volumeSizeLimitMB=1024",
    "-volume.max=200",
    "-volume.preStopSeconds=0",
    "-webdav=false",
    "-admin.ui=false",
    "-s3.iam=false",
    "-s3.autoCreateBucket=false",
    # Off, or a second instance dies of their fixed ports.
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
)
# Else the first write takes seconds: it would wait for seven volumes instead of one.
VARIABLES = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
READY, ALREADY_THERE = 200, 409
ADMIT_PATIENCE = timedelta(seconds=10)


class SeaweedFS(Server):
    """The stack's S3."""

    name: ClassVar[str] = "seaweedfs"
    title: ClassVar[str] = "SeaweedFS"
    stop_signals = ((signal.SIGKILL, timedelta(seconds=5)),)

    def __init__(
        self,
        folder: StateFolder,
        options: StackOptions,
        secrets: Secrets,
        ports: Ports,
    ) -> None:
        super().__init__(folder, ports)
        self._options = options
        self._secrets = secrets
        self._executable = Path()
        self._systems: dict[str, SystemEntry] = {}
        self._chosen: dict[str, int] = {}

    def url(self) -> str:
        """How to reach S3."""
        return f"http://127.0.0.1:{self.port.number}"

    def keys(self) -> dict[str, S3Keys]:
        """Each system's identity."""
        return {name: self._secrets.files(entry) for name, entry in self._systems.items()}

    def expect(self, systems: Iterable[SystemEntry]) -> None:
        """Before a start: whom to let in."""
        self._systems |= {entry.name: entry for entry in systems}

    def admit(self, systems: Iterable[SystemEntry]) -> None:
        """Let more systems in while it runs. Raises `ServerError`."""
        added = [entry for entry in systems if entry.name not in self._systems]
        self.expect(added)
        if not added or self._child is None or not self.is_up:
            return
        self._write_identities()
        self._child.send_signal(signal.SIGHUP)
        for entry in added:
            self._await_admission(entry)

    def prepare(self) -> None:
        """Find the executable; make its folder, its certificate and its configuration."""
        found = find_weed(self._options.weed)
        if found is None:
            why, hint = why_no_weed()
            raise ServerError(why, hint=hint)
        self._executable = found
        (self.data_folder() / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path("key.pem").exists():
            made = make_certificate("bedplate")
            write_private(self._path("certificate.pem"), made.certificate)
            write_private(self._path("key.pem"), made.key)
        write_private(self._path("security.toml"), self._security())
        self._write_identities()
        # It would be read again, and win over what is not given on the command line.
        (self.data_folder() / "data" / "mini.options").unlink(missing_ok=True)
        write_private(self.folder.seaweedfs_mark, "")

    def command(self) -> list[str]:
        """The server with every port that it may open.

        Paths in its folder are relative: a comma would end one, and a project's path may have one.
        """
        ports = {f"-{part}.port": self._choose(part) for part in PARTS}
        ports |= {f"-{part}.port.grpc": self._choose(f"{part} grpc") for part in (*PARTS, "s3")}
        admin = self._choose("admin", beside=ADMIN_OFFSET)
        ports |= {
            "-s3.port": self.port.number,
            "-admin.port": admin,
            "-admin.port.grpc": admin + ADMIN_OFFSET,
        }
        run = self.folder.make_run()
        return [
            str(self._executable),
            "-logtostderr=true",
            "mini",
            *OPTIONS,
            "-dir=data",
            "-s3.config=identities.json",
            f"-filer.localSocket={run / 'filer.sock'}",
            f"-s3.localSocket={run / 's3.sock'}",
            *(f"{flag}={port}" for flag, port in ports.items()),
        ]

    def data_folder(self) -> Path:
        """Its current folder, where it looks for `security.toml` first."""
        return self.folder.seaweedfs

    def variables(self) -> dict[str, str]:
        """What has no flag."""
        return VARIABLES | {"TMPDIR": str(self.folder.make_run())}

    def ask(self) -> str | None:
        """Make the bucket; its version once that is done, or was done before."""
        answer = request(
            "PUT", self.port.number, f"/{BUCKET}", self._secrets.files_admin, region=REGION
        )
        if answer.status not in (READY, ALREADY_THERE):
            return None
        # "SeaweedFS 8000GB 4.48"
        return answer.headers.get("server", "").rpartition(" ")[2]

    def stop(self) -> bool:
        """End it, and leave none of its sockets in /tmp."""
        is_gone = super().stop()
        if is_gone:
            clear_seaweedfs(self.folder, self._chosen)
        return is_gone

    def _choose(self, part: str, *, beside: int = 0) -> int:
        name = f"{self.name} {part}"
        self._chosen[name] = self._ports.choose(name, beside=beside).number
        return self._chosen[name]

    def _path(self, name: str) -> Path:
        return self.data_folder() / name

    def _security(self) -> str:
        identity = 'cert = "certificate.pem"\nkey = "key.pem"\n'
        sections = ['[grpc]\nca = "certificate.pem"\n']
        sections += [f"[grpc.{name}]\n{identity}" for name in GRPC_COMPONENTS]
        # With an authority given, a client without a certificate is refused.
        sections += [
            f'[https.{name}]\n{identity}ca = "certificate.pem"\n' for name in HTTPS_COMPONENTS
        ]
        sections += [
            f'[jwt.{name}]\nkey = "{self._secrets.seaweedfs_token(name)}"\n'
            for name in SEAWEEDFS_TOKENS
        ]
        return "\n".join(sections)

    def _write_identities(self) -> None:
        identities = [_identity("bedplate", self._secrets.files_admin, ADMIN_ACTIONS)]
        for name, keys in self.keys().items():
            actions = [
                f"{action}:{BUCKET}/{prefix}{name}/*"
                for action in SYSTEM_ACTIONS
                for prefix in PREFIXES
            ]
            identities.append(_identity(name, keys, actions))
        write_private(self._path("identities.json"), json.dumps({"identities": identities}))

    def _await_admission(self, entry: SystemEntry) -> None:
        deadline = time.monotonic() + ADMIT_PATIENCE.total_seconds()
        query = {"list-type": "2", "prefix": f"{entry.name}/", "max-keys": "1"}
        keys = self._secrets.files(entry)
        while time.monotonic() < deadline:
            answer = request(
                "GET", self.port.number, f"/{BUCKET}", keys, region=REGION, query=query
            )
            if answer.status == READY:
                return
            time.sleep(POLL_SECONDS)
        raise ServerError(
            f"SeaweedFS does not let {entry.name} in: it answers {answer.status}",
            hint=f"Read {self.folder.log(self.name)}",
        )


def _identity(name: str, keys: S3Keys, actions: Iterable[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": keys.key_id, "secretKey": keys.secret}],
        "actions": list(actions),
    }
