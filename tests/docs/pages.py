"""The pages of the documentation, cut into their fenced blocks, and what a page says of each.

What a page says to the tests stands in comments that no reader sees, on the line before a block:

    <!-- not run: reason -->          it is only looked at; the reasons are listed by `make docs`
    <!-- run by: tests/x/test_y.py -->  a test of its own runs it
    <!-- exit status: 3 -->           its last command fails, as the page says
    <!-- soon -->                    its commands are typed again until they print what is shown
    <!-- press Ctrl-C -->             what was started in the foreground is ended first

and anywhere on the page: `<!-- folder: project -->` (commands are typed in this project's folder,
not in an empty one) and `<!-- preamble … -->` (Python that a reader of the page need not see).
A line that ends in "`name`:" before a block makes the block the content of that file; with
"Add to" in it, the block is added at the file's end.
"""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A fence of three or more; what closes it is at least as long.
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)[^`]*$")
DIRECTIVE = re.compile(r"^<!-- (not run|run by|exit status|soon|press Ctrl-C)(?:: (.*?))? *-->$")
FILE = re.compile(r"`([\w./-]+)`:$")
PREAMBLE = re.compile(r"^<!-- preamble\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
IN_PROJECT = "<!-- folder: project -->"


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is the number of its first line of content."""

    page: Path
    line: int
    language: str
    text: str
    before: str = ""
    directives: tuple[tuple[str, str], ...] = ()

    @property
    def where(self) -> str:
        """Where a person finds it: page and line."""
        return f"{os.path.relpath(self.page, ROOT)}:{self.line}"

    def said(self, directive: str) -> str | None:
        """What the page says of it under that word; None when it says nothing."""
        return dict(self.directives).get(directive)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the page's own run leaves it out."""
        return self.said("not run") is not None or self.said("run by") is not None

    @property
    def file(self) -> str | None:
        """The file that it is the content of."""
        found = FILE.search(self.before)
        return found.group(1) if found and self.language not in ("console", "sh", "text") else None

    @property
    def is_added(self) -> bool:
        """Whether it comes at the end of a file that is there already."""
        return "Add to" in self.before


@dataclass(frozen=True)
class Page:
    """A page and its blocks, in order."""

    path: Path

    @cached_property
    def text(self) -> str:
        """The whole page."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Every fenced block."""
        return tuple(_cut(self.path, self.text.splitlines()))

    @property
    def preamble(self) -> str:
        """What its Python needs, and a reader knows."""
        return "\n".join(PREAMBLE.findall(self.text))

    @property
    def is_in_project(self) -> bool:
        """Whether its commands are for this project's folder."""
        return IN_PROJECT in self.text


def find_pages() -> list[Page]:
    """Every page that a user reads."""
    paths = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "systems").glob("*/README.md"),
    ]
    return [Page(path) for path in sorted(paths)]


def _cut(path: Path, lines: list[str]) -> list[Block]:
    found: list[Block] = []
    at = 0
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if opening is None:
            at += 1
            continue
        end = _find_end(lines, at + 1, opening["ticks"])
        indent = len(opening["indent"])
        directives, before = _look_above(lines[:at])
        content = "".join(f"{line[indent:]}\n" for line in lines[at + 1 : end])
        found.append(Block(path, at + 2, opening["language"], content, before, directives))
        at = end + 1
    return found


def _find_end(lines: list[str], start: int, ticks: str) -> int:
    for at in range(start, len(lines)):
        line = lines[at].strip()
        if line.startswith(ticks) and not line.strip("`"):
            return at
    raise ValueError(f"a block that begins in line {start} has no end")


def _look_above(lines: list[str]) -> tuple[tuple[tuple[str, str], ...], str]:
    """The directives directly above a block, and the line of text above those."""
    directives: list[tuple[str, str]] = []
    for line in reversed(lines):
        found = DIRECTIVE.match(line.strip())
        if found:
            directives.append((found.group(1), found.group(2) or ""))
        elif line.strip():
            return tuple(directives), line.strip()
    return tuple(directives), ""
