"""A project is found from any folder inside it, and a wrong table is one clear error."""

import os
from pathlib import Path

import pytest

from bedplate.environment import read_environment
from bedplate.errors import ProjectError, SettingsError
from bedplate.project import Project
from bedplate.system import load_system


def write(folder: Path, table: str) -> None:
    (folder / "pyproject.toml").write_text(table)


def test_project_is_found_upward(tmp_path: Path) -> None:
    """Commands are typed in a system's own folder too."""
    write(tmp_path, '[tool.bedplate.systems]\nshop = "shop.app:system"\n')
    deep = tmp_path / "systems" / "shop"
    deep.mkdir(parents=True)
    project = Project.find({}, deep)
    assert (project.root, project.name) == (tmp_path, tmp_path.name)
    assert project.state == tmp_path / ".bedplate"
    entry = project.entry("shop")
    assert (entry.database, entry.owner, entry.variable) == ("shop", "shop", "SHOP_DATABASE_URL")


def test_table_form_names_database_and_owner(tmp_path: Path) -> None:
    """A specification may name database and user otherwise than the system."""
    write(
        tmp_path,
        '[project]\nname = "The Shop"\n'
        "[tool.bedplate.systems.shop]\n"
        'system = "shop.app:system"\ndatabase = "shop_main"\nowner = "keeper"\n',
    )
    project = Project.find({}, tmp_path)
    assert project.name == "The Shop"
    entry = project.entry("shop")
    assert (entry.database, entry.owner, entry.development_password) == (
        "shop_main",
        "keeper",
        "keeper_dev",
    )


def test_folder_without_project_gets_one_plain_database(tmp_path: Path) -> None:
    """`bedplate up` is of use before there is any system."""
    project = Project.find({}, tmp_path)
    assert [entry.database for entry in project.systems] == ["app"]


def test_state_folder_can_be_named(tmp_path: Path) -> None:
    """Tests and second stacks keep their state elsewhere."""
    project = Project.find({"BEDPLATE_STATE_DIR": str(tmp_path / "other")}, tmp_path)
    assert project.state == tmp_path / "other"


@pytest.mark.parametrize(
    "table",
    [
        "[tool.bedplate]\nsystems = 3\n",
        "[tool.bedplate.systems]\nshop = 3\n",
        '[tool.bedplate.systems.shop]\ndatabase = "x"\n',
        "this is no toml",
    ],
)
def test_wrong_table_is_refused_with_the_file(tmp_path: Path, table: str) -> None:
    """The error names the file to mend."""
    write(tmp_path, table)
    with pytest.raises(ProjectError, match=r"pyproject\.toml"):
        Project.find({}, tmp_path)


def test_unknown_system_lists_the_known_ones(tmp_path: Path) -> None:
    """A typing error in a name is answered with the names."""
    write(tmp_path, '[tool.bedplate.systems]\nshop = "shop.app:system"\n')
    with pytest.raises(ProjectError, match="'shp'") as caught:
        Project.find({}, tmp_path).entry("shp")
    assert "shop" in caught.value.hint


def test_system_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    """A wrong import path must not end in a traceback."""
    write(tmp_path, '[tool.bedplate.systems]\nshop = "no_such_module.app:system"\n')
    project = Project.find({}, tmp_path)
    with pytest.raises(ProjectError, match=r"no_such_module\.app:system"):
        load_system(project, project.entry("shop"))


def test_environment_wins_over_dotenv_and_empty_counts_as_unset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that users know from every other tool."""
    (tmp_path / ".env").write_text("A_NAME=file\nB_NAME='quoted value'\nC_NAME=\n")
    monkeypatch.setenv("A_NAME", "process")
    monkeypatch.setenv("B_NAME", "")
    inner = tmp_path / "inner"
    inner.mkdir()
    found = read_environment(inner)
    assert found["A_NAME"] == "process"
    assert found["B_NAME"] == "quoted value"
    assert "C_NAME" not in found


@pytest.mark.bad_day("A `.env` in a wrong encoding", sees="the file; UTF-8 lines NAME=value")
def test_broken_dotenv_is_one_clear_error(tmp_path: Path) -> None:
    """A `.env` saved in a wrong encoding says so instead of a traceback."""
    (tmp_path / ".env").write_bytes(b"\xff\xfeA=1")
    with pytest.raises(SettingsError, match=r"\.env"):
        read_environment(tmp_path)


@pytest.mark.bad_day(
    "A `.env` with a bad line", sees="the file and the line's number, not the line"
)
@pytest.mark.parametrize("line", ["DATABASE_URL postgres://u:canary@h/d", "= canary", "A='canary"])
def test_a_bad_line_of_dotenv_is_named_and_not_shown(tmp_path: Path, line: str) -> None:
    """The library goes on without it: the stand would be another than the one that was written."""
    (tmp_path / ".env").write_text(f"# comment\nB_NAME=1\n{line}\nC_NAME=2\n")
    with pytest.raises(SettingsError, match=r"\.env, line 3 is no NAME=value") as caught:
        read_environment(tmp_path)
    assert "canary" not in str(caught.value) + caught.value.hint


@pytest.mark.bad_day("A `.env` that cannot be read", sees="the file and why")
def test_an_unreadable_dotenv_is_one_clear_error(tmp_path: Path) -> None:
    """A file of another user's; root, whom no mode stops, meets one that gives no byte."""
    if os.geteuid() == 0:
        (tmp_path / ".env").symlink_to("/proc/self/mem")
    else:
        (tmp_path / ".env").touch(mode=0o000)
    with pytest.raises(SettingsError, match=r"\.env cannot be read: (OSError|PermissionError)"):
        read_environment(tmp_path)


def test_a_mark_before_the_first_line_of_dotenv_is_no_part_of_a_name(tmp_path: Path) -> None:
    """Windows' editors write it, and nobody sees it."""
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfA_NAME=file\r\nB_NAME=2\r\n")
    found = read_environment(tmp_path)
    assert (found["A_NAME"], found["B_NAME"]) == ("file", "2")


def test_a_url_takes_the_value_of_a_variable_percent_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password stands once, wherever it comes from; no other program's variable is touched."""
    (tmp_path / ".env").write_text(
        "SME_DATABASE_URL=postgresql+asyncpg://sme:${DB_PASSWORD}@localhost:5432/sme\n"
        "DB_PASSWORD=p@ss/w:rd%\nA_NAME=${DB_PASSWORD}!\n"
    )
    monkeypatch.setenv("REDIS_URL", "redis://:${DB_PASSWORD}@h")
    monkeypatch.setenv("OTHER_URL", "${NOWHERE}")
    found = read_environment(tmp_path)
    assert found["SME_DATABASE_URL"] == (
        "postgresql+asyncpg://sme:p%40ss%2Fw%3Ard%25@localhost:5432/sme"
    )
    assert found["REDIS_URL"] == "redis://:p%40ss%2Fw%3Ard%25@h"
    assert (found["A_NAME"], found["OTHER_URL"]) == ("p@ss/w:rd%!", "${NOWHERE}")
    monkeypatch.setenv("DB_PASSWORD", "other")
    assert ":other@" in read_environment(tmp_path)["SME_DATABASE_URL"]


@pytest.mark.bad_day("A URL with `${DB_PASSWORD}`, and none set", sees="both variables' names")
def test_a_url_whose_variable_is_not_set_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty password would be tried instead, and refused by the server in other words."""
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://sme:${DB_PASSWORD}@h/sme\n")
    with pytest.raises(
        SettingsError, match=r"^DATABASE_URL takes \$\{DB_PASSWORD\}, and"
    ) as caught:
        read_environment(tmp_path)
    assert caught.value.data["variable"] == "DB_PASSWORD"


def test_a_process_may_be_for_some_of_the_systems(tmp_path: Path) -> None:
    """One image serves one system here and another there."""
    write(tmp_path, '[tool.bedplate.systems]\nshop = "a:s"\nbooks = "b:s"\npress = "c:s"\n')

    def names(value: str) -> list[str]:
        project = Project.find({"BEDPLATE_SYSTEMS": value}, tmp_path)
        return [entry.name for entry in project.systems]

    assert names("press, shop") == ["shop", "press"]
    assert names("") == ["shop", "books", "press"]
    with pytest.raises(ProjectError, match="'shopp'") as caught:
        names("shopp")
    assert "books, press, shop" in caught.value.hint
