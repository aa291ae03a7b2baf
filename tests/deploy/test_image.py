"""The Dockerfile, which is built by no development machine: held by rules of ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import image
from tests.deploy.compose import DOCKERFILE, LIBRILABS, ComposeFile

TEXT = DOCKERFILE.read_text()

MISTAKES = [
    ("FROM python:3.14-slim\n", "FROM python:3.13-slim\n", "is not python:3.14-slim"),
    ("FROM python:3.14-slim\n", "FROM registry.example/python:3.14-slim\n", "is not python"),
    ("USER 10001:10001\n", "", "ends as root"),
    ("USER 10001:10001\n", "USER 10001\nUSER root\n", "ends as root"),
    (" -c constraints.txt", "", "pip install without -c constraints.txt"),
    ("COPY src src", "COPY source source", "which is not there"),
    ("COPY src src", "COPY tests tests", "which .dockerignore leaves out"),
    ("COPY src src", "ADD src src", "ADD"),
    ("WORKDIR /app", "WORKDIR app", "is relative"),
    ("PYTHONUNBUFFERED=1", "DATABASE_URL=postgresql://a:b@c/d", "keeps a secret"),
    ('CMD ["bedplate", "serve"', "CMD bedplate serve #", "runs in a shell"),
]


def test_dockerfile_keeps_the_rules() -> None:
    """Two stages, nobody root, versions pinned, nothing copied that is not there."""
    assert image.findings(TEXT) == []


def test_dockerfile_is_linted() -> None:
    """hadolint knows the mistakes of everybody else's."""
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed: make install")
    found = subprocess.run([program, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert found.stdout + found.stderr == ""
    assert found.returncode == 0


@pytest.mark.parametrize(("right", "wrong", "said"), MISTAKES)
def test_a_mistake_in_the_dockerfile_is_found(right: str, wrong: str, said: str) -> None:
    """Each mistake that the rules are for, made once."""
    assert right in TEXT
    found = image.findings(TEXT.replace(right, wrong))
    assert any(said in line for line in found), found


def test_L24_the_image_is_of_python_3_14() -> None:
    """Every stage: a virtual environment that another Python made does not run."""
    bases = [each.rest.split()[0] for each in image.instructions(TEXT) if each.word == "FROM"]
    assert bases == ["python:3.14-slim"] * 2


def test_nothing_private_is_sent_to_the_build() -> None:
    """A password in a layer is read by whoever pulls the image."""
    for path in (".env", "systems/librilabs/.env", ".bedplate/stack.json", ".git/config", "tests"):
        assert not image.is_sent(path), path
    assert image.is_sent("systems/librilabs/app.py")


def test_image_serves_as_the_compose_file_does() -> None:
    """`docker run` without a command is the API."""
    assert image.command() == ComposeFile.read(LIBRILABS).services["api"]["command"]
