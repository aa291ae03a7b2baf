"""Which embedder a name stands for, and the one of each that a process has.

A model is 23 MB on disk and some 150 MB in memory, loaded in about half a second when it is first
used: once in a process, whoever asks.
"""

from functools import cache
from typing import Literal

from systems.sme.embedding.embedder import Embedder
from systems.sme.embedding.minilm import MiniLM

EmbedderName = Literal["minilm"]

EMBEDDERS: dict[EmbedderName, type[Embedder]] = {"minilm": MiniLM}


def load_embedder(name: EmbedderName = "minilm") -> Embedder:
    """This process' embedder of that name. The model itself is loaded by the first `embed`."""
    return _only_one(name)


@cache
def _only_one(name: EmbedderName) -> Embedder:
    return EMBEDDERS[name]()
