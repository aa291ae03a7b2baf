"""Passages: nothing lost, nothing too long, cut where a reader would pause."""

import random

import pytest

from bedplate.rows.passages import PASSAGE_BYTES, cut_passages, regconfig_for


def test_the_passages_of_a_novel_together_are_the_novel(novel: str) -> None:
    """A passage is shown to people as the text: not a character may differ."""
    passages = list(cut_passages(novel))
    assert "".join(passages) == novel
    assert max(len(passage.encode()) for passage in passages) <= PASSAGE_BYTES
    assert len(passages) < 2 * len(novel.encode()) / PASSAGE_BYTES + 1


def test_any_text_is_cut_without_loss() -> None:
    """Texts come from anywhere: no breaks, only breaks, characters of four bytes."""
    source = random.Random(7)  # noqa: S311 - the same texts each time
    alphabet = ["a", "é", "漢", "😀", " ", "\n", "\n\n", "\r\n\r\n", ". ", "。", "\t", "\x00"]
    for limit in (4, 5, 16, 100):
        for _ in range(200):
            text = "".join(source.choices(alphabet, k=source.randint(0, 120)))
            passages = list(cut_passages(text, limit))
            assert "".join(passages) == text
            assert all(passage and len(passage.encode()) <= limit for passage in passages)


def test_a_passage_ends_with_a_paragraph_where_one_ends_in_time() -> None:
    """A phrase that runs over a cut is not found: cuts stand where phrases end."""
    text = "One two. Three.\n\nFour five. Six.\n\nSeven eight."
    assert list(cut_passages(text, 40)) == [
        "One two. Three.\n\nFour five. Six.\n\n",
        "Seven eight.",
    ]


def test_a_long_paragraph_is_cut_at_a_sentence_then_at_a_word_then_anywhere() -> None:
    """The next best pause, and for a text without any a hard cut between characters."""
    assert list(cut_passages("One two. Three four five", 16)) == ["One two. ", "Three four five"]
    assert list(cut_passages("one two three", 9)) == ["one two ", "three"]
    assert list(cut_passages("漢字漢字", 7)) == ["漢字", "漢字"]


def test_a_text_of_ten_megabytes_without_a_break_is_cut() -> None:
    """The largest upload that is accepted, at its worst for a search of pauses."""
    text = "x" * 10_485_760
    passages = list(cut_passages(text))
    assert len(passages) == 10_485_760 // PASSAGE_BYTES
    assert "".join(passages) == text


def test_an_empty_text_has_no_passage() -> None:
    """There is nothing to find in it."""
    assert list(cut_passages("")) == []


def test_a_limit_below_one_character_is_refused() -> None:
    """It would never end."""
    with pytest.raises(ValueError, match="limit_bytes is 3"):
        list(cut_passages("text", 3))


@pytest.mark.parametrize(
    ("language", "configuration"),
    [
        ("en", "english"),
        ("EN", "english"),
        ("en-GB", "english"),
        ("pt_BR", "portuguese"),
        ("es", "spanish"),
        ("nb", "norwegian"),
        ("ja", "simple"),
        ("et", "simple"),
        ("", "simple"),
        (None, "simple"),
        ("english'; drop table x", "simple"),
    ],
)
def test_a_language_has_its_configuration(language: str | None, configuration: str) -> None:
    """Stemmed where PostgreSQL 16 can, word by word elsewhere; never a name from outside."""
    assert regconfig_for(language) == configuration
