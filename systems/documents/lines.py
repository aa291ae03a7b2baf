"""Finds a page's lines: runs that stand on one baseline and read on, and what stands beside them.

A wide gap, a bullet and dotted leaders end a line. Lines beside others are cells of a table, or
stand in a column of prose whose right edge they then know. Called by `layout.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from systems.documents.block import Box, Run, Style
from systems.documents.reading import BULLETS

# In ems, the size of the text, unless it says otherwise.
SAME_LINE = 0.35
# The mark of a footnote, raised, belongs to its line.
RAISED = 0.6
SMALL_PRINT = 0.8
WORD_GAP = 1.0
SPACE = 0.15
BULLET_GAP = 3.0
# Of a column of prose: so much of its lines is full, and so many words stand in each.
FULL_LINE = 0.7
FEWEST_WORDS = 3

DOTS = frozenset(".·…_ ")
FEWEST_DOTS = 4


@dataclass(slots=True)
class Line:
    """Runs that stand on one baseline and read on."""

    runs: list[Run]
    is_item: bool = False
    has_leader: bool = False
    right_neighbour: float | None = None
    has_neighbour: bool = False
    # Beside others: the right edge of the column of prose that it is part of; None in a table.
    column_right: float | None = None
    box: Box = field(init=False)
    # That of most of its characters, and where its largest run stands.
    style: Style = field(init=False)
    baseline: float = field(init=False)

    def __post_init__(self) -> None:
        self.box = self.runs[0].box
        for run in self.runs[1:]:
            self.box = self.box.joined(run.box)
        self.style = max(self.runs, key=lambda run: len(run.text)).style
        self.baseline = max(self.runs, key=lambda run: run.style.size).baseline

    @property
    def is_bullet(self) -> bool:
        """A bullet and nothing else."""
        return len(self.runs) == 1 and _is_bullet(self.runs[0])

    def text(self) -> str:
        """Its runs, with a space where there is room for one."""
        text = self.runs[0].text
        for before, run in pairwise(self.runs):
            gap = run.box.left - before.box.right
            is_apart = gap > SPACE * run.style.size and not text.endswith(" ")
            text += (" " if is_apart and not run.text.startswith(" ") else "") + run.text
        return " ".join(text.split())

    def first_word_width(self) -> float:
        """About how much room its first word takes, with the space before it."""
        text = self.text()
        word = text.split(" ", 1)[0]
        return self.box.width * (len(word) + 1) / max(len(text), 1)


def lines_of(runs: Sequence[Run]) -> list[Line]:
    """Runs of one baseline and without a wide gap, from left to right."""
    rows: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: run.baseline):
        row = next((row for row in reversed(rows[-4:]) if _is_level(row, run)), None)
        if row is None:
            rows.append([run])
        else:
            row.append(run)
    lines = [line for row in rows for line in _split(row)]
    _note_neighbours(lines)
    _note_columns(lines)
    return lines


def _is_level(row: Sequence[Run], run: Run) -> bool:
    smaller, larger = sorted((row[0].style.size, run.style.size))
    reach = RAISED if smaller < SMALL_PRINT * larger else SAME_LINE
    return abs(row[0].baseline - run.baseline) < reach * larger


def _split(row: list[Run]) -> list[Line]:
    row.sort(key=lambda run: run.box.left)
    leaders = _leaders(row)
    parts: list[list[Run]] = [[row[0]]]
    for run in row[1:]:
        last = parts[-1][-1]
        gap = run.box.left - last.box.right
        is_far = gap > WORD_GAP * max(run.style.size, last.style.size)
        is_other = (id(run) in leaders) != (id(last) in leaders)
        if is_far or is_other or _is_bullet(run) or _is_bullet(last):
            parts.append([run])
        else:
            parts[-1].append(run)
    # In a table of contents each line is an entry.
    lines = [Line(part, has_leader=bool(leaders)) for part in parts]
    for before, line in pairwise(lines):
        gap = line.box.left - before.box.right
        line.is_item = before.is_bullet and gap < BULLET_GAP * line.style.size
    return lines


def _leaders(row: Sequence[Run]) -> frozenset[int]:
    """The dots that lead to a page's number, each of which may be a run of its own."""
    found: set[int] = set()
    for is_dots, group in groupby(row, key=lambda run: set(run.text) <= DOTS):
        runs = list(group)
        if is_dots and sum(len(run.text.replace(" ", "")) for run in runs) >= FEWEST_DOTS:
            found.update(map(id, runs))
    return frozenset(found)


def _is_bullet(run: Run) -> bool:
    return run.text.strip() in BULLETS


def _note_neighbours(lines: Sequence[Line]) -> None:
    """Which lines have others beside them, and where the next one to the right begins."""
    by_top = sorted(lines, key=lambda line: line.box.top)
    for index, line in enumerate(by_top):
        for other in by_top[index + 1 :]:
            if other.box.top >= line.box.bottom:
                break
            if abs(other.baseline - line.baseline) < SAME_LINE * line.style.size:
                _note_beside(line, other)


def _note_beside(line: Line, other: Line) -> None:
    if line.is_bullet or other.is_bullet:
        return
    left, right = (line, other) if line.box.left <= other.box.left else (other, line)
    left.has_neighbour = right.has_neighbour = True
    if left.right_neighbour is None or right.box.left < left.right_neighbour:
        left.right_neighbour = right.box.left


def _note_columns(lines: Sequence[Line]) -> None:
    """Tell columns of prose, whose lines are full, from columns of a table, whose lines are not."""
    beside = sorted((line for line in lines if line.has_neighbour), key=lambda line: line.box.left)
    for _, group in groupby(beside, key=lambda line: round(line.box.left / line.style.size)):
        column = list(group)
        widest = max(line.box.width for line in column)
        full = sum(line.box.width > FULL_LINE * widest for line in column)
        words = sum(line.text().count(" ") + 1 for line in column)
        if full > FULL_LINE * len(column) and words >= FEWEST_WORDS * len(column):
            right = max(line.box.right for line in column)
            for line in column:
                line.column_right = right
