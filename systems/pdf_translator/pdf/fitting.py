"""Makes a text fit where another stood: wrapped, and shrunk when that does not suffice. Never cut.

Knows widths by the function that it is given: the width in points of a text at a size of 1 point.
"""

from collections.abc import Callable
from dataclasses import dataclass

Measure = Callable[[str], float]

# Each step down; a quarter of the size is reached after 27 of them.
STEP = 0.95
# Words are broken only when a text this much smaller would not fit either.
BREAK_WORDS_BELOW = 0.7
SMALLEST = 1.0  # points


@dataclass(frozen=True, slots=True)
class Fitted:
    """The lines of a text, and the size in points at which they fit."""

    size: float
    lines: list[str]


def fit(
    text: str, width: float, height: float, size: float, leading: float, measure: Measure
) -> Fitted:
    """The largest size, up to `size`, at which the text fits into the width and the height.

    All in points, but `leading`, in ems. A text for which no readable size is small enough is set
    at 1 point and squeezed by whoever draws it: nothing is left out.
    """
    candidate = size
    while True:
        may_break = candidate < size * BREAK_WORDS_BELOW
        lines = wrap(text, width / candidate, measure, may_break=may_break)
        if lines is not None:
            needed = (1.0 + leading * (len(lines) - 1)) * candidate
            if needed <= height or candidate <= SMALLEST:
                return Fitted(candidate, lines)
        if candidate <= SMALLEST:
            return Fitted(candidate, [text])
        candidate = max(candidate * STEP, SMALLEST)


def wrap(text: str, width: float, measure: Measure, *, may_break: bool) -> list[str] | None:
    """The text in lines of at most this width; None when a word is wider and may not be broken."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if measure(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        if measure(word) <= width:
            continue
        if not may_break:
            return None
        *whole, line = _pieces(word, width, measure)
        lines.extend(whole)
    return [*lines, line] if line else lines


def _pieces(word: str, width: float, measure: Measure) -> list[str]:
    pieces = [""]
    for character in word:
        if pieces[-1] and measure(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces
