"""Groups a page's runs into lines and its lines into blocks: a paragraph is translated as one.

Two lines are one block when nothing speaks against it: their size and weight, the distance between
them, a ruled line, a bullet, a column of their own, or a last line that ends early although the
next word would have fitted. A cell of a table is a block, and columns are never mixed.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from systems.documents.block import Block, Box, Run, Style
from systems.documents.reading import BULLETS, PageText

# In ems, the size of the text, unless it says otherwise.
SAME_LINE = 0.35
# The mark of a footnote, raised, belongs to its line.
RAISED = 0.6
SMALL_PRINT = 0.8
WORD_GAP = 1.0
SPACE = 0.15
CLOSE_LEADING = 1.5
# Double spacing, joined only when the text clearly flows on.
WIDE_LEADING = 2.4
INDENT = 2.0
BULLET_GAP = 3.0
NEAR_MARGIN = 3.0
SAME_SIZE = 0.08
THIN_RULE = 3.0  # points
# Of a column of prose: so much of its lines is full, and so many words stand in each.
FULL_LINE = 0.7
FEWEST_WORDS = 3

# What begins a line of its own: an item of a list, a holder of rights.
MARKER = re.compile(r"^(?:(?:\(?\w{1,3}[.)]|[-–—])\s|(?:Copyright )?(?:©|\(c\)) )")
SENTENCE_END = (".", "!", "?", ":", "。", "！", "？")
DOTS = frozenset(".·…_ ")
FEWEST_DOTS = 4
HYPHENS = ("-", "\u2010", "\u00ad")


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


def blocks_of(page: PageText) -> list[Block]:
    """The blocks of a page, in the order in which the page shows them."""
    lines = _lines(page.runs)
    _note_neighbours(lines)
    _note_columns(lines)
    margin = max((line.box.right for line in lines), default=0.0)
    rules = _Rules(page.rules)
    open_blocks: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.baseline, line.box.left)):
        above = _nearest(open_blocks, line)
        if above is not None and _belongs(above, line, margin, rules):
            above.append(line)
        else:
            open_blocks.append([line])
    blocks = [_block(lines) for lines in open_blocks]
    return sorted((block for block in blocks if block.text), key=lambda block: min(block.shows))


def _lines(runs: Sequence[Run]) -> list[Line]:
    """Runs of one baseline and without a wide gap, from left to right."""
    rows: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: run.baseline):
        row = next((row for row in reversed(rows[-4:]) if _is_level(row, run)), None)
        if row is None:
            rows.append([run])
        else:
            row.append(run)
    return [line for row in rows for line in _split(row)]


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


def _nearest(open_blocks: Sequence[list[Line]], line: Line) -> list[Line] | None:
    """The block whose last line stands right above this one."""
    above = None
    for block in reversed(open_blocks):
        last = block[-1]
        if line.baseline - last.baseline > WIDE_LEADING * max(line.style.size, last.style.size):
            continue
        is_above = last.baseline < line.baseline and last.box.overlaps_across(line.box)
        if is_above and (above is None or last.baseline > above[-1].baseline):
            above = block
    return above


def _belongs(block: Sequence[Line], line: Line, margin: float, rules: "_Rules") -> bool:
    last = block[-1]
    if line.is_item or line.is_bullet or last.is_bullet or MARKER.match(line.text()):
        return False
    if line.has_leader or last.has_leader:
        return False
    if not _looks_alike(last.style, line.style) or not _is_aligned(block, line):
        return False
    if rules.is_between(last, line):
        return False
    leading = (line.baseline - last.baseline) / line.style.size
    if leading > CLOSE_LEADING and not _flows_on(block, line, margin):
        return False
    return not _ends_early(block, line, margin)


def _looks_alike(one: Style, other: Style) -> bool:
    is_same_size = abs(one.size - other.size) <= SAME_SIZE * max(one.size, other.size)
    return is_same_size and one.is_bold == other.is_bold


def _is_aligned(block: Sequence[Line], line: Line) -> bool:
    last, em = block[-1], line.style.size
    if abs(last.box.left - line.box.left) <= INDENT * em:
        return True
    return abs(last.box.middle - line.box.middle) <= em


def _flows_on(block: Sequence[Line], line: Line, margin: float) -> bool:
    last = block[-1]
    right = max(*(each.box.right for each in block), line.box.right)
    if len(block) == 1 and not last.has_neighbour:
        # Of two lines alone, the first is always full beside the second.
        right = max(right, margin)
    is_full = last.box.right > right - NEAR_MARGIN * line.style.size
    return is_full and not last.text().endswith(SENTENCE_END)


def _ends_early(block: Sequence[Line], line: Line, margin: float) -> bool:
    """Whether the first word of the line would have fitted at the end of the one before."""
    last = block[-1]
    if last.column_right is not None:
        return last.box.right + line.first_word_width() < last.column_right
    if last.has_neighbour or line.has_neighbour:
        if last.text().count(" ") + 1 < FEWEST_WORDS:
            return True
        beside = min(each.right_neighbour or margin for each in (last, line))
        right = beside - WORD_GAP * line.style.size if beside < margin else margin
        return last.box.right + line.first_word_width() < right
    right = max(*(each.box.right for each in block), line.box.right)
    is_sentence_end = last.text().endswith(SENTENCE_END) and not line.text()[:1].islower()
    return is_sentence_end and last.box.right + line.first_word_width() < right


class _Rules:
    """The ruled lines of a page, by height."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self._boxes = sorted(
            (box for box in boxes if box.height < THIN_RULE and box.width > 2 * THIN_RULE),
            key=lambda box: box.top,
        )
        self._tops = [box.top for box in self._boxes]

    def is_between(self, above: Line, below: Line) -> bool:
        """Whether one is drawn between the two; a stroke under a word is none."""
        start = bisect_left(self._tops, above.baseline)
        for box in self._boxes[start:]:
            if box.top >= below.baseline - 0.5 * below.style.size:
                return False
            is_wide = box.width >= 0.9 * min(above.box.width, below.box.width)
            if is_wide and box.overlaps_across(below.box):
                return True
        return False


def _block(lines: Sequence[Line]) -> Block:
    box = lines[0].box
    for line in lines[1:]:
        box = box.joined(line.box)
    longest = max(lines, key=lambda line: len(line.text()))
    shows = frozenset(run.shows for line in lines for run in line.runs)
    return Block(
        text=_joined(lines),
        box=box,
        style=longest.style,
        lines=[line.box for line in lines],
        baselines=[line.baseline for line in lines],
        shows=shows,
    )


def _joined(lines: Sequence[Line]) -> str:
    text = ""
    for line in lines:
        follows = line.text()
        if _is_hyphenated(text) and follows[:1].islower():
            text = text[:-1] + follows
        else:
            text = f"{text} {follows}"
    return text.strip()


def _is_hyphenated(text: str) -> bool:
    return len(text) > 1 and text.endswith(HYPHENS) and text[-2].isalpha()
