"""Texts as vectors that lie close when the texts mean the same: the only room that knows ONNX."""

from systems.sme.embedding.choice import EmbedderName, load_embedder
from systems.sme.embedding.embedder import Embedder, EmbedderMissingError

__all__ = ["Embedder", "EmbedderMissingError", "EmbedderName", "load_embedder"]
