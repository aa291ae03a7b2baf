"""How much room a translation has: the place of its block, and the free space beside and below it.

A paragraph keeps its width, a single line may grow to the right; both may grow down to whatever
comes next: another block, a ruled line, the edge of the cell or box that it stands in, the margin.
"""

from collections.abc import Sequence
from enum import Enum

from systems.documents.block import Block, Box

GAP = 2.0  # points between two texts
# Between a text that grew and what stands below it, in ems.
BETWEEN = 0.4
# How far from the middle of the page a line may be and count as centered, in ems.
CENTERED = 0.5


class Alignment(Enum):
    """Where the lines of a block begin or end."""

    LEFT = "left"
    CENTER = "center"


def alignment_of(block: Block, page_width: float) -> Alignment:
    """Centered: lines of different length about one middle, or one line in the page's middle."""
    em = block.style.size
    if len(block.lines) == 1:
        is_middle = abs(block.box.middle - page_width / 2) < CENTERED * em
        is_free = block.box.left > 0.2 * page_width
        return Alignment.CENTER if is_middle and is_free else Alignment.LEFT
    first = block.lines[0]
    same_middle = all(abs(line.middle - first.middle) < CENTERED * em for line in block.lines)
    lefts = [line.left for line in block.lines]
    is_ragged = max(lefts) - min(lefts) > em
    return Alignment.CENTER if same_middle and is_ragged else Alignment.LEFT


def room_for(block: Block, others: Sequence[Block], edges: Sequence[Box], page: Box) -> Box:
    """Where the block's translation may stand. `page` is the box around all text of the page."""
    box = block.box
    frame = _frame(box, edges, page)
    right = box.right if len(block.lines) > 1 else max(frame.right, box.right)
    beside = [other.box for other in others if other is not block and _is_right_of(other.box, box)]
    beside += [edge for edge in edges if edge.width < GAP and _is_right_of(edge, box)]
    right = min([right, *(each.left - GAP for each in beside)])
    wide = Box(box.left, box.top, max(right, box.right), box.bottom)
    below = [other.box for other in others if other is not block and _is_below(other.box, wide)]
    below += [edge for edge in edges if edge.height < GAP and _is_below(edge, wide)]
    bottom = min([frame.bottom, *(each.top - BETWEEN * block.style.size for each in below)])
    return Box(wide.left, wide.top, wide.right, max(bottom, box.bottom))


def _frame(box: Box, edges: Sequence[Box], page: Box) -> Box:
    """The smallest drawn box around the block, such as its cell; else the text's own area."""
    around = [
        edge
        for edge in edges
        if edge.height > box.height
        and edge.left <= box.left
        and edge.right >= box.right
        and edge.top <= box.top + GAP
        and edge.bottom >= box.bottom - GAP
    ]
    if not around:
        return page
    frame = min(around, key=lambda edge: edge.width * edge.height)
    return Box(frame.left, frame.top, min(frame.right - GAP, page.right), frame.bottom)


def _is_right_of(other: Box, box: Box) -> bool:
    return other.left >= box.right - GAP and other.overlaps_down(box)


def _is_below(other: Box, box: Box) -> bool:
    return other.top >= box.bottom - GAP and other.overlaps_across(box)
