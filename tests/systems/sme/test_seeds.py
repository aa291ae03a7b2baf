"""The seeds of sme: made once, ingested as any evidence, skipped where there is no S3."""

from bedplate.layer import DataLayer
from bedplate.testing import drain
from systems.sme.app import system
from systems.sme.seeds import TEXTS, seed
from tests.systems.conftest import Catalogue


async def test_seeds_make_what_is_missing_and_say_what_they_did(
    layer: DataLayer, catalogue: Catalogue
) -> None:
    """Any number of times."""
    async with layer.transaction() as uow:
        first = await seed(uow)
    async with layer.transaction() as uow:
        again = await seed(uow)

    assert [line.split()[0] for line in first] == ["created"] * len(TEXTS)
    assert [line.split()[0] for line in again] == ["skipped"] * len(TEXTS)
    await drain(layer, system.tasks)
    rows = await catalogue("SELECT status, passage_count FROM evidence")
    assert [tuple(row) for row in rows] == [("ready", 1)] * len(TEXTS)
