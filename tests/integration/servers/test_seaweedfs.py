"""The embedded S3: who may do what, what its other ports give away, and what it survives."""

import contextlib
import http.client
import re
import secrets
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedplate.environment import DEVELOPMENT_MARK
from bedplate.errors import ServerError
from bedplate.project import Project
from bedplate.servers import process
from bedplate.servers.client import attach, read_state, stop
from bedplate.servers.orphans import SEAWEEDFS_SOCKET
from bedplate.servers.s3_request import Answer, request
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import BUCKET, REGION, S3Keys, StackState
from tests.integration.servers import probes

# The others have tests of their own, and take their time to start.
ALONE = StackOptions(durable=False, has_postgres=False, has_valkey=False, has_files=True)
BESIDE = StackOptions(durable=False, has_postgres=False)
# HTTP and gRPC of master, volume, filer, S3 and admin.
LISTENERS = 10
SECRET = b"what nobody may see"
# What each of the servers would serve an object under, and what would change something.
PATHS = (
    "/",
    f"/{BUCKET}/shop/mine",
    f"/buckets/{BUCKET}/shop/mine",
    "/1,01637037d6",
    "/?proxyChunkId=1,01637037d6",
    "/dir/assign",
    "/col/delete?collection=bedplate",
    "/vol/vacuum",
    "/api/users",
    "/metrics",
)
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


@pytest.fixture(scope="module")
def project(module_folder: Path) -> Iterator[Project]:
    """A project whose stack may still run from the test before; nothing of it may in the end."""
    found = probes.project_in(module_folder)
    yield found
    stop(found, probes.PATIENCE)
    probes.wait_for(lambda: probes.processes_in(module_folder) == [])


@pytest.fixture
def state(project: Project) -> StackState:
    """The stack with S3, running."""
    state = probes.up(project, options=ALONE)
    assert ask(state, "PUT", "shop/mine", body=SECRET).status == 200
    return state


def ask(
    state: StackState,
    method: str,
    key: str,
    *,
    body: bytes = b"",
    query: dict[str, str] | None = None,
    system: str = "shop",
    keys: S3Keys | None = None,
) -> Answer:
    """Ask S3 as a system: its bucket, or one key in it."""
    path = f"/{BUCKET}/{key}" if key else f"/{BUCKET}"
    port, keys = state.service("seaweedfs").port, keys or state.s3_keys[system]
    return request(method, port, path, keys, region=REGION, body=body, query=query)


def listeners(pid: int) -> set[int]:
    """Every port on which a process accepts connections, from the kernel's table."""
    own = process._socket_inodes(pid)
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == process.LISTENING and fields[9] in own:
            found.add(int(fields[1].split(":")[1], 16))
    return found


def all_listeners(state: StackState) -> set[int]:
    """Those of SeaweedFS, once the last one, the admin's, has opened."""
    pid = state.service("seaweedfs").pid
    probes.wait_for(lambda: len(listeners(pid)) == LISTENERS)
    return listeners(pid)


def test_a_system_reads_writes_lists_and_deletes_below_its_prefixes(state: StackState) -> None:
    """That is all it needs; the bucket was made by the stack."""
    for prefix in ("shop/", "expiring/shop/"):
        assert ask(state, "PUT", f"{prefix}a b", body=b"12").status == 200
        assert ask(state, "GET", f"{prefix}a b").body == b"12"
        listed = ask(state, "GET", "", query={"list-type": "2", "prefix": prefix})
        assert f"<Key>{prefix}a b</Key>".encode() in listed.body
        assert ask(state, "DELETE", f"{prefix}a b").status == 204
        assert ask(state, "GET", f"{prefix}a b").status == 404


def test_a_system_reaches_nothing_beyond_its_prefixes(state: StackState) -> None:
    """One that was broken into must not open the others' files, nor the bucket itself."""
    for key in ("blog/theirs", "shopping/theirs", "expiring/blog/theirs"):
        for method in ("GET", "PUT", "DELETE"):
            assert ask(state, method, key, body=b"").status == 403, (method, key)
    listings: tuple[dict[str, str], ...] = (
        {},
        {"prefix": ""},
        {"prefix": "blog/"},
        {"prefix": "expiring/"},
    )
    for listing in listings:
        assert ask(state, "GET", "", query={"list-type": "2", **listing}).status == 403, listing
    for query in ({}, {"policy": ""}, {"lifecycle": ""}, {"cors": ""}):
        for method in ("PUT", "DELETE"):
            answer = ask(state, method, "", query=query, body=b"{}")
            assert answer.status == 403, (method, query)
    wrong = S3Keys(state.s3_keys["shop"].key_id, "dev-only-guessed")
    assert ask(state, "GET", "shop/mine", keys=wrong).status == 403


def test_every_listener_wants_a_credential(state: StackState) -> None:
    """Master, volume and filer serve and delete any object for anyone, unless they are closed."""
    for port in all_listeners(state):
        for method in ("GET", "PUT", "DELETE", "POST"):
            for path in PATHS:
                status, body = _ask_anonymously(port, method, path)
                assert status is None or status >= 400, (port, method, path, status)
                assert SECRET not in body
    assert ask(state, "GET", "shop/mine").body == SECRET


def test_grpc_answers_only_who_has_the_stacks_certificate(
    project: Project, state: StackState
) -> None:
    """Over gRPC the servers take any order, from anyone who gets that far."""
    folder = project.state / "seaweedfs"
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    answering = 0
    for port in all_listeners(state):
        assert not _speaks_http2(port, None), port
        assert not _speaks_http2(port, nobody), port
        answering += _speaks_http2(port, own)
    assert answering >= 5


def test_it_listens_on_loopback_and_on_the_ports_that_it_was_given(
    project: Project, state: StackState
) -> None:
    """Left to itself it takes fixed ports, of which a second project's would die."""
    ports = all_listeners(state)
    assert process.listens_beyond_loopback(state.service("seaweedfs").pid) == []
    given = {
        int(number) for number in re.findall(r"\d+", (project.state / "ports.json").read_text())
    }
    assert len(ports - given) == 1  # the admin's gRPC, 10,000 above its HTTP
    assert all(1024 <= port <= 55535 for port in ports)


def test_its_files_and_sockets_are_for_their_owner_only(
    project: Project, state: StackState
) -> None:
    """Objects and keys lie in them, and /tmp is everybody's."""
    all_listeners(state)
    folder = project.state / "seaweedfs"
    paths = [folder, *folder.rglob("*"), *_sockets(project)]
    # It opens the description of a volume to all; the folder around it is closed.
    mine = [path for path in paths if path.suffix != ".vif"]
    assert [path for path in mine if path.lstat().st_mode & 0o077] == []
    assert len(_sockets(project)) == 5


def test_no_secret_is_on_a_command_line_or_in_a_log(project: Project, state: StackState) -> None:
    """`ps` shows every user everything, and logs are sent to others in reports."""
    assert ask(state, "GET", "shop/mine", keys=S3Keys("dev-only-x", "y")).status == 403
    values = re.findall(
        rf'"({DEVELOPMENT_MARK}[^"]+)"', (project.state / "secrets.json").read_text()
    )
    ids = {keys.key_id for keys in state.s3_keys.values()}
    assert all(keys.secret.startswith(DEVELOPMENT_MARK) for keys in state.s3_keys.values())
    assert len(values) >= 10
    shown = Path(f"/proc/{state.service('seaweedfs').pid}/cmdline").read_text()
    shown += "".join(log.read_text() for log in (project.state / "logs").iterdir())
    assert [value for value in values if value in shown and value not in ids] == []
    assert DEVELOPMENT_MARK not in repr(state)


def test_another_s3_in_the_environment_does_not_change_ours(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SeaweedFS would take a shell's keys for those of an administrator."""
    stop(project)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "known to others")
    monkeypatch.setenv("S3_BUCKET", "theirs")
    state = probes.up(project, options=ALONE)
    assert ask(state, "GET", "", keys=S3Keys("theirs", "known to others")).status == 403


@pytest.mark.fault(25, holds="I2")
def test_fault_25_a_killed_server_is_restarted_with_its_data(
    project: Project, state: StackState
) -> None:
    """What was acknowledged is there, and it takes more at once; the port stays for clients."""
    mark = secrets.token_bytes(16)
    assert ask(state, "PUT", "shop/mark", body=mark).status == 200
    former = state.service("seaweedfs")
    probes.kill(former.pid)
    again = probes.restarted(project, "seaweedfs", former.pid)
    assert again.service("seaweedfs").port == former.port
    assert ask(again, "GET", "shop/mark").body == mark
    # Within the 2 s that an answer may take: a master that remembers volumes would need 15.
    assert ask(again, "PUT", "shop/mark", body=mark).status == 200


def test_the_next_attach_takes_over_from_a_killed_supervisor(
    project: Project, state: StackState
) -> None:
    """It runs on without a parent, and holds its ports and its data."""
    orphan = state.service("seaweedfs").pid
    probes.kill(state.supervisor_pid)
    assert probes.is_running(orphan)
    again = attach(project, ALONE, detach=True)
    assert "stop orphaned seaweedfs" in {step.name for step in again.steps}
    assert not probes.is_running(orphan)
    assert ask(again.state, "GET", "shop/mine").body == SECRET
    assert again.state.s3_keys == state.s3_keys


def test_stop_leaves_neither_process_nor_socket(project: Project, state: StackState) -> None:
    """It makes sockets in /tmp, and is killed before it could remove them."""
    pid = state.service("seaweedfs").pid
    all_listeners(state)
    assert _sockets(project)
    assert [(step.name, step.ok) for step in stop(project)] == [("stop seaweedfs", True)]
    assert not probes.is_running(pid)
    assert _sockets(project) == []
    assert not (project.state / "seaweedfs.started").exists()


def test_a_stack_without_files_starts_them_for_who_asks_later(project: Project) -> None:
    """Tests that store nothing must not pay for it, and those that do must not start another."""
    stop(project)
    without = probes.up(project, options=BESIDE)
    assert without.s3_url == ""
    assert "S3_ENDPOINT_URL" not in without.environment(project.systems)
    state = attach(project, ALONE, detach=True).state
    assert state.service("valkey") == without.service("valkey")
    assert ask(state, "PUT", "shop/later", body=b"1").status == 200
    assert read_state(project) == state


def test_a_system_added_later_gets_its_own_identity(project: Project, state: StackState) -> None:
    """A second system in pyproject needs no restart, and the first keeps its keys."""
    both = probes.project_in(project.root, probes.SHOP, probes.BLOG)
    again = attach(both, ALONE, detach=True).state
    assert again.service("seaweedfs").pid == state.service("seaweedfs").pid
    assert again.s3_keys["shop"] == state.s3_keys["shop"]
    assert ask(again, "PUT", "blog/a", body=b"1", system="blog").status == 200
    assert ask(again, "GET", "blog/a").status == 403
    variables = again.environment(both.systems)
    assert variables["BLOG_AWS_ACCESS_KEY_ID"] == again.s3_keys["blog"].key_id
    assert "AWS_ACCESS_KEY_ID" not in variables


def test_a_named_program_that_is_none_is_refused(tmp_path: Path) -> None:
    """It was asked for, so going on without files would surprise."""
    options = StackOptions(
        durable=False, has_postgres=False, has_valkey=False, has_files=True, weed=Path("/nowhere")
    )
    with pytest.raises(ServerError, match="/nowhere is no program"):
        attach(probes.project_in(tmp_path), options)


def _ask_anonymously(port: int, method: str, path: str) -> tuple[int | None, bytes]:
    """Status and body; no status when the server hangs up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request(method, path, body=b"x" if method in ("PUT", "POST") else None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (http.client.HTTPException, ConnectionError):
            return None, b""


def _speaks_http2(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether it answers gRPC's first bytes with settings of its own."""
    if context is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        try:
            link = plain if context is None else context.wrap_socket(plain)
            with link:
                link.sendall(HTTP2)
                answer = link.recv(100)
                # A frame's head: three bytes of length, then its type; settings are 4.
                return len(answer) >= 9 and answer[3] == 4
        except (ssl.SSLError, ConnectionError):
            return False


def _sockets(project: Project) -> list[Path]:
    """What lies in /tmp of this project's SeaweedFS."""
    numbers = re.findall(r"\d+", (project.state / "ports.json").read_text())
    ports = {port for number in numbers for port in (int(number), int(number) + 10_000)}
    parts = ("master", "volume", "filer", "s3", "admin")
    paths = [Path(SEAWEEDFS_SOCKET.format(part=p, port=port)) for p in parts for port in ports]
    return [path for path in paths if path.exists() and stat.S_ISSOCK(path.stat().st_mode)]
