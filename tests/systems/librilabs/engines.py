"""An engine that a test watches, and what it makes of a text."""

from typing import Any

from systems.translation.engines import EngineName
from tests.systems.conftest import Catalogue

# Some five chunks.
TEXT = "\n\n".join(f"Paragraph {number}. " + "Some words. " * 50 for number in range(60))
CHUNKS = """
SELECT index, source_start, source_end, translated_text
FROM translation_chunks
WHERE translation_id = $1::uuid
ORDER BY index
"""


class Watched:
    """An engine that marks what it was given, and does something before each call."""

    name: EngineName = "none"
    note: str | None = None

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.before: Any = None

    async def check_pair(self, source: str, target: str) -> None:
        """Every pair will do."""

    async def translate(self, text: str, source: str, target: str) -> str:
        """The text in capitals."""
        self.asked.append(text)
        if self.before is not None:
            await self.before(len(self.asked))
        return text.upper()


async def assert_chunks_are_whole(
    catalogue: Catalogue, translation_id: str, characters: int
) -> int:
    """Each chunk once, from the text's first character to its last. Answers how many."""
    rows = await catalogue(CHUNKS, translation_id)
    assert [row["index"] for row in rows] == list(range(len(rows)))
    starts = [row["source_start"] for row in rows]
    ends = [row["source_end"] for row in rows]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == characters
    return len(rows)
