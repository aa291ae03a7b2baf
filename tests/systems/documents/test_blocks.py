"""What is read of a page: blocks as a reader sees them, where a reader sees them."""

from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from systems.documents.block import Block
from systems.documents.layout import blocks_of
from systems.documents.limits import PdfLimits
from systems.documents.reading import opened, read_page
from tests.systems.documents import samples


def blocks_on(path: Path, number: int = 0) -> list[Block]:
    with opened(path, PdfLimits()) as document:
        return blocks_of(read_page(document, number, PdfLimits()))


@pytest.fixture
def standard(data_folder: Path) -> Path:
    """A real document of fifty pages."""
    return data_folder / "fhs-3.0.pdf"


def test_a_real_page_gives_headings_paragraphs_items_and_cells(standard: Path) -> None:
    """Translated line by line, a paragraph would be no sentence; run together, cells no table."""
    texts = [block.text for block in blocks_on(standard, 10)]
    assert "3.2. Requirements" in texts
    item = texts.index("•")
    assert texts[item + 1].startswith("It evades whatever discipline")
    assert texts[item + 1].endswith("file hierarchies across mountable volumes.")
    row = texts.index("media")
    assert texts[row + 1 : row + 3] == ["Mount point for removable media", "mnt"]
    assert "Alternate format essential shared libraries (optional)" in texts


def test_a_table_of_contents_is_read_entry_by_entry(standard: Path) -> None:
    """Its dots are no words, and no entry flows into the next."""
    texts = [block.text for block in blocks_on(standard, 3)]
    assert texts.index("1.1. Purpose") + 3 == texts.index("1.2. Conventions")


def test_the_mark_of_a_footnote_stays_with_its_word(standard: Path) -> None:
    """Left where it stood, it would be printed across the translation."""
    texts = [block.text for block in blocks_on(standard, 13)]
    assert any(text.endswith("cannot be an executable binary. 2") for text in texts)


def test_columns_are_kept_apart(tmp_path: Path) -> None:
    """Lines of two columns on one baseline belong to two texts."""
    blocks = blocks_on(samples.drawn(tmp_path / "columns.pdf", samples.two_columns))
    assert len(blocks) == 2
    left, right = blocks
    assert left.text.count("left") == 12
    assert "right" not in left.text
    assert right.text.count("right") == 12


def test_a_closely_set_table_is_read_cell_by_cell(tmp_path: Path) -> None:
    """Its columns are set like prose, and are none."""
    texts = [b.text for b in blocks_on(samples.drawn(tmp_path / "table.pdf", samples.table))]
    assert texts == [
        "Name",
        "Size",
        "Meaning",
        "bin",
        "12 kB",
        "programs",
        "etc",
        "9 kB",
        "settings",
    ]


def test_paragraphs_are_told_apart_by_their_last_lines(tmp_path: Path) -> None:
    """Without a space between them, an early end is all that tells them apart."""

    def draw(canvas: Canvas) -> None:
        top = samples.paragraph(canvas, [*samples.PROSE, "So", "much."], 72, 700, 300)
        samples.paragraph(canvas, ["Then", *samples.PROSE], 72, top, 300)

    first, second = blocks_on(samples.drawn(tmp_path / "paragraphs.pdf", draw))
    assert first.text == " ".join([*samples.PROSE, "So", "much."])
    assert second.text == " ".join(["Then", *samples.PROSE])


def test_a_word_hyphenated_at_the_end_of_a_line_is_one_word(tmp_path: Path) -> None:
    """No dictionary knows its halves."""

    def draw(canvas: Canvas) -> None:
        canvas.drawString(72, 700, "the government of the neigh-")
        canvas.drawString(72, 686, "bourhood was well-known")

    (block,) = blocks_on(samples.drawn(tmp_path / "hyphen.pdf", draw))
    assert block.text == "the government of the neighbourhood was well-known"


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_coordinates_are_those_of_the_page_as_it_is_seen(tmp_path: Path, turn: int) -> None:
    """Whoever draws a box over the page knows neither /Rotate nor /CropBox."""
    path = samples.rotated(tmp_path / "turned.pdf", turn)
    with opened(path, PdfLimits()) as document:
        page = read_page(document, 0, PdfLimits())
    (block,) = blocks_of(page)
    assert block.text == "upright to whoever reads the page"
    assert (round(page.width), round(page.height)) == (
        (560, 380) if turn in {90, 270} else (380, 560)
    )
    assert 0 < block.box.left < block.box.right < page.width
    assert 0 < block.box.top < block.baselines[0] < block.box.bottom < page.height
    assert block.box.width > 8 * block.box.height


def test_turned_and_invisible_text_is_left_to_the_page(tmp_path: Path) -> None:
    """A label along an axis, the layer of recognized text under a scan."""

    def draw(canvas: Canvas) -> None:
        canvas.saveState()
        canvas.rotate(90)
        canvas.drawString(300, -100, "along the axis")
        canvas.restoreState()
        canvas.saveState()
        hidden = canvas.beginText(72, 500)
        hidden.setTextRenderMode(3)
        hidden.textOut("recognized under a scan")
        canvas.drawText(hidden)
        canvas.restoreState()
        canvas.drawString(72, 400, "to be read")

    page = samples.drawn(tmp_path / "turned.pdf", draw)
    assert [block.text for block in blocks_on(page)] == ["to be read"]


def test_lines_that_stand_alone_are_not_run_together(standard: Path) -> None:
    """Who wrote it, the version, each holder of rights: as one they would be no sentence."""
    texts = [block.text for block in blocks_on(standard, 1)]
    assert "LSB Workgroup, The Linux Foundation" in texts
    assert "Version 3.0" in texts
    assert "Copyright © 1994-2004 Daniel Quinlan" in texts
