"""The Dockerfile as the tests read it: instructions, what is wrong with them, what is copied."""

import fnmatch
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.compose import is_root, last_user
from tests.texts import ROOT

PYTHON = "python:3.14-slim"


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined."""

    word: str
    rest: str
    stage: int


def instructions(dockerfile: str) -> list[Instruction]:
    """All of them, in order; comments are none."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found: list[Instruction] = []
    stage = -1
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        word, rest = line.split(maxsplit=1)
        stage += word == "FROM"
        found.append(Instruction(word, " ".join(rest.split()), stage))
    return found


def findings(dockerfile: str) -> list[str]:
    """One line for each thing that is not as we want it."""
    found = instructions(dockerfile)
    lines = [line for each in found for line in _of(each)]
    if max(each.stage for each in found) < 1:
        lines.append("has one stage: what builds would be shipped")
    if is_root(last_user(dockerfile)):
        lines.append("ends as root")
    return lines


def _of(each: Instruction) -> Iterator[str]:
    if each.word == "FROM":
        yield from _of_base(each.rest.split()[0])
    elif each.word == "ADD":
        yield "ADD fetches and unpacks; COPY says what it does"
    elif each.word == "WORKDIR" and not each.rest.startswith("/"):
        yield f"WORKDIR {each.rest} is relative"
    elif each.word == "RUN" and "pip install" in each.rest:
        for wanted in ("-c constraints.txt", "--no-cache-dir", "--only-binary=:all:"):
            if wanted not in each.rest:
                yield f"pip install without {wanted}"
    elif each.word in ("CMD", "ENTRYPOINT") and not each.rest.startswith("["):
        yield f"{each.word} runs in a shell, which keeps signals from the process"
    elif each.word in ("ENV", "ARG") and re.search(r"PASSWORD|SECRET|TOKEN|_URL", each.rest):
        yield f"{each.word} keeps a secret or an address in the image"
    elif each.word == "COPY" and not each.rest.startswith("--from="):
        yield from _of_copy(each.rest.split()[:-1])


def _of_base(base: str) -> Iterator[str]:
    if base != PYTHON:
        yield f"FROM {base} is not {PYTHON}"


def _of_copy(sources: list[str]) -> Iterator[str]:
    for source in sources:
        if not (ROOT / source).exists():
            yield f"copies {source}, which is not there"
        elif not is_sent(source):
            yield f"copies {source}, which .dockerignore leaves out"


def is_sent(path: str) -> bool:
    """Whether a path is given to the build: the last pattern of .dockerignore that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = path.split("/")
        starts = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        names = [*starts, *parts] if pattern.startswith("**/") else starts
        if any(fnmatch.fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
            sent = line.startswith("!")
    return sent


def command() -> list[str]:
    """What the image runs when it is told nothing."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    (found,) = [each.rest for each in instructions(dockerfile) if each.word == "CMD"]
    arguments: list[str] = json.loads(found)
    return arguments


def fill(folder: Path) -> None:
    """Put into a folder what the last stage has in its working folder, and nothing else."""
    found = instructions((ROOT / "deploy" / "Dockerfile").read_text())
    last = max(each.stage for each in found)
    for each in found:
        if each.word != "COPY" or each.stage != last or each.rest.startswith("--from="):
            continue
        *sources, target = each.rest.split()
        for source in sources:
            _copy(ROOT / source, folder / target)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=_left_out)
    else:
        shutil.copy(source, target)


def _left_out(folder: str, names: list[str]) -> set[str]:
    within = Path(folder).relative_to(ROOT).as_posix()
    return {name for name in names if not is_sent(f"{within}/{name}")}
