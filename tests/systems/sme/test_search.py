"""POST /search: by words, by meaning, by both; filters; nothing that is deleted; any question."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import func, insert, select, text

from bedplate.layer import DataLayer
from systems.sme.embedding import load_embedder
from systems.sme.embedding.embedder import EmbedderMissingError
from systems.sme.embedding.minilm import MiniLM
from systems.sme.models import Evidence, EvidenceStatus, Passage

# Title, source, tags, day observed, passages. No word of the questions below is in the answer.
STORE: list[tuple[str, str | None, list[str], str | None, list[str]]] = [
    (
        "Finches",
        "beagle",
        ["birds", "islands"],
        "1835-10-08",
        [
            "The beaks of these small animals vary with what they eat.",
            "The tortoises come to the springs to drink, and drink for days.",
        ],
    ),
    (
        "Markets",
        "gazette",
        ["money"],
        "1929-10-29",
        ["Shares lost a quarter of their value within two days, and banks closed their doors."],
    ),
    (
        "Kitchens",
        None,
        ["food", "birds"],
        None,
        ["Roast the goose slowly, and serve it with red cabbage.", "Bread needs time to rise."],
    ),
]
HOSTILE = [
    "\\", "'", "''';--", "a & | ! <-> b:*", "((", '"', "-", "the of and", "🦆", "%", "$1 :name ?",
    "' OR 1=1 --", "x" * 2000, "word " * 400, "C:\\temp\\'x'", "中文", "\u202egnp", "İ ß ﬁ", "NaN",
]  # fmt: skip


@pytest.fixture
async def store(layer: DataLayer) -> dict[str, Any]:
    """The store's evidence by its title, as the job would have left it."""
    embedder = load_embedder()
    made: dict[str, Any] = {}
    async with layer.transaction() as uow:
        for title, source, tags, day, texts in STORE:
            evidence = Evidence(
                title=title,
                source=source,
                tags=tags,
                observed_at=datetime.fromisoformat(f"{day}T12:00:00+00:00") if day else None,
                content_type="text/plain",
                size_bytes=sum(map(len, texts)),
                content_hash=hashlib.sha256(title.encode()).digest(),
                status=EvidenceStatus.READY,
                passage_count=len(texts),
            )
            uow.session.add(evidence)
            await uow.session.flush()
            vectors = await embedder.embed(texts)
            rows = [
                {
                    "evidence_id": evidence.id,
                    "position": position,
                    "start": 100 * position,
                    "end": 100 * position + len(content),
                    "text": content,
                    "config": "english",
                    "embedding": vectors[position],
                    "embedding_model": embedder.name,
                }
                for position, content in enumerate(texts)
            ]
            await uow.session.execute(insert(Passage), rows)
            made[title] = evidence.id
    return made


async def ask(client: AsyncClient, query: str, **said: Any) -> list[dict[str, Any]]:
    """What is found."""
    answer = await client.post("/search", json={"query": query, **said})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def titles(client: AsyncClient, query: str, **said: Any) -> list[str]:
    """The evidence of what is found, best first."""
    return [each["evidence"]["title"] for each in await ask(client, query, **said)]


async def test_S10_by_meaning_without_a_word_in_common(
    client: AsyncClient, store: dict[str, Any]
) -> None:
    """Which is what no index of words can do."""
    found = await ask(client, "stock exchange crash", mode="meaning")
    assert found[0]["evidence"]["title"] == "Markets"
    assert 0 < found[0]["score"] <= 1
    assert len(found) == 5
    assert (await titles(client, "How do I cook poultry?", mode="meaning"))[0] == "Kitchens"


async def test_S10_by_words_what_has_them_and_nothing_else(
    client: AsyncClient, store: dict[str, Any]
) -> None:
    """Stemmed, some of them enough; and the model is not asked."""
    assert await titles(client, "drinking tortoise?", mode="words") == ["Finches"]
    assert await titles(client, "poultry", mode="words") == []


async def test_S10_hybrid_is_the_usual_mode_and_has_both(
    client: AsyncClient, store: dict[str, Any]
) -> None:
    """First what is good in both lists; then what is in one of them."""
    found = await ask(client, "Do birds eat bread?")
    assert len(found) == 5
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert 1 >= scores[0] > scores[-1] > 0
    assert found == await ask(client, "Do birds eat bread?", mode="hybrid")
    assert found[0]["text"] in {STORE[0][4][0], STORE[2][4][1]}


async def test_S10_a_passage_is_shown_with_evidence_and_position(
    client: AsyncClient, store: dict[str, Any]
) -> None:
    """Enough to show it, and to find the place in the whole."""
    (found,) = await ask(client, "tortoises", mode="words")
    assert found["text"] == STORE[0][4][1]
    assert found["position"] == {"index": 1, "page": None, "start": 100, "end": 163}
    assert found["evidence"] == {
        "id": str(store["Finches"]),
        "title": "Finches",
        "source": "beagle",
        "tags": ["birds", "islands"],
        "observed_at": "1835-10-08T12:00:00Z",
    }


@pytest.mark.parametrize("mode", ["words", "meaning", "hybrid"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"tags": ["birds"]}, {"Finches", "Kitchens"}),
        ({"tags": ["birds", "islands"]}, {"Finches"}),
        ({"tags": ["nothing"]}, set()),
        ({"source": "gazette"}, {"Markets"}),
        ({"from": "1900-01-01T00:00:00Z"}, {"Markets"}),
        ({"to": "1900-01-01T00:00:00Z"}, {"Finches"}),
        ({"from": "1835-10-08T12:00:00Z", "to": "1835-10-08T14:00:00+02:00"}, {"Finches"}),
        ({"tags": ["birds"], "source": "beagle", "to": "1800-01-01T00:00:00Z"}, set()),
    ],
)
async def test_S10_filters_hold_in_every_mode(
    client: AsyncClient, store: dict[str, Any], mode: str, said: dict[str, Any], expected: set[str]
) -> None:
    """Tags all of them, bounds included, undated evidence in no span of time."""
    query = "the small animals eat bread, tortoises drink, shares and goose"
    assert set(await titles(client, query, mode=mode, **said)) == expected


@pytest.mark.parametrize("mode", ["words", "meaning", "hybrid"])
async def test_S5_what_is_deleted_is_not_found_and_what_is_restored_is(
    client: AsyncClient, store: dict[str, Any], layer: DataLayer, mode: str
) -> None:
    """In the list of each mode, and with a filter on it, too."""
    said = {"query": "tortoises drink at springs", "mode": mode}
    assert "Finches" in await titles(client, **said)
    assert (await client.delete(f"/evidence/{store['Finches']}")).status_code == 204
    assert "Finches" not in await titles(client, **said)
    assert await titles(client, **said, tags=["islands"]) == []
    assert (await client.post(f"/evidence/{store['Finches']}/restore")).status_code == 200
    assert "Finches" in await titles(client, **said)


async def test_S8_vectors_of_another_model_are_not_compared(
    client: AsyncClient, store: dict[str, Any], layer: DataLayer
) -> None:
    """They have nothing to do with the question's; by words the passage is found all the same."""
    async with layer.transaction() as uow:
        await uow.session.execute(
            text("UPDATE passages SET embedding_model = 'another' WHERE text LIKE '%tortoise%'")
        )
    query = "tortoises drink"
    assert len(await ask(client, query, mode="meaning")) == 4
    assert len(await ask(client, query, mode="words")) == 1
    assert STORE[0][4][1] in {each["text"] for each in await ask(client, query)}


async def test_what_is_cut_but_not_embedded_yet_is_found_by_its_words(
    client: AsyncClient, store: dict[str, Any], layer: DataLayer
) -> None:
    """Its job may have a long way to go."""
    async with layer.transaction() as uow:
        await uow.session.execute(
            text("UPDATE passages SET embedding = NULL, embedding_model = NULL")
        )
    assert await titles(client, "tortoises", mode="meaning") == []
    assert await titles(client, "tortoises") == ["Finches"]


async def test_a_page_is_no_longer_than_was_asked(
    client: AsyncClient, store: dict[str, Any]
) -> None:
    """The best of it."""
    everything = await ask(client, "animals eat bread")
    assert await ask(client, "animals eat bread", limit=2) == everything[:2]


@pytest.mark.parametrize("query", HOSTILE)
async def test_any_text_is_a_question(
    client: AsyncClient, store: dict[str, Any], layer: DataLayer, query: str
) -> None:
    """A stranger's: operators, quotes, one endless word. Found or not, never an error."""
    for mode in ("words", "meaning", "hybrid"):
        await ask(client, query, mode=mode, tags=[query[:100]] if query.strip() else [])
        await ask(client, query, mode=mode)
    async with layer.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Passage)) == 5


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": " \n"},
        {"query": "x" * 2001},
        {"query": "a\0b"},
        {"query": ["a"]},
        {"query": "a", "mode": "both"},
        {"query": "a", "limit": 0},
        {"query": "a", "limit": 101},
        {"query": "a", "tags": ["x" * 101]},
        {"query": "a", "tags": ["x"] * 51},
        {"query": "a", "source": "\0"},
        {"query": "a", "from": "2020-01-01"},
        {"query": "a", "from": "2020-01-01T00:00:00"},
        {"query": "a", "from": "2021-01-01T00:00:00Z", "to": "2020-01-01T00:00:00Z"},
        {"query": "a", "from_": "2020-01-01T00:00:00Z"},
        {"query": "a", "to": "9999-12-31T23:59:59-23:00"},
        {"query": "a", "deleted": True},
    ],
)
async def test_what_is_no_question_is_refused(client: AsyncClient, body: dict[str, Any]) -> None:
    """With 422 and a reason, before a model or a database is asked."""
    answer = await client.post("/search", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_empty_store_answers_with_nothing(client: AsyncClient) -> None:
    """In every mode."""
    for mode in ("words", "meaning", "hybrid"):
        assert await ask(client, "anything at all", mode=mode) == []


async def test_without_the_model_words_are_searched_and_the_rest_says_why(
    client: AsyncClient, store: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra `embeddings` is not installed: the service lacks something, not the client."""

    async def embed(self: MiniLM, texts: list[str]) -> None:
        raise EmbedderMissingError("onnxruntime")

    monkeypatch.setattr(MiniLM, "embed", embed)
    answer = await client.post("/search", json={"query": "tortoises"})
    assert answer.status_code == 503
    assert answer.json()["code"] == "embedder_missing"
    assert "bedplate[embeddings]" in answer.json()["detail"]
    assert await titles(client, "tortoises", mode="words") == ["Finches"]


async def test_the_dates_are_moments(client: AsyncClient, store: dict[str, Any]) -> None:
    """A second too late is too late, in whatever zone it is said."""
    at = datetime(1929, 10, 29, 12, 0, 0, tzinfo=UTC)
    assert await titles(client, "shares", mode="words", to=at.isoformat()) == ["Markets"]
    assert await titles(client, "shares", mode="words", to="1929-10-29T13:59:59+02:00") == []
