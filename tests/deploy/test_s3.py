"""The S3 of the compose files: its very command, run by the wheel's program in another folder."""

import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from bedplate.files.bucket import Bucket
from bedplate.files.object_store import ObjectStore
from bedplate.servers.binaries import find_weed
from bedplate.settings import Settings
from tests.deploy.compose import LIBRILABS, ComposeFile
from tests.integration.servers import probes

SERVICES = ComposeFile.read(LIBRILABS).services
S3 = SERVICES["s3"]
PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
FILER_PORTS = ("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """One of each kind that is free."""
    with ExitStack() as held:
        taken = {
            name: held.enter_context(socket.create_server(("127.0.0.1", 0)))
            for name in PORTS + FILER_PORTS
        }
        return {name: each.getsockname()[1] for name, each in taken.items()}


@pytest.fixture(scope="module")
def address(ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server, as the container starts it; only folder and ports are the test's."""
    program = find_weed(None)
    if program is None:
        pytest.skip("SeaweedFS is not installed")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data").mkdir()
    command = [each.replace("/data", str(folder / "data")) for each in S3["command"]]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command.append(f"-s3.localSocket={folder / 's3.sock'}")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, *command],
            cwd=folder,
            env={**S3["environment"], "HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
    found = f"http://127.0.0.1:{ports['s3.port']}"
    health = S3["healthcheck"]["test"][-1].replace("http://127.0.0.1:8333", found)
    try:
        probes.wait_for(lambda: _answers(health))
        yield found
    finally:
        server.kill()
        server.wait()


async def test_L1_composes_s3_keeps_files_for_the_containers(address: str) -> None:
    """With the variables that they are given, from the first upload on."""
    given = {name: str(value) for name, value in SERVICES["api"]["environment"].items()}
    settings = Settings.load("librilabs", given)
    assert settings.s3_endpoint_url == "http://s3:8333"
    settings = settings.model_copy(update={"s3_endpoint_url": address})
    store = ObjectStore(Bucket.from_settings(settings))
    await store.put("librilabs/one", b"a file", "text/plain")
    assert await store.read("librilabs/one") == b"a file"
    await store.probe("librilabs")
    async with httpx.AsyncClient() as stranger:
        anonymous = await stranger.get(f"{address}/{settings.bucket_name()}/librilabs/one")
    assert anonymous.status_code == 403


def test_what_needs_no_password_listens_on_loopback(address: str, ports: dict[str, int]) -> None:
    """Master, volume and filer would give any object to the network of containers."""
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    for name in PORTS + FILER_PORTS[:2]:
        (line,) = [each for each in listening.splitlines() if f":{ports[name]:04X} 0000" in each]
        assert line.split()[1].startswith("0100007F:"), name


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own http
        return int(answer.status) == 200
    return False
