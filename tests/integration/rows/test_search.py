"""Search on a server: every language, every input, exact pages, by the index."""

import uuid

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import CursorError
from bedplate.rows.passages import CONFIGURATIONS
from bedplate.rows.search import cut_passages, regconfig_for, search_page, search_statement
from tests.integration.rows.library import PASSAGES, Book, Passage

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's own

# Passages whose vectors are too long to stand in the row, as those of a real text are.
FILL = text("""
INSERT INTO passages (book_id, position, content, configuration)
SELECT :book,
       position,
       string_agg(md5((position * word % 4999)::text), ' '),
       (ARRAY['english', 'french', 'german'])[1 + position % 3]::regconfig
  FROM generate_series(1, 1500) position, generate_series(1, 150) word
 GROUP BY position
""")


async def put(session: AsyncSession, title: str, language: str, *contents: str) -> uuid.UUID:
    """A book with these passages."""
    book = Book(title=title)
    session.add(book)
    await session.flush()
    configuration = regconfig_for(language)
    rows = [
        {
            "book_id": book.id,
            "position": position,
            "content": content,
            "configuration": configuration,
        }
        for position, content in enumerate(contents)
    ]
    if rows:
        await session.execute(insert(Passage), rows)
    return book.id


async def test_every_configuration_that_we_name_is_there(shelf: AsyncSession) -> None:
    """On 16 as on 18: a name that a server lacks would fail at the insert."""
    present = set((await shelf.scalars(text("SELECT cfgname FROM pg_ts_config"))).all())
    assert present >= CONFIGURATIONS


async def test_L18_each_text_is_searched_in_its_own_language(shelf: AsyncSession) -> None:
    """Stemming differs: `running` finds `runs` in English, `corriendo` finds `corre` in Spanish."""
    english = await put(shelf, "en", "en", "The dog runs through the forest.")
    spanish = await put(shelf, "es", "es", "El perro corre por el bosque.")
    japanese = await put(shelf, "ja", "ja", "Dogs dogs forest")
    assert await found(shelf, "running") == [english]
    assert await found(shelf, "corriendo") == [spanish]
    assert set(await found(shelf, "forest")) == {english, japanese}
    assert await found(shelf, "Dogs dog") == [english]


async def test_L18_the_best_comes_first_with_its_best_passage(shelf: AsyncSession) -> None:
    """A document appears once, however many of its passages match."""
    far = "A dog. " + "Nothing else happens here at all. " * 30 + " A cat."
    weak = await put(shelf, "weak", "en", far)
    strong = await put(shelf, "strong", "en", far, "A dog and a cat and a dog and a cat.")
    page = await search_page(shelf, PASSAGES, "dog cat")
    assert [hit.document for hit in page.items] == [strong, weak]
    assert page.items[0].position == 1
    assert 1 > page.items[0].rank > page.items[1].rank > 0


async def test_L18_matches_are_marked_and_the_text_stays_text(shelf: AsyncSession) -> None:
    """The text is a stranger's: its markup, and even our own delimiters in it, must not pass."""
    await put(shelf, "markup", "en", "\x02dogs\x03 x < y & <script>alert(1)</script> barking")
    (hit,) = (await search_page(shelf, PASSAGES, "dog barks")).items
    marked = [piece.text for piece in hit.excerpt if piece.is_match]
    assert marked == ["dogs", "barking"]
    assert "<mark>dogs</mark>" in hit.html()
    assert "<script>" not in hit.html()
    assert "x &lt; y &amp;" in hit.html()


async def test_L18_a_phrase_on_the_novels_last_page_is_found(
    shelf: AsyncSession, novel: str
) -> None:
    """A tsvector of the whole would have no positions there, and so no phrases."""
    book = await put(shelf, "novel", "en", *cut_passages(novel))
    last_words = " ".join(novel.split()[-12:])
    page = await search_page(shelf, PASSAGES, f'"{last_words}"')
    assert [hit.document for hit in page.items] == [book]
    count = await shelf.scalar(select(Passage.position).order_by(Passage.position.desc()).limit(1))
    assert count is not None
    assert page.items[0].position >= count - 1


async def test_L18_pages_hold_every_document_once(shelf: AsyncSession) -> None:
    """Most of them have one rank, to the last bit: the id decides."""
    made = [
        await put(shelf, str(number), ("en", "de", "ja")[number % 3], "dog " * (1 + number % 2))
        for number in range(23)
    ]
    seen = []
    cursor = None
    for _ in range(5):
        page = await search_page(shelf, PASSAGES, "dog", cursor=cursor, limit=5)
        seen += [(-hit.rank, hit.document) for hit in page.items]
        cursor = page.next
    assert cursor is None
    assert seen == sorted(seen)
    assert {document for _, document in seen} == set(made)
    assert len(seen) == len(made)


async def test_only_the_documents_that_may_be_found_are(shelf: AsyncSession) -> None:
    """A reader searches its own library."""
    ours = await put(shelf, "ours", "en", "a dog")
    await put(shelf, "theirs", "en", "a dog")
    mine = select(Book.id).where(Book.title == "ours")
    page = await search_page(shelf, PASSAGES, "dog", documents=mine, scope=("ours",))
    assert [hit.document for hit in page.items] == [ours]


async def test_a_cursor_belongs_to_its_search(shelf: AsyncSession) -> None:
    """The rank of one search says nothing in another."""
    for title in ("a", "b"):
        await put(shelf, title, "en", "dog cat")
    page = await search_page(shelf, PASSAGES, "dog", limit=1)
    with pytest.raises(CursorError):
        await search_page(shelf, PASSAGES, "cat", limit=1, cursor=page.next)
    with pytest.raises(CursorError):
        await search_page(shelf, PASSAGES, "dog", scope=("other",), limit=1, cursor=page.next)


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "the",
        "-dog",
        "-dog -cat",
        "or",
        '"',
        '"" ""',
        "' OR 1=1; DROP TABLE books; --",
        "!!! & | <-> (((",
        "dog:*",
        "%_\\",
        "\x02\x03",
        ":name $1 {0} %s",
        "x" * 5000,
        "😀" * 300,
        "dog or " * 500,
        "((" * 200,
    ],
    ids=lambda query: ascii(query[:16]),
)
async def test_any_input_is_a_valid_search(shelf: AsyncSession, query: str) -> None:
    """to_tsquery raises on half of these; a person's typing is never a 500."""
    await put(shelf, "en", "en", "a dog and a cat")
    page = await search_page(shelf, PASSAGES, query)
    assert len(page.items) == (1 if query.startswith("dog") else 0)


async def test_the_search_uses_its_index_before_any_vacuum(shelf: AsyncSession) -> None:
    """The planner takes comparing vectors for cheap, which are fetched one by one for it."""
    book = await put(shelf, "long", "en")
    await shelf.execute(FILL, {"book": book})
    await shelf.execute(text("ANALYZE passages"))
    statement = search_statement(PASSAGES, "dog").compile(
        dialect=DIALECT, compile_kwargs={"literal_binds": True}
    )
    plan = "\n".join(
        (await shelf.scalars(text("EXPLAIN " + str(statement).replace(":", "\\:")))).all()
    )
    assert "Bitmap Index Scan on ix_passages_vector" in plan
    assert "Seq Scan on passages" not in plan


async def found(session: AsyncSession, query: str) -> list[uuid.UUID]:
    """The documents found, best first."""
    return [hit.document for hit in (await search_page(session, PASSAGES, query)).items]
