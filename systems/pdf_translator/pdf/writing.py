"""Writes the translated PDF: each page as it was, with the text of its blocks exchanged.

Blocks whose text does not change keep their letters; the others' operators are erased and their
new text is laid over. Links, outlines, images and page sizes are the original's.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pikepdf

from systems.documents.block import Block, Box
from systems.documents.layout import blocks_of
from systems.documents.limits import PdfLimits, PdfRefusedError, Reason
from systems.documents.reading import PageText, opened, read_page
from systems.pdf_translator.pdf.drawing import Drawn, Overlay
from systems.pdf_translator.pdf.erasing import PageOperators, erase, operators_of, rows_with
from systems.pdf_translator.pdf.room import alignment_of, room_for

# Of a page, the new text of a block by its number.
Texts = Mapping[int, str]


@dataclass(frozen=True, slots=True)
class _Change:
    """What changes on one page."""

    erased: set[int]
    drawn: list[Drawn]


def write_translated(
    source: Path,
    target: Path,
    translations: Mapping[int, Texts],
    limits: PdfLimits,
    on_page: Callable[[int], None] = lambda _number: None,
) -> None:
    """Write `source` to `target` with these texts, by page and by block, both from 0.

    Raises `PdfRefusedError`.
    """
    try:
        with opened(source, limits) as document, pikepdf.open(source) as pdf:
            overlay, changed = Overlay(), []
            for number, page in enumerate(pdf.pages):
                text = read_page(document, number, limits)
                change = _change(text, operators_of(page), translations.get(number, {}))
                erase(pdf, page, change.erased)
                if change.drawn:
                    overlay.add_page(text.width, text.height, change.drawn)
                    changed.append(page)
                on_page(number)
            if changed:
                _lay_over(changed, overlay.finished())
            pdf.save(target, compress_streams=True)
    except pikepdf.PasswordError as error:
        raise PdfRefusedError(Reason.ENCRYPTED) from error
    except pikepdf.PdfError as error:
        raise PdfRefusedError(Reason.DAMAGED, str(error).splitlines()[0][:200]) from error


def _change(text: PageText, operators: PageOperators, texts: Texts) -> _Change:
    blocks = blocks_of(text)
    changed = {
        number: words
        for number, words in texts.items()
        if number < len(blocks) and words.strip() and words != blocks[number].text
    }
    if not changed:
        return _Change(set(), [])
    if operators.count != text.shows:
        raise PdfRefusedError(
            Reason.TOO_COMPLEX,
            f"A page has {operators.count} operators of text, of which {text.shows} are readable.",
        )
    erased, redrawn = _all_to_erase(blocks, operators, changed.keys())
    words = {number: changed.get(number, blocks[number].text) for number in redrawn}
    return _Change(erased, _drawn(blocks, words, text))


def _all_to_erase(
    blocks: Sequence[Block], operators: PageOperators, changed: Iterable[int]
) -> tuple[set[int], set[int]]:
    """The operators to erase and the blocks to draw, with all that hangs on them."""
    redrawn = set(changed)
    while True:
        erased = rows_with(operators, {show for number in redrawn for show in blocks[number].shows})
        touched = {
            number for number, block in enumerate(blocks) if not erased.isdisjoint(block.shows)
        }
        if touched <= redrawn:
            return erased, redrawn
        redrawn |= touched


def _drawn(blocks: Sequence[Block], texts: Texts, text: PageText) -> list[Drawn]:
    area = _area(blocks, text)
    return [
        Drawn(
            block=blocks[number],
            text=texts[number],
            room=room_for(blocks[number], blocks, text.rules, area),
            alignment=alignment_of(blocks[number], text.width),
        )
        for number in sorted(texts)
    ]


def _area(blocks: Sequence[Block], text: PageText) -> Box:
    """The box around all text, but never beyond the page."""
    box = blocks[0].box
    for block in blocks[1:]:
        box = box.joined(block.box)
    left, top = max(box.left, 0), max(box.top, 0)
    return Box(left, top, min(box.right, text.width), min(box.bottom, text.height))


def _lay_over(pages: Sequence[pikepdf.Page], overlay: bytes) -> None:
    with pikepdf.open(io.BytesIO(overlay)) as drawn:
        for page, text in zip(pages, drawn.pages, strict=True):
            page.add_overlay(text, pikepdf.Rectangle(page.cropbox))
