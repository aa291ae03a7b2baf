"""Revision files read without Alembic."""

from pathlib import Path

import pytest

from bedplate.errors import MigrationError
from bedplate.migrations.revisions import History

INI = "[alembic]\nscript_location = %(here)s/migrations\nfile_template = %%(rev)s\n"


def _write(folder: Path, name: str, text: str) -> None:
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (folder / "alembic.ini").write_text(INI)
    (versions / name).write_text(text)


def test_pending_revisions_are_in_the_order_of_applying(tmp_path: Path) -> None:
    """File names say nothing of the order; parents do."""
    _write(tmp_path, "z_first.py", '"""First."""\nrevision: str = "aa"\ndown_revision = None\n')
    _write(tmp_path, "b_third.py", 'revision = "cc"\ndown_revision = "bb"\n')
    _write(tmp_path, "a_second.py", 'revision = "bb"\ndown_revision: str | None = "aa"\n')
    history = History.read(tmp_path)
    assert history.heads == ("cc",)
    assert [each.number for each in history.pending(())] == ["aa", "bb", "cc"]
    assert [each.number for each in history.pending(["bb"])] == ["cc"]
    assert history.pending(["cc"]) == ()
    assert history.revisions["aa"].title == "First."


def test_merge_comes_after_both_branches(tmp_path: Path) -> None:
    """Two people's revisions are joined by a third, which builds on both."""
    _write(tmp_path, "1.py", 'revision = "root"\ndown_revision = None\n')
    _write(tmp_path, "2.py", 'revision = "left"\ndown_revision = "root"\n')
    _write(tmp_path, "3.py", 'revision = "right"\ndown_revision = "root"\n')
    assert History.read(tmp_path).heads == ("left", "right")
    _write(tmp_path, "4.py", 'revision = "join"\ndown_revision = ("left", "right")\n')
    history = History.read(tmp_path)
    assert history.heads == ("join",)
    assert [each.number for each in history.pending(["left"])] == ["right", "join"]


def test_database_ahead_of_the_code_has_nothing_pending(tmp_path: Path) -> None:
    """A deploy that is rolled back must start again on the database that it left."""
    _write(tmp_path, "1.py", 'revision = "aa"\ndown_revision = None\n')
    history = History.read(tmp_path)
    assert history.is_ahead(["zz"])
    assert history.pending(["zz"]) == ()
    assert not history.is_ahead(["aa"])


def test_other_python_files_are_passed_over(tmp_path: Path) -> None:
    """A folder of revisions may hold an `__init__.py`."""
    _write(tmp_path, "__init__.py", "NAMES = 1\n")
    assert History.read(tmp_path).heads == ()


def test_revision_that_is_computed_is_refused(tmp_path: Path) -> None:
    """Its number is not known without running the file."""
    _write(tmp_path, "1.py", "import os\nrevision = os.urandom(4).hex()\n")
    with pytest.raises(MigrationError, match="cannot be read") as refusal:
        History.read(tmp_path)
    assert "literals" in refusal.value.hint


def test_folder_without_ini_is_explained(tmp_path: Path) -> None:
    """The hint says which two lines are needed."""
    with pytest.raises(MigrationError, match=r"alembic\.ini"):
        History.read(tmp_path)
