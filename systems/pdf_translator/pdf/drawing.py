"""Draws translations on pages of their own, which are then laid over the original's.

By reportlab, in Fira Sans (OFL, four faces, of which only the glyphs that are used go into the
file): Latin, Greek and Cyrillic. A letter that it lacks is refused, never drawn as a box.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import median

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from systems.documents.block import Block, Box, Style
from systems.documents.limits import PdfRefusedError, Reason
from systems.pdf_translator.pdf.fitting import Fitted, fit
from systems.pdf_translator.pdf.room import Alignment

FACES = {
    (False, False): "Regular",
    (True, False): "Bold",
    (False, True): "Italic",
    (True, True): "BoldItalic",
}
# Letters of our font are wider than those of most books: so much smaller they read as large.
NARROWEST = 0.85
# How far all texts of one size shrink with the longest; one that needs more shrinks alone.
MOST_SHRUNK = 0.92
# For signs that the font lacks and no word needs; what they stand for stays visible.
SUBSTITUTE = "•"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A block's new text, and where it may stand."""

    block: Block
    text: str
    room: Box
    alignment: Alignment


class Overlay:
    """A PDF whose pages hold nothing but new text."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._canvas = Canvas(self._file, pageCompression=1, invariant=1)

    def add_page(self, width: float, height: float, texts: Iterable[Drawn]) -> None:
        """A page with these texts. Raises `PdfRefusedError` when a letter cannot be drawn."""
        self._canvas.setPageSize((width, height))
        for drawn, font, fitted in _set_alike([(each, *_prepared(each)) for each in texts]):
            self._draw(drawn, font, fitted, height)
        self._canvas.showPage()

    def finished(self) -> bytes:
        """The whole PDF."""
        self._canvas.save()
        return self._file.getvalue()

    def _draw(self, drawn: Drawn, font: str, fitted: Fitted, page_height: float) -> None:
        style = drawn.block.style
        first = drawn.block.baselines[0]
        if len(fitted.lines) > 1:
            # Shrunk text hangs from the same height; a single line stands in its row.
            first -= 0.75 * (style.size - fitted.size)
        self._canvas.setFillColorRGB(*(part / 255 for part in style.color))
        for index, line in enumerate(fitted.lines):
            baseline = first + index * drawn.block.leading * fitted.size
            self._line(line, font, fitted.size, drawn, page_height - baseline)

    def _line(self, line: str, font: str, size: float, drawn: Drawn, height: float) -> None:
        width = pdfmetrics.stringWidth(line, font, size)
        room = drawn.room.width
        left = drawn.room.left
        if drawn.alignment is Alignment.CENTER:
            left = drawn.block.box.middle - min(width, room) / 2
        words = self._canvas.beginText(left, height)
        words.setFont(font, size)
        if width > room * 1.001:
            words.setHorizScale(100 * room / width)
        words.textOut(line)
        self._canvas.drawText(words)


def _prepared(drawn: Drawn) -> tuple[str, str]:
    font = face(drawn.block.style)
    return drawable(drawn.text, font), font


def _set_alike(texts: Sequence[tuple[Drawn, str, str]]) -> Iterator[tuple[Drawn, str, Fitted]]:
    """Texts that were of one size stay so: as small as the one that needs most, within bounds.

    Else every paragraph and every cell of a table would have a size of its own.
    """
    alike: dict[tuple[float, bool], list[tuple[Drawn, str, str]]] = {}
    for each in texts:
        style = each[0].block.style
        alike.setdefault((round(style.size, 1), style.is_bold), []).append(each)
    for group in alike.values():
        size = group[0][0].block.style.size * _narrowing(group)
        fitted = [fitted_into(*each, size) for each in group]
        common = max(min(each.size for each in fitted), MOST_SHRUNK * size)
        for each, fits in zip(group, fitted, strict=True):
            is_larger = fits.size > common
            yield each[0], each[2], fitted_into(*each, common) if is_larger else fits


def _narrowing(group: Sequence[tuple[Drawn, str, str]]) -> float:
    """How much smaller our letters must be to run as narrow as the original's did."""
    ratios = []
    for drawn, _text, font in group:
        ours = pdfmetrics.stringWidth(drawn.block.text, font, drawn.block.style.size)
        if ours:
            ratios.append(sum(line.width for line in drawn.block.lines) / ours)
    return min(max(median(ratios), NARROWEST), 1.0) if ratios else 1.0


def fitted_into(drawn: Drawn, text: str, font: str, size: float) -> Fitted:
    """The text at the largest size, up to `size`, at which it fits into its room."""
    block, room = drawn.block, drawn.room
    # A line needs its size, and its descenders may hang below as the original's did.
    height = room.height * 1.02
    return fit(text, room.width * 1.001, height, size, block.leading, _measure(font))


def face(style: Style) -> str:
    """The name of the face for a style, loaded when first used."""
    return _loaded(FACES[style.is_bold, style.is_italic])


def drawable(text: str, font: str) -> str:
    """The text with what the font lacks replaced. Raises `PdfRefusedError` for a letter."""
    known = pdfmetrics.getFont(font).face.charToGlyph
    missing = {character for character in text if ord(character) not in known} - {" "}
    letters = sorted(character for character in missing if character.isalpha())
    if letters:
        raise PdfRefusedError(Reason.NO_FONT, f"It lacks {' '.join(letters[:10])}.")
    return text.translate({ord(character): SUBSTITUTE for character in missing})


@cache
def _loaded(name: str) -> str:
    font = f"FiraSans-{name}"
    file = files("fontpkg_fira_sans") / "files" / f"{font}.ttf"
    pdfmetrics.registerFont(TTFont(font, io.BytesIO(file.read_bytes())))
    return font


@cache
def _measure(font: str) -> Callable[[str], float]:
    return lambda text: pdfmetrics.stringWidth(text, font, 1)
