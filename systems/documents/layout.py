"""Groups a page's lines into blocks: a paragraph is translated as one.

Two lines are one block when nothing speaks against it: their size and weight, the distance between
them, a ruled line, a bullet, a column of their own, or a last line that ends early although the
next word would have fitted. A cell of a table is a block, and columns are never mixed.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence

from systems.documents.block import Block, Box, Style
from systems.documents.lines import FEWEST_WORDS, WORD_GAP, Line, lines_of
from systems.documents.reading import PageText

# In ems, the size of the text, unless it says otherwise.
CLOSE_LEADING = 1.5
# Double spacing, joined only when the text clearly flows on.
WIDE_LEADING = 2.4
INDENT = 2.0
NEAR_MARGIN = 3.0
SAME_SIZE = 0.08
THIN_RULE = 3.0  # points

# What begins a line of its own: an item of a list, a holder of rights.
MARKER = re.compile(r"^(?:(?:\(?\w{1,3}[.)]|[-–—])\s|(?:Copyright )?(?:©|\(c\)) )")
SENTENCE_END = (".", "!", "?", ":", "。", "！", "？")
HYPHENS = ("-", "\u2010", "\u00ad")


def blocks_of(page: PageText) -> list[Block]:
    """The blocks of a page, in the order in which the page shows them."""
    lines = lines_of(page.runs)
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
