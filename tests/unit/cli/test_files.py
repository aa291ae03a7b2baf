"""What `bedplate files` refuses before it asks any server."""

import json
from pathlib import Path

import pytest

from bedplate.cli import main as cli
from bedplate.cli.output import size

MANAGED = "postgresql://owner:s3cret@127.0.0.1:1/sales"
TWO_SYSTEMS = '[tool.bedplate.systems]\nshop = "shop:system"\nmill = "mill:system"\n'


@pytest.fixture
def managed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is no project, and servers of somebody's own at which nobody answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", MANAGED)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("APP_DATABASE_URL", raising=False)
    return tmp_path


@pytest.mark.parametrize("flags", [[], ["--orphans"], ["--adopt"]])
def test_a_sweep_on_a_managed_server_needs_consent(
    managed: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    """A DATABASE_URL left in a shell must not delete somebody's objects."""
    assert cli.run(["files", "sweep", *flags]) == 1
    said = capsys.readouterr().err
    assert "sales on 127.0.0.1:1" in said
    assert "bedplate files sweep --yes" in said
    assert "s3cret" not in said


def test_what_changes_nothing_needs_no_consent(
    managed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on to the server, which is not there."""
    for arguments in (["list"], ["verify"], ["sweep", "--dry-run"]):
        assert cli.run(["-o", "json", "files", *arguments]) == 3
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "database_unreachable"


def test_a_dry_run_cannot_adopt(managed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of the two was meant; which, only the person knows."""
    assert cli.run(["files", "sweep", "--dry-run", "--adopt"]) == 2
    assert "--dry-run" in capsys.readouterr().err


def test_of_several_systems_one_must_be_named(
    managed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has files of its own; a wrong guess would sweep the wrong ones."""
    (managed / "pyproject.toml").write_text(TWO_SYSTEMS)
    assert cli.run(["files", "list"]) == 1
    assert "Name one: shop, mill" in capsys.readouterr().err
    assert cli.run(["files", "list", "shelf"]) == 1
    assert "no system is named 'shelf'" in capsys.readouterr().err
    assert cli.run(["files", "list", "mill"]) == 3


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_999, "1.0 MB"),
        (10_485_760, "10.5 MB"),
        (3_400_000_000, "3.4 GB"),
        (5_000_000_000_000, "5.0 TB"),
    ],
)
def test_sizes_are_for_people(size_bytes: int, text: str) -> None:
    """Never 1000.0 kB."""
    assert size(size_bytes) == text
