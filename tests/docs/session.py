"""One page, followed from its beginning to its end as a reader would, in a folder of its own.

Files are written, commands typed and their output compared, Python run with the variables of a
real stack, SQL executed on a migrated database and rolled back, the rest parsed.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from ruamel.yaml import YAML

from bedplate.settings import Settings
from tests.docs import program
from tests.docs.compare import differences
from tests.docs.pages import ROOT, Block, Page
from tests.docs.terminal import Terminal

TYPED = {"console", "sh", "bash", "shell"}
# Nothing to run: what is shown, or drawn.
LOOKED_AT = {"text", "mermaid"}
DIAGRAMS = ("erDiagram", "sequenceDiagram", "flowchart", "graph", "stateDiagram", "classDiagram")
# A page leaves out what is a secret, or differs for everybody.
LEFT_OUT = "left-out-of-the-page-and-long-enough-for-a-key"
# What a clone does not have.
NOT_CLONED = {".bedplate", ".env", ".git"}
COMMENT = re.compile(r"\s+# .*$")
OURS = re.compile(r"(BEDPLATE_|TEST_|AWS_|PG|S3_)|(DATABASE|REDIS)_|.*_(DATABASE|REDIS)_URL$")


@dataclass
class Session:
    """Runs a page in `folder`. `variables` of a stack and `execute` of SQL are asked for late."""

    page: Page
    folder: Path
    variables: Callable[[bool], Mapping[str, str]]
    execute: Callable[[str], None]
    # Whose commands are typed; a newcomer has none of them yet, and installs them as the page says.
    tools: Path | None = Path(sys.executable).parent
    typed: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Follow the whole page."""
        port = _free_port()
        with Terminal(self._start_folder(), self._terminal_variables(port)) as terminal:
            try:
                for block in self.page.blocks:
                    if self._is_followed(block):
                        self._follow(block, terminal, port)
            except AssertionError as error:
                raise AssertionError(f"{block.where}: {error}") from None
            finally:
                terminal.interrupt()
                if any("bedplate" in command for command in self.typed):
                    terminal.type("bedplate down || true")
        self._run_programs()

    def _is_followed(self, block: Block) -> bool:
        if self.tools is None:
            return block.said("not run") is None
        return not block.is_elsewhere

    def _start_folder(self) -> Path:
        if self.page.is_in_project:
            for entry in ROOT.iterdir():
                if entry.name not in NOT_CLONED:
                    (self.folder / entry.name).symlink_to(entry)
        return self.folder

    def _terminal_variables(self, port: int) -> dict[str, str]:
        """A newcomer's: nothing of ours is set, and `bedplate` is on the path."""
        kept = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        kept.pop("CI", None)
        return kept | {
            "PATH": f"{self.tools}:{os.environ['PATH']}" if self.tools else _bare_path(),
            "BEDPLATE_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            "COLUMNS": "100",
        }

    def _follow(self, block: Block, terminal: Terminal, port: int) -> None:
        if block.said("press Ctrl-C") is not None:
            terminal.interrupt()
        if block.language in TYPED:
            for command, shown in commands(block):
                at_port = command.replace(":8000", f":{port}")
                self.typed.append(command)
                if block.said("soon") is not None:
                    terminal.type_until(at_port, shown or "")
                else:
                    terminal.type(at_port, shown, int(block.said("exit status") or 0))
        else:
            check(block)
            if block.language == "sql":
                self.execute(block.text)
            elif block.file is not None:
                write(terminal.folder / block.file, block)

    def _run_programs(self) -> None:
        """All Python that is no file, in one process and one namespace."""
        blocks = [block for block in self.page.blocks if is_program(block)]
        if not blocks:
            return
        preamble = [(str(self.page.path), 1, self.page.preamble)] if self.page.preamble else []
        listed = [*preamble, *((str(block.page), block.line, block.text) for block in blocks)]
        path = self.folder / "page.json"
        path.write_text(json.dumps(listed))
        kept = self._terminal_variables(_free_port())
        done = subprocess.run(
            [sys.executable, "-W", "error", program.__file__, path],
            cwd=self.folder,
            env=kept
            | {"PYTHONPATH": str(self.folder)}
            | dict(self.variables("file" in str(listed))),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        printed = done.stdout.split(f"{program.MARK}\n")[len(preamble) :]
        for block, seen in zip(blocks, printed, strict=False):
            self._compare_printed(block, seen)

    def _compare_printed(self, block: Block, seen: str) -> None:
        at = self.page.blocks.index(block) + 1
        following = self.page.blocks[at] if at < len(self.page.blocks) else None
        if following and following.language == "text" and following.before.endswith("prints:"):
            difference = differences(following.text, seen)
            assert difference is None, f"{following.where}: {difference}"


def write(path: Path, block: Block) -> None:
    """Make a block the content of its file, or its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    above = path.read_text(encoding="utf-8") if block.is_added else ""
    path.write_text(above + block.text, encoding="utf-8")


def is_program(block: Block) -> bool:
    """Python that is run as it stands there, and not from a file by a command."""
    return block.language in {"python", "py"} and not block.is_elsewhere and block.file is None


def commands(block: Block) -> Iterator[tuple[str, str | None]]:
    """What is typed, and what is shown of its output; None where a block shows none at all."""
    text = block.text.replace("\\\n", "")
    if block.language != "console":
        for line in text.splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield COMMENT.sub("", line), None
        return
    first, *rest = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not first.strip(), f"begins without a `$ `: {first!r}"
    for part in rest:
        command, _, shown = part.partition("\n")
        yield COMMENT.sub("", command), shown


def check(block: Block) -> None:
    """Parse what is not run. Raises AssertionError."""
    if block.language in LOOKED_AT:
        is_drawn = block.text.lstrip().startswith(DIAGRAMS)
        assert block.language == "text" or is_drawn, "no diagram that is known"
        return
    parser = PARSERS.get(block.language)
    assert parser is not None, f"no test runs {block.language or 'a block without a language'!r}"
    try:
        parser(block)
    except (ValueError, SyntaxError) as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def _parse_python(block: Block) -> None:
    import ast

    compile(block.text, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def _parse_variables(block: Block) -> None:
    text = re.sub(r"\$\{\{\w+\.DATABASE_URL\}\}", f"postgres://u:{LEFT_OUT}@h/d", block.text)
    text = re.sub(r"\$\{\{\w+\.REDIS_URL\}\}", "redis://h", text).replace("…", LEFT_OUT)
    values = dotenv_values(stream=StringIO(text))
    assert values, "sets nothing"
    Settings.load(variables={name: value for name, value in values.items() if value})


def _nothing(block: Block) -> None:
    """It is executed."""


PARSERS: dict[str, Callable[[Block], object]] = {
    "python": _parse_python,
    "py": _parse_python,
    "json": lambda block: json.loads(block.text),
    "toml": lambda block: tomllib.loads(block.text),
    "yaml": lambda block: YAML(typ="safe").load(block.text),
    "env": _parse_variables,
    "dotenv": _parse_variables,
    "sql": _nothing,
}


def _bare_path() -> str:
    """The path without this environment's tools; `python3` is the Python that it was made from."""
    own = Path(sys.prefix).resolve()
    folders = [Path(each) for each in os.environ["PATH"].split(":") if each]
    kept = [each for each in folders if own not in each.resolve().parents]
    return ":".join([str(Path(sys.base_prefix) / "bin"), *map(str, kept)])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
