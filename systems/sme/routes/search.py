"""/search: the passages that answer a question."""

from bedplate.fastapi import DepLayer, Problem, Router
from bedplate.rows.fusion import Question
from systems.sme.embedding import Embedder, EmbedderMissingError, load_embedder
from systems.sme.questions import FoundPassage, FoundPassages, SearchQuestion
from systems.sme.repositories import EvidenceFilter, Passages
from systems.sme.settings import SmeSettings

router = Router(prefix="/search", tags=["search"])


@router.post("")
async def search(asked: SearchQuestion, layer: DepLayer) -> FoundPassages:
    """The best passages for a question, best first, with where they stand.

    Evidence is found by its words as soon as it is cut, by its meaning as soon as it is embedded,
    and not at all while it is deleted.
    """
    settings = SmeSettings.load()
    embedder = load_embedder(settings.embedder)
    # Before the transaction: the model takes some milliseconds, and needs no connection.
    question = Question(asked.query, await _vector(embedder, asked))
    among = EvidenceFilter(asked.tags, asked.source, asked.from_, asked.to)
    async with layer.reading() as session:
        passages = Passages(session, embedder.name, settings.language)
        found = await passages.search(question, asked.mode, among, asked.limit)
        return FoundPassages(items=[FoundPassage.of(*each) for each in found])


async def _vector(embedder: Embedder, asked: SearchQuestion) -> list[float]:
    if asked.mode == "words":
        return []
    try:
        (vector,) = await embedder.embed([asked.query])
    except EmbedderMissingError as error:
        raise Problem(503, str(error), code="embedder_missing") from error
    numbers: list[float] = vector.tolist()
    return numbers
