"""The texts that tests work on: the novel of the test data, or a generated one in its place."""

import os
import random
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOVEL = "pride-and-prejudice.txt"
PARAGRAPHS = 2600
SYLLABLES = (
    "ba",
    "den",
    "fi",
    "gor",
    "hal",
    "in",
    "ka",
    "lo",
    "mer",
    "nu",
    "pa",
    "ril",
    "so",
    "ta",
)


def data_folder() -> Path:
    """Where the test data is, or would be: BEDPLATE_TEST_DATA, else beside the project."""
    named = os.environ.get("BEDPLATE_TEST_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def is_data_required() -> bool:
    """Whether a test without its data is a failure."""
    return os.environ.get("REQUIRE_TEST_DATA", "") not in ("", "0")


def read_novel() -> str:
    """The novel, or a generated text of about its length."""
    path = data_folder() / NOVEL
    return path.read_text(encoding="utf-8-sig") if path.is_file() else generate_novel()


def generate_novel(paragraphs: int = PARAGRAPHS) -> str:
    """Some 700 kB in paragraphs, always the same; its last page has words of its own."""
    source = random.Random(1813)  # noqa: S311 - the same text each time
    words = ["".join(source.choices(SYLLABLES, k=source.randint(1, 3))) for _ in range(6000)]
    parts = [_paragraph(source, words) for _ in range(paragraphs)]
    return "\n\n".join(["A Generated Novel", *parts, "They lived at quillmere ever after.\n"])


def _paragraph(source: random.Random, words: list[str]) -> str:
    sentences = []
    for _ in range(source.randint(2, 5)):
        sentence = " ".join(source.choices(words, k=source.randint(6, 18)))
        sentences.append(sentence.capitalize() + ".")
    return " ".join(sentences)
