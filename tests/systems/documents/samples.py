"""PDFs made for tests: what real ones hold, one difficulty each."""

import io
from pathlib import Path

import pikepdf
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

TEXT = """
It is a truth universally acknowledged, that a single man in possession of a good fortune, must be
in want of a wife. However little known the feelings or views of such a man may be on his first
entering a neighbourhood, this truth is so well fixed in the minds of the surrounding families, that
he is considered the rightful property of some one or other.
"""
PROSE = TEXT.split()


def drawn(path: Path, draw: object = None, *, size: tuple[float, float] = (612, 792)) -> Path:
    """A PDF of one page that `draw(canvas)` fills."""
    canvas = Canvas(str(path), pagesize=size, invariant=1)
    if callable(draw):
        draw(canvas)
    canvas.showPage()
    canvas.save()
    return path


def paragraph(
    canvas: Canvas, words: list[str], left: float, top: float, width: float, leading: float = 12
) -> float:
    """Words set ragged right from `top` down; returns where the next line would stand."""
    canvas.setFont("Helvetica", 10)
    line = ""
    for word in words:
        if canvas.stringWidth(f"{line} {word}", "Helvetica", 10) > width:
            canvas.drawString(left, top, line)
            top, line = top - leading, ""
        line = f"{line} {word}".strip()
    canvas.drawString(left, top, line)
    return top - leading


def two_columns(canvas: Canvas) -> None:
    """Two columns whose lines stand on the same baselines, row by row in the file."""
    canvas.setFont("Helvetica", 10)
    for row in range(12):
        for left, side in ((72, "left"), (250, "right")):
            canvas.drawString(left, 700 - 12 * row, f"the {side} column goes on, line {row:02}")


def table(canvas: Canvas) -> None:
    """A table without ruled lines, as closely set as prose."""
    canvas.setFont("Helvetica", 10)
    rows = [("Name", "Size", "Meaning"), ("bin", "12 kB", "programs"), ("etc", "9 kB", "settings")]
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            canvas.drawString(72 + 150 * column, 700 - 12 * row, cell)


def picture_book(canvas: Canvas) -> None:
    """All that is no text: a shading under a clip, images, a form with text, transparency."""
    canvas.saveState()
    circle = canvas.beginPath()
    circle.circle(150, 600, 60)
    canvas.clipPath(circle, stroke=0)
    canvas.linearGradient(90, 540, 210, 660, ((1, 0, 0), (0, 0, 1)))
    canvas.restoreState()
    image = Image.new("RGB", (50, 50), (200, 100, 0))
    canvas.drawInlineImage(image, 300, 600, 50, 50)
    canvas.drawImage(ImageReader(image), 400, 600, 50, 50)
    canvas.beginForm("sign")
    canvas.setFillColorRGB(0, 0.6, 0)
    canvas.rect(0, 0, 200, 40, fill=1)
    canvas.setFillColorRGB(1, 1, 1)
    canvas.drawString(5, 15, "the sign says stop")
    canvas.endForm()
    for top in (400, 300):
        canvas.saveState()
        canvas.translate(250, top)
        canvas.doForm("sign")
        canvas.restoreState()
    canvas.drawString(72, 200, "plain words at the bottom")


def rotated(path: Path, turn: int) -> Path:
    """A page whose /Rotate makes its sideways text upright, with a crop that begins off zero."""
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(400, 600), invariant=1)
    canvas.saveState()
    for _ in range(turn // 90):
        canvas.translate(400 if turn == 90 else 0, 0)
        canvas.rotate(90)
    canvas.setFont("Helvetica", 12)
    left, bottom = (100, 200) if turn in {0, 90} else (-300, -400) if turn == 180 else (-400, 200)
    canvas.drawString(left, bottom, "upright to whoever reads the page")
    canvas.restoreState()
    canvas.showPage()
    canvas.save()
    with pikepdf.open(file) as pdf:
        pdf.pages[0].obj["/Rotate"] = turn
        pdf.pages[0].obj["/CropBox"] = pikepdf.Array([10, 20, 390, 580])
        pdf.save(path)
    return path


def with_operators(path: Path, operators: bytes) -> Path:
    """A page of these raw operators, with Helvetica as /F1."""
    pdf = pikepdf.new()
    page = pdf.add_blank_page(page_size=(612, 792))
    font = pikepdf.Dictionary(
        Type=pikepdf.Name.Font,
        Subtype=pikepdf.Name.Type1,
        BaseFont=pikepdf.Name.Helvetica,
        Encoding=pikepdf.Name.WinAnsiEncoding,
    )
    page.obj["/Resources"] = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
    page.obj["/Contents"] = pdf.make_stream(operators)
    pdf.save(path)
    return path
