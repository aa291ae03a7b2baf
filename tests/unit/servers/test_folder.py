"""The state folder: private, whole, and no follower of links."""

import os
from pathlib import Path

import pytest

from bedplate.errors import ServerError, WaitTimeoutError
from bedplate.servers import folder as folders
from bedplate.servers.folder import StateFolder, explained


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """A state folder, made."""
    found = StateFolder(tmp_path / ".bedplate")
    found.create()
    return found


def test_a_made_folder_is_private(folder: StateFolder) -> None:
    """Whatever the umask of the shell was."""
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.logs.stat().st_mode & 0o777 == 0o700


def test_only_one_holds_the_lock(folder: StateFolder) -> None:
    """Two supervisors of one folder would destroy its data."""
    first = folder.try_lock()
    assert first is not None
    assert folder.try_lock() is None
    assert folder.is_lock(first)
    folder.lock_file.unlink()
    assert not folder.is_lock(first)
    os.close(first)


def test_a_planted_link_is_not_written_through(folder: StateFolder, tmp_path: Path) -> None:
    """Who could write to the folder before it was closed may have left links in it."""
    target = tmp_path / "target"
    target.write_text("precious")
    folder.log("postgres").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        folder.open_log("postgres")
    folder.secrets_file.symlink_to(target)
    folders.write_private(folder.secrets_file, "{}")
    assert target.read_text() == "precious"
    assert not folder.secrets_file.is_symlink()
    assert folder.secrets_file.stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_logs_is_refused(tmp_path: Path) -> None:
    """Logs would be written where somebody else wants them."""
    found = StateFolder(tmp_path / ".bedplate")
    found.path.mkdir()
    found.logs.symlink_to(tmp_path)
    with pytest.raises(ServerError, match="is no folder"):
        found.create()


def test_a_folder_of_another_user_is_refused(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner could read all that we write."""
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(ServerError, match="belongs to another user") as caught:
        folder.create()
    assert "BEDPLATE_STATE_DIR" in caught.value.hint


def test_sockets_of_a_deep_folder_lie_in_a_short_private_one(tmp_path: Path) -> None:
    """The path of a socket is limited to 103 bytes on the strictest system."""
    deep = StateFolder(tmp_path / ("deep" * 20) / ".bedplate")
    deep.create()
    assert deep.find_run() is None
    run = deep.make_run()
    try:
        assert len(os.fsencode(run / folders.LONGEST_SOCKET_NAME)) <= folders.SOCKET_PATH_LIMIT
        assert run.stat().st_mode & 0o777 == 0o700
        assert deep.make_run() == deep.find_run() == run
    finally:
        deep.remove_run(run)
    assert deep.find_run() is None
    assert not run.exists()


def test_a_run_folder_of_another_user_is_not_used(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes the place of it in /tmp must not get our commands."""
    folder.make_run()
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert folder.find_run() is None


def test_a_log_that_outgrew_its_limit_is_put_aside(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack that is started each day for a year must not fill the disk."""
    folder.log("valkey").write_text("old lines")
    monkeypatch.setattr(folders, "LOG_LIMIT_BYTES", 5)
    os.close(folder.open_log("valkey"))
    assert folder.log("valkey").read_text() == ""
    assert (folder.logs / "valkey.log.1").read_text() == "old lines"


def test_system_errors_say_what_to_do(tmp_path: Path) -> None:
    """ENOSPC is a hint about space, everything else about the folder."""
    with pytest.raises(ServerError) as full, explained(tmp_path):
        raise OSError(28, "No space left on device")
    assert full.value.hint == f"Free some space on the disk that holds {tmp_path}."
    with pytest.raises(ServerError) as closed, explained(tmp_path):
        raise PermissionError(13, "Permission denied", "/x")
    assert closed.value.message == "/x cannot be used: Permission denied"
    with pytest.raises(WaitTimeoutError), explained(tmp_path):
        raise WaitTimeoutError("ours stays as it is")


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"'])
def test_a_damaged_file_reads_as_empty(tmp_path: Path, text: str) -> None:
    """A power loss in the middle must not lock anybody out."""
    (tmp_path / "ports.json").write_text(text)
    assert folders.read_json(tmp_path / "ports.json") == {}
