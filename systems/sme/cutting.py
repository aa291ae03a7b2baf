"""A text or a PDF cut into passages that an embedder reads to their end, each with its place.

Places are characters of the whole text; a PDF's is its pages' with a blank line between any two
blocks. A PDF is read by a child process under limits, whatever is in it.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from bedplate.rows.search import cut_passages
from systems.documents.sandbox import read_pages

TEXT, PDF = "text/plain", "application/pdf"
BETWEEN = "\n\n"


class UnreadableError(ValueError):
    """There is nothing in it to be found; trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A passage: where it begins, and on which page of a PDF, from 1."""

    text: str
    start: int
    page: int | None = None


async def cut_file(
    content: AsyncIterator[bytes], content_type: str, longest_characters: int
) -> list[Cut]:
    """The passages of a file, none longer. Raises `UnreadableError` and `PdfRefusedError`."""
    if content_type == PDF:
        cuts = await _cut_pdf(content, longest_characters)
    else:
        data = b"".join([piece async for piece in content])
        text = data.decode("utf-8").removeprefix("\ufeff")
        cuts = await asyncio.to_thread(lambda: list(cut_text(text, longest_characters)))
    if not cuts:
        raise UnreadableError("There are no words in it.")
    return cuts


def cut_text(
    text: str, longest_characters: int, *, start: int = 0, page: int | None = None
) -> Iterator[Cut]:
    """The passages of a text that begins at `start` of the whole; those without a word are left."""
    # Bytes, of which a character has one or more.
    for passage in cut_passages(text, longest_characters):
        words = passage.strip()
        if any(map(str.isalnum, words)):
            yield Cut(words, start + passage.index(words), page)
        start += len(passage)


async def _cut_pdf(content: AsyncIterator[bytes], longest_characters: int) -> list[Cut]:
    cuts: list[Cut] = []
    start = 0
    with tempfile.TemporaryDirectory(prefix="sme-") as folder:
        path = Path(folder) / "evidence.pdf"
        with path.open("wb") as file:
            async for piece in content:
                await asyncio.to_thread(file.write, piece)
        async for page in read_pages(path):
            # PostgreSQL stores no NUL, and a PDF may show one.
            text = BETWEEN.join(block.text for block in page.blocks).replace("\0", " ")
            cuts += cut_text(text, longest_characters, start=start, page=page.number + 1)
            start += len(text) + len(BETWEEN)
    return cuts
