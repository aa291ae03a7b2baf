"""Python 3.14, the image's: every pinned package is there for it on every named platform."""

import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest

from tests.deploy import image
from tests.texts import ROOT

TOOL = ROOT / "tools" / "wheels.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/wheels.py, which is no package."""
    spec = importlib.util.spec_from_file_location("wheels", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_L24_every_pinned_dependency_has_a_wheel_for_python_3_14() -> None:
    """Without one the image's build would need a compiler, or fail."""
    asked = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, check=False)
    if asked.returncode == 3:
        pytest.skip(asked.stderr.strip())
    assert asked.returncode == 0, asked.stderr


def test_L24_the_check_is_for_the_images_python(tool: ModuleType) -> None:
    """The image may move on; the check must follow."""
    assert image.PYTHON.startswith(f"python:{tool.VERSION}-")
    assert {*tool.PLATFORMS} == {"Linux x86-64", "Linux arm64", "macOS arm64"}


def test_a_missing_wheel_is_named(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found among the others by halves, on its platform only."""
    lacking = {("b==2", "Linux arm64")}

    def resolves(wanted: list[str], platform: str, _version: str) -> bool:
        return not any((pin, platform) in lacking for pin in wanted)

    monkeypatch.setattr(tool, "_resolves", resolves)
    monkeypatch.setattr(tool, "pins", lambda: ["a==1", "b==2", "c==3"])
    assert list(tool.missing("3.14")) == [("Linux arm64", "b==2")]
