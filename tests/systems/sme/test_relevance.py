"""Search on real questions: CISI's, of which people have said what answers them.

A part of the collection in every run; all of it, with the figures, by `make bench-search`.
"""

from pathlib import Path

import httpx
import pytest

from bedplate.layer import DataLayer
from bedplate.rows.fusion import Mode
from benchmarks.cisi import Collection, Relevance
from benchmarks.search import Search, store
from systems.sme.embedding import load_embedder
from tests.systems.everything import PATIENCE_SECONDS, everything, free_port
from tests.systems.sme.conftest import add_text, until_ready

MODES: tuple[Mode, ...] = ("words", "meaning", "hybrid")
# Questions that fewer abstracts answer say little.
LEAST_ANSWERS = 3


@pytest.fixture
def collection(data_folder: Path) -> Collection:
    """The whole of it."""
    return Collection.read(data_folder)


async def test_S10_hybrid_search_is_the_best_of_the_three_on_real_questions(
    layer: DataLayer, collection: Collection
) -> None:
    """And meaning is better than words: whoever changes a weight must see the order hold."""
    part = collection.first(300, LEAST_ANSWERS)
    questions = sorted(part.answers)
    embedder = load_embedder()
    asked = await embedder.embed([part.questions[number] for number in questions])
    async with layer.transaction() as uow:
        origins = await store(uow.session, part, embedder.embed)
    async with layer.reading() as session:
        search = Search(session, part, origins, dict(zip(questions, asked, strict=True)))
        words, meaning, hybrid = [await search.relevance(mode, questions) for mode in MODES]
    print(f"{words=} {meaning=} {hybrid=}")  # noqa: T201 - the figures are asked for
    assert hybrid.ndcg > meaning.ndcg > words.ndcg > 0.25
    assert hybrid.recall > words.recall > 0.6
    assert hybrid.recall > meaning.recall - 0.01


async def test_S10_evidence_is_ingested_and_searched_by_the_processes_that_a_user_starts(
    tmp_path: Path, collection: Collection
) -> None:
    """API, relay and worker of `bedplate run`, the model in the worker and in the API."""
    part = collection.first(40, LEAST_ANSWERS)
    port = free_port()
    with everything(tmp_path, {"BEDPLATE_SYSTEMS": "sme"}, port=port):
        address = f"http://127.0.0.1:{port}/sme"
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS) as client:
            numbers = {}
            for number, content in part.abstracts.items():
                added = await add_text(client, content, title=f"CISI {number}", tags=["cisi"])
                assert added.status_code == 202, added.text
                numbers[added.json()["id"]] = number
            for evidence in numbers:
                await until_ready(client, evidence)
            found = {mode: await _relevance(client, part, mode, numbers) for mode in MODES}
    print(found)  # noqa: T201 - the figures are asked for
    # Of 40 abstracts few answer a question: at random about 0.1 would be reached.
    assert min(each.ndcg for each in found.values()) > 0.35
    assert found["hybrid"].ndcg > found["words"].ndcg - 0.05


async def _relevance(
    client: httpx.AsyncClient, part: Collection, mode: Mode, numbers: dict[str, int]
) -> Relevance:
    """As a client sees it."""
    ranked = {}
    for number in part.answers:
        body = {"query": part.questions[number], "mode": mode, "limit": 100, "tags": ["cisi"]}
        answer = await client.post("/search", json=body)
        assert answer.status_code == 200, answer.text
        origins = [each["evidence"]["id"] for each in answer.json()["items"]]
        ranked[number] = [numbers[origin] for origin in dict.fromkeys(origins)]
    return Relevance.of(part, list(ranked), ranked.__getitem__)
