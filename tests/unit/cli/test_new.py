"""`bedplate new`: what it writes, and what it refuses."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bedplate.cli.commands.new import write_project
from bedplate.cli.main import run

STYLE = ["--isolated", "--line-length", "100"]


def test_a_project_has_its_name_everywhere(tmp_path: Path) -> None:
    """A placeholder that was forgotten would be a newcomer's first error."""
    written = write_project(tmp_path, "book_shop")
    assert len(written) == 15
    texts = {str(path.relative_to(tmp_path)): path.read_text() for path in written}
    document = tomllib.loads(texts["pyproject.toml"])
    assert document["tool"]["bedplate"]["systems"] == {"book_shop": "book_shop.app:system"}
    assert 'title="Book shop"' in texts["book_shop/app.py"]
    assert not [name for name, text in texts.items() if "$name" in text or "$title" in text]
    # Committed with the project: nothing in it may be this machine's.
    assert not [name for name, text in texts.items() if str(tmp_path) in text]


def test_a_project_is_in_the_houses_style(tmp_path: Path) -> None:
    """What is copied is imitated."""
    write_project(tmp_path, "shop")
    python = [str(path) for path in tmp_path.rglob("*.py")]
    for command in (["check", "--select", "E,F,I,N,RUF,UP,W"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *STYLE, *python],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_what_exists_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typed twice it must cost nobody his work."""
    monkeypatch.chdir(tmp_path)
    assert run(["new", "shop"]) == 0
    (tmp_path / "shop" / "shop" / "routes.py").write_text("mine")
    assert run(["new", "shop", "-o", "json"]) == 1
    assert (tmp_path / "shop" / "shop" / "routes.py").read_text() == "mine"
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["error"]["code"] == "project_invalid"


@pytest.mark.parametrize("name", ["Shop", "my-shop", "1shop", "class", "bedplate", "json", "../x"])
def test_a_name_that_is_no_package_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python would say it later, and less clearly."""
    monkeypatch.chdir(tmp_path)
    assert run(["new", name]) == 1
    assert name in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
