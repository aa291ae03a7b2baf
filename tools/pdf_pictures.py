"""Pictures of a page before and after its translation, for the documentation: docs/images/.

    python -m tools.pdf_pictures [SOURCE.pdf]

Takes the way of the job: the same sandbox, the same engine, a glossary. Needs Apertium with its
pair eng-spa, and by default the Filesystem Hierarchy Standard of the test data, whose licence
allows translations.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import pikepdf
import pypdfium2 as pdfium
from PIL import Image

from systems.documents.sandbox import read_pages
from systems.pdf_translator.attempt import translate_texts
from systems.pdf_translator.pdf.sandbox import write_pages
from systems.translation.apertium import Apertium
from systems.translation.glossary import Glossary, WithGlossary
from tests import texts

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
# A chapter with headings, lists and notes; a table with ruled lines and a footnote.
PAGES = {"prose": 10, "table": 12}
GLOSSARY = {
    "root filesystem": "sistema de archivos raíz",
    "filesystem": "sistema de archivos",
    "filesystems": "sistemas de archivos",
    "file": "archivo",
    "files": "archivos",
    "command": "orden",
    "commands": "órdenes",
    "boot loader": "gestor de arranque",
    "kernel": "núcleo",
    "rationale": "razones",
    **{word: word for word in ("/bin", "/usr", "/usr/bin", "/opt", "/var", "cat", "date", "echo")},
    **{word: word for word in ("false", "kill", "more", "mount")},
}
DOTS_PER_POINT = 1.1
SHADES = 16


async def main(source: Path) -> None:
    """Write two pictures of each page, before and after."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        original, translated = Path(folder) / "original.pdf", Path(folder) / "translated.pdf"
        _choose(source, original)
        await _translate(original, translated)
        for number, name in enumerate(PAGES):
            for which, path in (("before", original), ("after", translated)):
                picture = IMAGES / f"pdf_translator-{name}-{which}.png"
                _draw(path, number, picture)
                size = f"{picture.stat().st_size // 1024} kB"
                sys.stdout.write(f"{picture.relative_to(ROOT)}  {size}\n")


def _choose(source: Path, target: Path) -> None:
    with pikepdf.open(source) as pdf, pikepdf.new() as chosen:
        for number in PAGES.values():
            chosen.pages.append(pdf.pages[number - 1])
        chosen.save(target)


async def _translate(original: Path, translated: Path) -> None:
    engine = WithGlossary(Apertium(), Glossary(GLOSSARY))
    found: dict[int, dict[int, str]] = {}
    async for page in read_pages(original):
        words_of = {n: each.text for n, each in enumerate(page.blocks) if not each.is_wordless}
        words = await translate_texts(engine, list(words_of.values()), "en", "es")
        found[page.number] = dict(zip(words_of, words, strict=True))
    async for _ in write_pages(original, translated, found):
        pass


def _draw(path: Path, number: int, picture: Path) -> None:
    document = pdfium.PdfDocument(path)
    try:
        page = document[number].render(scale=DOTS_PER_POINT).to_pil()
    finally:
        document.close()
    page.convert("L").quantize(SHADES, dither=Image.Dither.NONE).save(picture, optimize=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(Path(given[0]) if given else texts.data_folder() / "fhs-3.0.pdf"))
