"""The real embedder with a test beside it, and a text of two batches."""

from collections.abc import Awaitable, Callable, Sequence

from systems.sme.embedding import load_embedder
from systems.sme.embedding.embedder import Vectors
from tests.systems.documents.samples import TEXT as PROSE

# Some 50 passages: two batches.
LONG = "\n\n".join(f"Paragraph {number} of the text. " + PROSE.strip() for number in range(100))

Before = Callable[[int], Awaitable[None]]


class Watched:
    """The real embedder, which says which texts it is asked for, and lets a test step in."""

    def __init__(self) -> None:
        self.real = load_embedder()
        self.asked: list[list[str]] = []
        self.before: Before | None = None
        self.name = self.real.name
        self.dimensions = self.real.dimensions
        self.window_characters = self.real.window_characters

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As the real one."""
        self.asked.append(list(texts))
        if self.before is not None:
            await self.before(len(self.asked))
        return await self.real.embed(texts)
