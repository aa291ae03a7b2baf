"""A SeaweedFS of this run: one process, in its own folder, stopped by SIGKILL.

Until the stack embeds it: then `conftest.py` hands out the stack's own.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

BUCKET = "bedplate-test"
READY_WITHIN_SECONDS = 20.0
PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
FIXED = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-master.telemetry=false",
    "-webdav=false",
    "-admin.ui=false",
    "-volume.preStopSeconds=0",
    "-master.volumeSizeLimitMB=1024",
    "-volume.max=200",
    "-s3.autoCreateBucket=false",
    f"-bucket={BUCKET}",
)


@dataclass(frozen=True)
class S3:
    """Where the tests' S3 is, and as whom: `app` may read and write the bucket, not list it."""

    endpoint: str
    key_id: str
    secret: str
    app_key_id: str
    bucket: str = BUCKET

    def variables(
        self, *, key_id: str | None = None, endpoint: str | None = None
    ) -> dict[str, str]:
        """The environment of a process that uses it."""
        return {
            "S3_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_BUCKET_NAME": self.bucket,
            "AWS_ACCESS_KEY_ID": key_id or self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }


class Weed:
    """The process. `start` again after `kill` finds what was acknowledged before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        self.s3 = S3(
            endpoint=f"http://127.0.0.1:{self._ports['s3.port']}",
            key_id=f"admin{secrets.token_hex(6)}",
            secret=secrets.token_hex(20),
            app_key_id=f"app{secrets.token_hex(6)}",
        )
        self._write_identities()

    def start(self) -> None:
        """Start it and wait until it answers."""
        binary = shutil.which("weed")
        assert binary is not None
        ports = [f"-{name}={port}" for name, port in self._ports.items()]
        own = [f"-dir={self._folder}", f"-s3.config={self._folder}/s3.json"]
        own.append(f"-filer.localSocket={self._folder}/filer.sock")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary, "-logtostderr=true", "mini", *own, *FIXED, *ports],
                cwd=self._folder,
                env={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
                stdout=log,
                stderr=log,
            )
        self._wait()

    def kill(self) -> None:
        """As kill -9: SIGTERM would take up to half a minute."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.s3.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.s3.key_id,
            aws_secret_access_key=self.s3.secret,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=5),
        )
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            try:
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            except (BotoCoreError, ClientError):
                assert self._process is not None
                assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
                time.sleep(0.05)
            else:
                return

    def _write_identities(self) -> None:
        def identity(name: str, key_id: str, actions: list[str]) -> dict[str, object]:
            credentials = [{"accessKey": key_id, "secretKey": self.s3.secret}]
            return {"name": name, "credentials": credentials, "actions": actions}

        identities = [
            identity("admin", self.s3.key_id, ["Admin"]),
            identity("app", self.s3.app_key_id, [f"Read:{BUCKET}", f"Write:{BUCKET}"]),
        ]
        (self._folder / "s3.json").write_text(json.dumps({"identities": identities}))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
