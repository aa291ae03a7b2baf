"""Reads the runs of text of a page by pdfium, with the operator that shows each.

pdfium makes one text object of each operator that shows text, in their order; so the n-th text
object belongs to the n-th operator, which `erasing.py` can take out of the page. Text that is
turned against the page or invisible (under a scan) is left to the page.
"""

import ctypes
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pikepdf
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from systems.documents.block import Box, Run, Style
from systems.documents.limits import PdfLimits, PdfRefusedError, Reason

# pdfium's own word on why a file does not open.
ERRORS = {
    raw.FPDF_ERR_PASSWORD: Reason.ENCRYPTED,
    raw.FPDF_ERR_SECURITY: Reason.ENCRYPTED,
}
INVISIBLE = {raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP}
DEEPEST_FORM = 16
# A gap of this many ems between two characters ends a run: a column or a cell begins.
LONGEST_GAP = 1.0
BOLD_WEIGHT = 600
# What begins an item of a list; it is no part of its text.
BULLETS = frozenset("•‣◦▪▫●○■□➢➤✓✔\uf0b7\uf0a7\u2043\u25e6")
# pdfium's sign for a hyphen at the end of a line.
LINE_END_HYPHEN = 2
HYPHEN = ord("-")
LEADER = re.compile(r"((?:[.·…_] ?){4,})")
# Bits of a font descriptor's Flags, ISO 32000-1, table 123.
ITALIC_FLAG = 1 << 6
FORCE_BOLD_FLAG = 1 << 18


@dataclass(frozen=True, slots=True)
class PageText:
    """The runs of a page, and how many operators show text on it."""

    width: float
    height: float
    runs: list[Run]
    shows: int
    rules: list[Box]


@contextmanager
def opened(path: Path, limits: PdfLimits) -> Iterator[pdfium.PdfDocument]:
    """The document, checked. Raises `PdfRefusedError`."""
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        reason = ERRORS.get(getattr(error, "err_code", None), Reason.DAMAGED)
        if reason is Reason.DAMAGED and _is_empty(path):
            reason = Reason.NO_PAGES
        raise PdfRefusedError(reason) from error
    try:
        if len(document) == 0:
            raise PdfRefusedError(Reason.NO_PAGES)
        if len(document) > limits.pages:
            detail = f"It has {len(document)}, at most {limits.pages} are translated."
            raise PdfRefusedError(Reason.TOO_MANY_PAGES, detail)
        yield document
    finally:
        document.close()


def _is_empty(path: Path) -> bool:
    """Whether it is whole and has no pages, which pdfium calls damaged."""
    try:
        with pikepdf.open(path) as pdf:
            return len(pdf.pages) == 0
    except pikepdf.PdfError:
        return False


def read_page(document: pdfium.PdfDocument, number: int, limits: PdfLimits) -> PageText:
    """The text of a page. Raises `PdfRefusedError`."""
    try:
        page = document[number]
    except pdfium.PdfiumError as error:
        raise PdfRefusedError(Reason.DAMAGED, f"Page {number + 1}.") from error
    try:
        return _PageReading(page, limits).read()
    finally:
        page.close()


class _PageReading:
    """One page being read."""

    def __init__(self, page: pdfium.PdfPage, limits: PdfLimits) -> None:
        self._page = page
        self._limits = limits
        self._width, self._height = page.get_size()
        self._rotation = page.get_rotation()
        self._crop = page.get_cropbox()
        self._shows: dict[int, int] = {}
        self._styles: dict[int, Style | None] = {}
        self._rules: list[Box] = []

    def read(self) -> PageText:
        self._number_objects()
        text = self._page.get_textpage()
        try:
            runs = list(self._runs(text))
        finally:
            text.close()
        return PageText(self._width, self._height, runs, len(self._shows), self._rules)

    def _number_objects(self) -> None:
        """Number the text objects in the order of their operators; note the ruled lines."""
        page = self._page.raw
        count = raw.FPDFPage_CountObjects(page)
        if count > self._limits.objects_a_page:
            raise PdfRefusedError(Reason.TOO_COMPLEX, f"{count} objects on one page.")
        for index in range(count):
            self._number_object(raw.FPDFPage_GetObject(page, index), 0)

    def _number_object(self, item: raw.FPDF_PAGEOBJECT, depth: int) -> None:
        kind = raw.FPDFPageObj_GetType(item)
        if kind == raw.FPDF_PAGEOBJ_TEXT:
            self._shows[_address(item)] = len(self._shows)
        elif kind == raw.FPDF_PAGEOBJ_PATH and depth == 0:
            self._note_rule(item)
        elif kind == raw.FPDF_PAGEOBJ_FORM and depth < DEEPEST_FORM:
            for index in range(raw.FPDFFormObj_CountObjects(item)):
                self._number_object(raw.FPDFFormObj_GetObject(item, index), depth + 1)

    def _note_rule(self, item: raw.FPDF_PAGEOBJECT) -> None:
        edges = [ctypes.c_float() for _ in range(4)]
        if raw.FPDFPageObj_GetBounds(item, *edges):
            left, bottom, right, top = (edge.value for edge in edges)
            self._rules.append(self._seen(left, bottom, right, top))

    def _runs(self, text: pdfium.PdfTextPage) -> Iterator[Run]:
        count = text.count_chars()
        if count > self._limits.characters_a_page:
            raise PdfRefusedError(Reason.TOO_COMPLEX, f"{count} characters on one page.")
        run: _RunBeingRead | None = None
        for index in range(count):
            glyph = self._glyph(text.raw, index)
            if glyph is None:
                continue
            if run is not None and not run.continues_with(glyph):
                yield from run.finished()
                run = None
            run = run or _RunBeingRead(glyph)
            run.append(glyph)
        if run is not None:
            yield from run.finished()

    def _glyph(self, text: raw.FPDF_TEXTPAGE, index: int) -> "_Glyph | None":
        """None for what is no visible, upright character: also for the spaces that pdfium adds."""
        code = raw.FPDFText_GetUnicode(text, index)
        code = HYPHEN if code == LINE_END_HYPHEN else code
        shown = raw.FPDFText_GetTextObject(text, index)
        if code < 32 or not shown or raw.FPDFText_IsGenerated(text, index) == 1:
            return None
        address = _address(shown)
        if address not in self._styles:
            self._styles[address] = self._style(text, index, shown)
        style = self._styles[address]
        number = self._shows.get(address)
        if style is None or number is None:
            return None
        box, origin = self._place(text, index)
        return _Glyph(_character(code), box, origin, style, number)

    def _place(self, text: raw.FPDF_TEXTPAGE, index: int) -> tuple[Box, float]:
        rectangle = raw.FS_RECTF()
        raw.FPDFText_GetLooseCharBox(text, index, rectangle)
        x, y = ctypes.c_double(), ctypes.c_double()
        raw.FPDFText_GetCharOrigin(text, index, x, y)
        box = self._seen(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
        return box, self._seen(x.value, y.value, x.value, y.value).top

    def _style(
        self, text: raw.FPDF_TEXTPAGE, index: int, shown: raw.FPDF_PAGEOBJECT
    ) -> Style | None:
        """None for what the page keeps: turned against the page, or invisible."""
        if raw.FPDFTextObj_GetTextRenderMode(shown) in INVISIBLE:
            return None
        angle = math.degrees(raw.FPDFText_GetCharAngle(text, index)) + self._rotation
        if not -1 < (angle + 180) % 360 - 180 < 1:
            return None
        matrix = raw.FS_MATRIX()
        raw.FPDFText_GetMatrix(text, index, matrix)
        scale = math.hypot(matrix.c, matrix.d) or 1.0
        size = raw.FPDFText_GetFontSize(text, index) * scale
        if not 0.5 < size < 2000:
            return None
        name, flags = _font(text, index)
        weight = raw.FPDFText_GetFontWeight(text, index)
        return Style(
            size=size,
            is_bold=weight >= BOLD_WEIGHT or "bold" in name or bool(flags & FORCE_BOLD_FLAG),
            is_italic="italic" in name or "oblique" in name or bool(flags & ITALIC_FLAG),
            color=_color(text, index),
        )

    def _seen(self, left: float, bottom: float, right: float, top: float) -> Box:
        """From the page's own coordinates to those of whoever looks at it."""
        x0, y0, x1, y1 = self._crop
        match self._rotation:
            case 90:
                return Box(bottom - y0, left - x0, top - y0, right - x0)
            case 180:
                return Box(x1 - right, bottom - y0, x1 - left, top - y0)
            case 270:
                return Box(y1 - top, x1 - right, y1 - bottom, x1 - left)
            case _:
                return Box(left - x0, y1 - top, right - x0, y1 - bottom)


@dataclass(frozen=True, slots=True)
class _Glyph:
    character: str
    box: Box
    baseline: float
    style: Style
    shows: int


class _RunBeingRead:
    """Glyphs of one operator, and the spaces between them."""

    def __init__(self, first: _Glyph) -> None:
        self._first = first
        self._glyphs: list[_Glyph] = []
        self._text = ""
        # Of each character of the text, its glyph.
        self._owners: list[int] = []

    def continues_with(self, glyph: _Glyph) -> bool:
        if glyph.shows != self._first.shows or self._text[0] in BULLETS:
            return False
        em = self._first.style.size
        gap = glyph.box.left - self._glyphs[-1].box.right
        is_level = abs(glyph.baseline - self._first.baseline) < 0.3 * em
        return is_level and -em < gap < LONGEST_GAP * em

    def append(self, glyph: _Glyph) -> None:
        if self._glyphs and glyph.box.left - self._glyphs[-1].box.right > 0.2 * glyph.style.size:
            self._add(" ")
        self._glyphs.append(glyph)
        self._add(glyph.character)

    def finished(self) -> Iterator[Run]:
        """One run, or more where leaders (the dots of a table of contents) stand in it."""
        start = 0
        for part in LEADER.split(self._text):
            if part:
                yield self._part(start, start + len(part))
            start += len(part)

    def _part(self, start: int, end: int) -> Run:
        glyphs = self._glyphs[self._owners[start] : self._owners[end - 1] + 1]
        box = glyphs[0].box
        for glyph in glyphs[1:]:
            box = box.joined(glyph.box)
        first = glyphs[0]
        return Run(self._text[start:end], box, first.baseline, first.style, first.shows)

    def _add(self, character: str) -> None:
        self._text += character
        self._owners.append(max(len(self._glyphs) - 1, 0))


def _address(item: raw.FPDF_PAGEOBJECT) -> int:
    return ctypes.cast(item, ctypes.c_void_p).value or 0


def _character(code: int) -> str:
    # pdfium gives UTF-16 halves for what lies beyond the basic plane, and what no text may hold.
    return "\ufffd" if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF else chr(code)


def _font(text: raw.FPDF_TEXTPAGE, index: int) -> tuple[str, int]:
    flags = ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(text, index, name, len(name), flags)
    return name.value.decode("utf-8", "replace").lower(), flags.value


def _color(text: raw.FPDF_TEXTPAGE, index: int) -> tuple[int, int, int]:
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    raw.FPDFText_GetFillColor(text, index, red, green, blue, alpha)
    return red.value, green.value, blue.value
