"""What becomes of a page whose blocks get other words."""

import io
from collections.abc import Callable
from pathlib import Path

import pikepdf
import pypdfium2 as pdfium
import pytest
from PIL import Image, ImageChops
from reportlab.pdfgen.canvas import Canvas

from systems.documents.block import Block, Run
from systems.documents.layout import blocks_of
from systems.documents.limits import PdfLimits, PdfRefusedError, Reason
from systems.documents.reading import opened, read_page
from systems.documents.sandbox import read_pages
from systems.pdf_translator.pdf.sandbox import write_pages
from systems.pdf_translator.pdf.writing import write_translated
from tests.systems.documents import samples

LIMITS = PdfLimits()


def read(path: Path) -> list[list[Block]]:
    with opened(path, LIMITS) as document:
        return [blocks_of(read_page(document, n, LIMITS)) for n in range(len(document))]


def translated(source: Path, words: Callable[[str], str]) -> Path:
    target = source.with_suffix(".translated.pdf")
    texts = {
        page: {n: words(block.text) for n, block in enumerate(blocks) if not block.is_wordless}
        for page, blocks in enumerate(read(source))
    }
    write_translated(source, target, texts, LIMITS)
    return target


def picture(path: Path, number: int = 0) -> Image.Image:
    document = pdfium.PdfDocument(path)
    try:
        image: Image.Image = document[number].render(scale=2).to_pil().convert("RGB")
        return image
    finally:
        document.close()


def without(image: Image.Image, blocks: list[Block]) -> Image.Image:
    """The picture with the places of its texts painted over."""
    painted = image.copy()
    for block in blocks:
        box = block.box
        right = max(box.right, box.left + 300)
        corner = round(2 * box.left) - 6, round(2 * box.top) - 6
        painted.paste((0, 0, 0), (*corner, round(2 * right) + 6, round(2 * box.bottom) + 6))
    return painted


def test_a_page_keeps_all_that_is_no_text(tmp_path: Path) -> None:
    """Shadings, clips, inline images, forms drawn twice: the same pixels as before."""
    source = samples.drawn(tmp_path / "book.pdf", samples.picture_book)
    target = translated(source, lambda text: text.replace("the", "el").replace("plain", "simple"))
    blocks = read(source)[0]
    before, after = (without(picture(path), blocks) for path in (source, target))
    assert ImageChops.difference(before, after).getbbox() is None
    texts = [block.text for block in read(target)[0]]
    assert sorted(texts) == ["el sign says stop", "el sign says stop", "simple words at el bottom"]


async def test_a_child_process_writes_what_another_has_read(tmp_path: Path) -> None:
    """The way of the job: read, translate, write."""
    source = samples.drawn(tmp_path / "table.pdf", samples.table)
    target = tmp_path / "out.pdf"
    assert [n async for n in write_pages(source, target, {0: {5: "programas"}})] == [0]
    (page,) = [page async for page in read_pages(target)]
    assert sorted(block.text for block in page.blocks)[-2:] == ["programas", "settings"]


def test_words_that_do_not_change_keep_their_letters(tmp_path: Path) -> None:
    """A translation that changes nothing changes no pixel, whatever the font."""
    source = samples.drawn(tmp_path / "book.pdf", samples.picture_book)
    target = translated(source, lambda text: text)
    assert ImageChops.difference(picture(source), picture(target)).getbbox() is None


def test_the_original_words_are_gone_from_the_file(tmp_path: Path) -> None:
    """Painted over they would still be found by whoever searches or copies."""
    source = samples.drawn(tmp_path / "table.pdf", samples.table)
    target = translated(source, str.upper)
    assert [b.text for b in read(target)[0]] == [b.text.upper() for b in read(source)[0]]
    with pikepdf.open(target) as pdf:
        assert b"programs" not in pdf.pages[0].Contents.read_bytes()


def test_each_block_stays_in_its_place(data_folder: Path, tmp_path: Path) -> None:
    """On a real page: the same number of pages and sizes, every text within its block's reach."""
    source = tmp_path / "standard.pdf"
    source.write_bytes((data_folder / "fhs-3.0.pdf").read_bytes())
    with pikepdf.open(source, allow_overwriting_input=True) as pdf:
        del pdf.pages[14:], pdf.pages[:10]
        pdf.save(source)
    target = translated(source, lambda text: f"{text} y más")
    with opened(target, LIMITS) as document:
        for number, blocks in enumerate(read(source)):
            runs = read_page(document, number, LIMITS).runs
            assert all(stands(block, runs) for block in blocks if not block.is_wordless)


def stands(block: Block, runs: list[Run]) -> bool:
    """Whether a run begins with the block's first word where the block began."""
    word = block.text.split()[0]
    return any(
        run.text.startswith(word)
        and abs(run.box.left - block.box.left) < 20
        and abs(run.box.top - block.box.top) < block.style.size
        for run in runs
    )


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_is_written_upright(tmp_path: Path, turn: int) -> None:
    """The overlay follows /Rotate and /CropBox."""
    source = samples.rotated(tmp_path / "turned.pdf", turn)
    target = translated(source, lambda _text: "recto para quien lee")
    (before,), (after,) = read(source)[0], read(target)[0]
    assert after.text == "recto para quien lee"
    assert abs(after.box.left - before.box.left) < 2
    assert abs(after.baselines[0] - before.baselines[0]) < 2


def test_a_long_translation_is_shrunk_and_never_cut(tmp_path: Path) -> None:
    """Every word of it can be read back, inside the page."""
    source = samples.drawn(tmp_path / "columns.pdf", samples.two_columns)
    long = " ".join(f"palabra{number}" for number in range(400))
    target = translated(source, lambda _text: long)
    with opened(target, LIMITS) as document:
        page = read_page(document, 0, LIMITS)
    words = {word for block in blocks_of(page) for word in block.text.split()}
    assert words == set(long.split())
    assert all(run.box.left >= 0 and run.box.right <= page.width for run in page.runs)
    assert all(run.box.bottom <= page.height for run in page.runs)
    assert len(page.runs) >= 2 * 12


def test_words_placed_by_the_ones_before_them_do_not_move(tmp_path: Path) -> None:
    """An operator that shows text where the last one ended is drawn anew with it."""
    operators = b"BT /F1 12 Tf 72 700 Td (the price is ) Tj (12) Tj 200 0 Td (999) Tj ET"
    source = samples.with_operators(tmp_path / "row.pdf", operators)
    target = translated(source, lambda text: text.replace("the price is", "cuesta"))
    assert [block.text for block in read(target)[0]] == ["cuesta 12", "999"] or [
        block.text for block in read(target)[0]
    ] == ["999", "cuesta 12"]
    with pikepdf.open(target) as pdf:
        assert b"(999)" in pdf.pages[0].Contents.read_bytes()


def test_lines_begun_by_quote_operators_keep_their_places(tmp_path: Path) -> None:
    """' and " begin a line of their own, which the next one counts on."""
    operators = b"BT /F1 12 Tf 40 TL 72 700 Td (one two) Tj (three) ' 1 0 (42) \" ET"
    source = samples.with_operators(tmp_path / "quotes.pdf", operators)
    target = translated(source, lambda text: text.replace("three", "tres"))
    before = {block.text: block.baselines[0] for block in read(source)[0]}
    after = {block.text: block.baselines[0] for block in read(target)[0]}
    assert after["one two"] == before["one two"]
    assert after["42"] == before["42"]
    assert abs(after["tres"] - before["three"]) < 1


def test_letters_that_the_font_lacks_are_refused(tmp_path: Path) -> None:
    """Boxes instead of letters are no translation."""
    source = samples.drawn(tmp_path / "table.pdf", samples.table)
    with pytest.raises(PdfRefusedError, match="It lacks") as refused:
        translated(source, lambda _text: "日本語")
    assert refused.value.reason is Reason.NO_FONT
    target = translated(source, lambda text: text.replace("programs", "программы Ελληνικά και"))
    assert "программы Ελληνικά και" in " ".join(block.text for block in read(target)[0])


def test_the_result_is_a_whole_pdf(tmp_path: Path) -> None:
    """qpdf finds nothing wrong with it."""
    source = samples.drawn(tmp_path / "book.pdf", samples.picture_book)
    target = translated(source, str.upper)
    with pikepdf.open(io.BytesIO(target.read_bytes())) as pdf:
        assert pdf.check_pdf_syntax() == []


def test_cells_of_a_table_stay_alike(tmp_path: Path) -> None:
    """The one that needs a smaller size would else be the only one of it; all keep their rows."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Times-Roman", 10)
        for row in range(6):
            canvas.drawString(72, 700 - 12 * row, "short cell" if row else "first cell")
            canvas.drawString(190, 700 - 12 * row, "the next")

    source = samples.drawn(tmp_path / "cells.pdf", draw)
    words = {
        "first cell": "una celda bastante larga",
        "short cell": "una celda",
        "the next": "la próxima",
    }
    target = translated(source, lambda text: words[text])
    cells = [block for block in read(target)[0] if block.text.startswith("una celda")]
    sizes = {round(cell.style.size, 1) for cell in cells}
    assert len(cells) == 6
    assert max(sizes) < min(sizes) * 1.01
    before = [round(block.baselines[0]) for block in read(source)[0]]
    assert sorted(round(block.baselines[0]) for block in read(target)[0]) == sorted(before)
