"""The compose files as the tests read them, and what is wrong with what they refer to.

The schema of compose files knows keys and values, but not whether a service, a volume or a file
that one names is there: `findings` does.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.texts import ROOT

LIBRILABS = ROOT / "systems" / "librilabs" / "docker-compose.yml"
DEPLOY = ROOT / "deploy" / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
# ${NAME} or ${NAME:-default}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}")
LOOPBACK = "127.0.0.1:"


@dataclass(frozen=True)
class ComposeFile:
    """A compose file: its folder, its text, and what the text says."""

    folder: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> "ComposeFile":
        """The file as it is."""
        return cls(path.parent, path.read_text())

    @property
    def document(self) -> dict[str, Any]:
        """Parsed, merges and anchors resolved, each variable replaced by its default."""
        filled = VARIABLE.sub(lambda found: found[2] or "", self.text)
        document: dict[str, Any] = YAML(typ="safe").load(filled)
        return document

    @property
    def services(self) -> dict[str, Any]:
        """Services by name."""
        services: dict[str, Any] = self.document["services"]
        return services

    def built(self) -> dict[str, Any]:
        """The services that run our image."""
        return {name: each for name, each in self.services.items() if "build" in each}


def known_variables(folder: Path) -> set[str]:
    """What the `.env.example` of a system names; for the file of all systems, those of each."""
    example = folder / ".env.example"
    examples = [example] if example.is_file() else (ROOT / "systems").glob("*/.env.example")
    return {
        line.lstrip("# ").split("=")[0]
        for each in examples
        for line in each.read_text().splitlines()
        if "=" in line
    }


def findings(file: ComposeFile) -> list[str]:
    """One line for each thing that a start would stumble over, or that is not as we want it."""
    document = file.document
    found = [*_of_variables(file), *_of_unused(document)]
    for name, service in document["services"].items():
        found += [f"{name}: {line}" for line in _of_service(file, document, service)]
    return found


def _of_variables(file: ComposeFile) -> Iterator[str]:
    known = known_variables(file.folder)
    for found in VARIABLE.finditer(file.text):
        if found[1] not in known:
            yield f"{found[1]} is not in .env.example"
        if not found[2]:
            yield f"{found[1]} has no default"


def _of_unused(document: Mapping[str, Any]) -> Iterator[str]:
    mounted = {
        _source(mount)
        for service in document["services"].values()
        for mount in service.get("volumes", [])
    }
    for volume in document.get("volumes") or {}:
        if volume not in mounted:
            yield f"volume {volume} is used by nothing"


def _of_service(
    file: ComposeFile, document: Mapping[str, Any], service: Mapping[str, Any]
) -> Iterator[str]:
    yield from _of_dependencies(document["services"], service)
    yield from _of_places(file.folder, document, service)
    yield from _of_image(file.folder, service)
    for port in service.get("ports", []):
        if not str(port).startswith(LOOPBACK):
            yield f"port {port} is open to the network"
    for network in service.get("networks", []):
        if network not in (document.get("networks") or {}):
            yield f"network {network} is not defined"
    is_one_shot = service.get("restart") == "no"
    if "healthcheck" not in service and not is_one_shot:
        yield "has no health check"
    if service.get("restart") is None:
        yield "does not say when it is restarted"


def _of_dependencies(services: Mapping[str, Any], service: Mapping[str, Any]) -> Iterator[str]:
    for name, dependency in service.get("depends_on", {}).items():
        if name not in services:
            yield f"depends on {name}, which is not defined"
            continue
        condition = dependency["condition"]
        if condition == "service_healthy" and "healthcheck" not in services[name]:
            yield f"waits for {name}'s health, which nothing checks"
        if condition == "service_completed_successfully" and services[name]["restart"] != "no":
            yield f"waits for the end of {name}, which is restarted"


def _of_places(
    folder: Path, document: Mapping[str, Any], service: Mapping[str, Any]
) -> Iterator[str]:
    for mount in service.get("volumes", []):
        source = _source(mount)
        if source.startswith("."):
            if not (folder / source).exists():
                yield f"mounts {source}, which is not there"
        elif source not in (document.get("volumes") or {}):
            yield f"volume {source} is not defined"


def _of_image(folder: Path, service: Mapping[str, Any]) -> Iterator[str]:
    build = service.get("build")
    if build is not None:
        dockerfile = folder / build["context"] / build["dockerfile"]
        if not dockerfile.is_file():
            yield f"is built from {build['dockerfile']}, which is not there"
        elif is_root(last_user(dockerfile.read_text())):
            yield "runs as root"
        return
    image = service["image"]
    if ":" not in image or image.endswith(":latest"):
        yield f"image {image} names no version"
    if is_root(service.get("user")):
        yield "runs as root"


def is_root(user: str | None) -> bool:
    """Whether a USER, or none, is root."""
    return str(user or "root").split(":")[0] in ("root", "0")


def last_user(dockerfile: str) -> str | None:
    """The USER that the last stage ends with."""
    stage = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[-1]
    users: list[str] = re.findall(r"^USER (\S+)", stage, re.MULTILINE)
    return users[-1] if users else None


def _source(mount: str) -> str:
    return mount.split(":")[0]
