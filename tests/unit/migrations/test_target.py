"""Which database a plain `alembic` command means."""

from pathlib import Path

import pytest

from bedplate.errors import BedplateError, MigrationError, StackNotRunningError
from bedplate.migrations.target import find_target

ONE = '[tool.bedplate.systems]\nshop = "shop.app:system"\n'
TWO = ONE + 'bank = "bank.app:system"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system's folder in a project of two, without variables of this machine."""
    for name in ("DATABASE_URL", "DATABASE_DIRECT_URL", "MIGRATION_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("BEDPLATE_STATE_DIR", raising=False)
    (tmp_path / "pyproject.toml").write_text(TWO)
    folder = tmp_path / "systems" / "shop"
    folder.mkdir(parents=True)
    return folder


def test_system_is_the_one_named_like_the_folder(folder: Path) -> None:
    """env.py need not repeat what its place says."""
    assert find_target(folder).entry.name == "shop"
    assert find_target(folder, "bank").entry.name == "bank"


def test_only_system_needs_no_name(folder: Path) -> None:
    """A project with one system may lay its folders as it likes."""
    (folder.parent.parent / "pyproject.toml").write_text(ONE)
    assert find_target(folder.parent).entry.name == "shop"


def test_unknown_folder_is_explained(folder: Path) -> None:
    """Migrating a wrong database would be worse than stopping."""
    with pytest.raises(MigrationError, match="belongs to no system") as refusal:
        find_target(folder.parent)
    assert "system=NAME" in refusal.value.hint


def test_variable_of_the_system_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several systems share one environment."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://x@h/general")
    monkeypatch.setenv("SHOP_MIGRATION_DATABASE_URL", "postgresql://owner@h/shop")
    assert find_target(folder).settings().migration_database().database == "shop"
    assert find_target(folder, "bank").settings().migration_database().database == "general"


def test_nothing_named_and_nothing_running_is_explained(folder: Path) -> None:
    """The commonest mistake: one line with the next command."""
    with pytest.raises(StackNotRunningError, match="SHOP_DATABASE_URL") as refusal:
        find_target(folder).settings()
    assert "bedplate up" in refusal.value.hint


def test_role_is_known_without_a_database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--sql` grants to a role though it connects to nothing."""
    assert find_target(folder).role == "shop_app"
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgresql://x@h/store")
    assert find_target(folder).role == "store_app"


def test_wrong_url_is_an_error_of_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """env.py turns those into one line."""
    monkeypatch.setenv("SHOP_DATABASE_URL", "mysql://x@h/y")
    with pytest.raises(BedplateError):
        find_target(folder).settings()
