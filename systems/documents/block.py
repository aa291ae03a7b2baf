"""What a page is made of, for those who translate it: blocks of text with their places.

Coordinates are points (1/72 inch) from the top left corner of the page as a reader sees it, turned
and cropped, so that a browser draws them as they are.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the page; `top` is smaller than `bottom`."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """Halfway between left and right."""
        return (self.left + self.right) / 2

    def joined(self, other: "Box") -> "Box":
        """The smallest box around both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def overlaps_across(self, other: "Box") -> bool:
        """Whether a vertical line meets both."""
        return self.left < other.right and other.left < self.right

    def overlaps_down(self, other: "Box") -> bool:
        """Whether a horizontal line meets both."""
        return self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True, slots=True)
class Style:
    """How a run of text looks. `color` is red, green, blue, 0 to 255; `size` is in points."""

    size: float
    is_bold: bool = False
    is_italic: bool = False
    color: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Run:
    """Characters that one operator of the page shows on one baseline and without a gap.

    `shows` is the number of that operator on the page, in the order in which a reader meets them.
    """

    text: str
    box: Box
    baseline: float
    style: Style
    shows: int


@dataclass(slots=True)
class Block:
    """A paragraph, a heading, a cell, an item of a list: what is translated as one.

    `lines` are the boxes of its lines, `baselines` where they stand; `shows` are the operators that
    it is made of.
    """

    text: str
    box: Box
    style: Style
    lines: list[Box] = field(default_factory=list)
    baselines: list[float] = field(default_factory=list)
    shows: frozenset[int] = frozenset()

    @property
    def is_wordless(self) -> bool:
        """A page number, a bullet, a rule of dashes: nothing that could be translated."""
        return not any(character.isalpha() for character in self.text)

    @property
    def leading(self) -> float:
        """From baseline to baseline, in ems; 1.2 for a single line."""
        if len(self.baselines) < 2:
            return 1.2
        apart = (self.baselines[-1] - self.baselines[0]) / (len(self.baselines) - 1)
        return min(max(apart / self.style.size, 1.0), 2.4)

    def coordinates(self) -> dict[str, Any]:
        """As kept in the database."""
        return {
            "left": round(self.box.left, 2),
            "top": round(self.box.top, 2),
            "right": round(self.box.right, 2),
            "bottom": round(self.box.bottom, 2),
            "font_size": round(self.style.size, 2),
        }
