"""`make … STAND=compose`, with a `docker` that only writes down what it was told."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.texts import ROOT

COMMANDS = {
    "up": "up -d --build --wait",
    "down": "down",
    "status": "ps --all",
    "migrate": "run --rm --build migrate",
    "seed": "run --rm --build api bedplate seed --yes",
}


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where the stand-in writes its arguments; beside it, the folder for PATH."""
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "docker"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    stand_in.chmod(0o755)
    return tmp_path / "told"


@pytest.mark.parametrize("target", COMMANDS)
def test_L23_make_speaks_to_docker_compose(told: Path, target: str) -> None:
    """From a system's folder its own file, from the root the one of all; `up` waits."""
    for folder, file in ((ROOT / "systems" / "librilabs", "systems/librilabs"), (ROOT, "deploy")):
        told.unlink(missing_ok=True)
        assert _make(folder, target, told.parent / "bin").returncode == 0
        version, command = told.read_text().splitlines()
        assert version == "compose version"
        assert command == f"compose -f {file}/docker-compose.yml {COMMANDS[target]}"
        assert (ROOT / file / "docker-compose.yml").is_file()


def test_without_docker_make_says_what_is_missing(told: Path) -> None:
    """Docker without Compose answers with a page of its own usage."""
    (told.parent / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
    refused = _make(ROOT, "up", told.parent / "bin")
    assert refused.returncode != 0
    assert "needs Docker with Compose 2" in refused.stderr


def _make(folder: Path, target: str, tools: Path) -> "subprocess.CompletedProcess[str]":
    # A make that runs this test must not hand its own flags down.
    kept = {name: each for name, each in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", target, "STAND=compose"],
        cwd=folder,
        env=kept | {"PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
