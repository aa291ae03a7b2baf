"""Railway's configuration: the same image, health route and commands as everywhere."""

import json
import shlex
from typing import Any

import pytest

from tests.deploy.compose import LIBRILABS, ComposeFile
from tests.texts import ROOT

FOLDER = ROOT / "deploy" / "railway"
SERVICES = ("api", "relay", "worker")
# Railway's own words; a key that it does not know it ignores without saying so.
KEYS = {
    "build": {"builder", "dockerfilePath"},
    "deploy": {
        "healthcheckPath",
        "healthcheckTimeout",
        "preDeployCommand",
        "restartPolicyType",
        "startCommand",
    },
}


def read(name: str) -> dict[str, Any]:
    """One service's file."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document


@pytest.mark.parametrize("name", SERVICES)
def test_L1_railway_knows_every_key_and_finds_the_image(name: str) -> None:
    """Nothing here is tried before it is deployed."""
    document = read(name)
    assert {*document} == {*KEYS}
    for section, known in KEYS.items():
        assert {*document[section]} <= known
    assert document["build"]["builder"] == "DOCKERFILE"
    assert (ROOT / document["build"]["dockerfilePath"]).is_file()


def test_L1_railway_runs_the_commands_of_the_compose_file() -> None:
    """The migration once, before the new release; the port is the one that Railway chooses."""
    services = ComposeFile.read(LIBRILABS).services
    api = read("api")["deploy"]
    assert [shlex.split(line) for line in api["preDeployCommand"]] == [
        services["migrate"]["command"]
    ]
    shell, flag, line = shlex.split(api["startCommand"])
    assert (shell, flag) == ("/bin/sh", "-c")
    served = shlex.split(line.replace("$PORT", "8000"))
    assert served == ["exec", *services["api"]["command"]]
    assert api["healthcheckPath"] in services["api"]["healthcheck"]["test"][-1]
    for name in ("relay", "worker"):
        assert shlex.split(read(name)["deploy"]["startCommand"]) == services[name]["command"]
