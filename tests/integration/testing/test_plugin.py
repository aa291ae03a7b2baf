"""The plugin in a project that is not ours; `docs/testing.md`, which is run, has the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """
[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
"""
SEVERAL = """
[tool.bedplate.systems]
shop = "shop:system"
stock = "stock:system"
"""
FORGOTTEN = """
from bedplate.testing import assert_not_enqueued

async def test_nothing_is_enqueued():
    assert_not_enqueued(None)
"""
USES_A_SYSTEM = """
def test_of_a_system(bedplate_system):
    pass
"""


def run(folder: Path, pyproject: str, test: str) -> subprocess.CompletedProcess[str]:
    """A run of its own of one test in a project of its own."""
    (folder / "pyproject.toml").write_text(PYPROJECT + pyproject)
    (folder / "conftest.py").write_text('pytest_plugins = ["bedplate.pytest_plugin"]\n')
    (folder / "test_it.py").write_text(test)
    kept = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("pyproject", "test", "message"),
    [
        (SEVERAL, USES_A_SYSTEM, "write a fixture bedplate_system_name"),
        ("", FORGOTTEN, "coroutine 'assert_not_enqueued' was never awaited"),
    ],
)
def test_what_would_test_nothing_fails(
    tmp_path: Path, pyproject: str, test: str, message: str
) -> None:
    """The wrong one of several systems, and an assertion that nobody awaits."""
    ended = run(tmp_path, pyproject, test)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert message in ended.stdout
