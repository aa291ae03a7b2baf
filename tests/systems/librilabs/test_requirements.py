"""requirements.txt: generated, current, without psycopg2, and taken by pip as it stands."""

import importlib.util
import subprocess
import sys

import pytest

from tests.texts import ROOT

FILE = ROOT / "systems" / "librilabs" / "requirements.txt"


def test_L2_generated_requirements_are_current() -> None:
    """A file that pyproject.toml has outgrown would install something else than was tested."""
    check = subprocess.run(
        [sys.executable, "tools/requirements.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, f"{check.stderr}Try: make requirements"


def test_L2_requirements_are_exact_and_hold_asyncpg_alone() -> None:
    """One driver, and the same versions on every machine."""
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    names = {line.split("==")[0].lower() for line in lines}
    assert all("==" in line for line in lines)
    assert {"sqlalchemy", "asyncpg", "alembic", "fastapi", "celery", "redis"} <= names
    assert not {name for name in names if name.startswith("psycopg")}


def test_L2_pip_takes_the_requirements() -> None:
    """`pip install -r requirements.txt`, typed in the system's folder, is satisfied here."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("uv made this environment, without pip")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "-r", FILE.name],
        cwd=FILE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout
