"""Search by words, by meaning and by both: rare words count more; each list adds to the other."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows import words
from bedplate.rows.database import Database
from bedplate.rows.fusion import Mode, Question, Searchable, search
from tests.integration.rows.archive_of_vectors import DIMENSIONS, Base, Note
from tests.integration.rows.conftest import MakeDatabase

NOTES = Searchable(Note.id, Note.embedding, Note.words)
AXES = np.eye(DIMENSIONS, dtype=np.float32)
# Common in the texts, rare in the texts; what stands for their meaning does not matter here.
TEXTS = [
    "The library lends books to its readers.",
    "The library has a catalogue; the library keeps the catalogue on cards, cards, cards.",
    "A readers' library of books, and books, and nothing but books for the readers.",
    "Microfiche is read with a lens.",
    "The library closes at night, and its books sleep.",
    "Nothing to be seen here.",
]
HOSTILE = [
    "", " ", "\0", "\ud800", "'", "''", "\\", "it\\'s", "a & b | !c <-> d:*", "(((", '"open',
    "-library", "the of and", "🦆", "x" * 3000, "library " * 5000, "$1 %s :name ?", "'; DROP TABLE",
    "C:\\temp\\'x' /a/b\\c", "http://a.b/c?d='e'&f=\\g", "İ ß ﬁ", "中文 图书馆",
]  # fmt: skip


@pytest.fixture
async def notes(make_database: MakeDatabase) -> AsyncIterator[AsyncSession]:
    """A session on the texts, each with an axis of its own for a vector; the last has none."""
    database: Database = make_database()
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        vectors = [*AXES[: len(TEXTS) - 1], None]
        await connection.execute(
            insert(Note),
            [
                {"id": number, "owner": number % 2, "content": content, "embedding": vector}
                for number, (content, vector) in enumerate(zip(TEXTS, vectors, strict=True))
            ],
        )
    async with database.session() as session:
        yield session


async def found(
    session: AsyncSession,
    question: str,
    mode: Mode,
    vector: Sequence[float] = AXES[0],
    **options: Any,
) -> list[int]:
    """The keys, best first."""
    asked = Question(question, vector)
    return [each.key for each in await search(session, NOTES, asked, mode=mode, **options)]


async def test_S10_a_question_finds_what_has_some_of_its_words(notes: AsyncSession) -> None:
    """A whole sentence: no text has every word of it."""
    question = "How does a library lend its books to readers by night?"
    keys = await found(notes, question, "words")
    assert keys[0] == 0
    assert set(keys) == {0, 1, 2, 4}


async def test_a_rare_word_counts_more_than_a_common_one(notes: AsyncSession) -> None:
    """Else whoever says `library` most often would be first with every question."""
    assert (await found(notes, "library microfiche", "words"))[0] == 3


async def test_a_words_repetition_counts_less_each_time(notes: AsyncSession) -> None:
    """BM25: the third `cards` adds less than the second, and length takes something away."""
    scores = {
        each.key: each.score
        for each in await search(notes, NOTES, Question("library", AXES[0]), mode="words")
    }
    assert set(scores) == {0, 1, 2, 4}
    assert scores[1] < 2 * scores[0]
    assert min(scores.values()) > 0


async def test_S10_a_hybrid_search_has_what_either_finds(notes: AsyncSession) -> None:
    """What is first in both is before what is first in one; what is in one alone is there, too."""
    by_both = await found(notes, "microfiche", "hybrid", AXES[3])
    assert by_both[0] == 3
    mixed = await found(notes, "microfiche", "hybrid", AXES[1])
    assert set(mixed[:2]) == {1, 3}
    assert set(mixed) == {0, 1, 2, 3, 4}


async def test_a_score_is_a_share_of_being_first_in_both(notes: AsyncSession) -> None:
    """1 is the most that can be, whatever is found."""
    best, *others = await search(notes, NOTES, Question("microfiche", AXES[3]))
    assert best.score == pytest.approx(1)
    assert all(0 < each.score < 1 for each in others)


async def test_S10_a_filter_holds_in_every_mode(notes: AsyncSession) -> None:
    """Also where the words' rows are counted first, without it."""
    for mode in ("words", "meaning", "hybrid"):
        keys = await found(notes, "library books readers", mode, where=[Note.owner == 0])
        assert set(keys) <= {0, 2, 4}
        assert keys[0] in {0, 2}


async def test_a_page_is_no_longer_than_was_asked(notes: AsyncSession) -> None:
    """And never longer than 100."""
    for mode in ("words", "meaning", "hybrid"):
        assert len(await found(notes, "library", mode, limit=2)) == 2
        assert len(await found(notes, "library", mode, limit=10**9)) <= 6


@pytest.mark.parametrize("question", HOSTILE)
async def test_any_text_is_a_question(notes: AsyncSession, question: str) -> None:
    """Operators, quotes and what is no word at all: none of it is an error, or SQL."""
    for mode in ("words", "hybrid"):
        await found(notes, question, mode)
    assert await notes.scalar(text("SELECT count(*) FROM notes")) == len(TEXTS)


async def test_words_are_found_however_they_are_quoted(notes: AsyncSession) -> None:
    """A word is made a query of its own, whatever characters the parser left in it."""
    odd = [r"see C:\temp\it's", "at example.org/a'b\\c?d=1", "O'Reilly"]
    await notes.execute(
        insert(Note),
        [
            {"id": 10 + number, "content": each, "embedding": None}
            for number, each in enumerate(odd)
        ],
    )
    for number, each in enumerate(odd):
        assert (await found(notes, each, "words"))[0] == 10 + number


async def test_what_is_ranked_is_bounded(
    notes: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frequent word's rows are not all looked at, and a rare one's are found all the same."""
    monkeypatch.setattr(words, "CANDIDATES", 50)
    filler = [
        {"id": 1000 + number, "content": f"The library, volume {number}", "embedding": None}
        for number in range(500)
    ]
    await notes.execute(insert(Note), filler)
    keys = await found(notes, "microfiche in the library", "words", limit=100)
    assert keys[0] == 3
    assert len(keys) <= 51


async def test_it_is_one_statement(notes: AsyncSession) -> None:
    """In every mode."""
    connection = await notes.connection()
    for mode in ("words", "meaning", "hybrid"):
        seen: list[str] = []
        note = lambda *arguments, seen=seen: seen.append(arguments[2])  # noqa: E731 - removed below
        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await found(notes, "library", mode)
        event.remove(connection.sync_connection, "before_cursor_execute", note)
        assert len(seen) == 1
