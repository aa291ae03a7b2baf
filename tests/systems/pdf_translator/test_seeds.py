"""Seeds for development."""

from sqlalchemy import select

from bedplate.layer import DataLayer
from bedplate.system import System
from systems.pdf_translator.models import User
from systems.pdf_translator.repositories import GlossaryEntries
from systems.pdf_translator.seeds import EMAIL, TERMS
from tests.systems.conftest import Catalogue
from tests.systems.pdf_translator.conftest import count_all


async def test_seeds_are_created_once_and_then_skipped(
    layer: DataLayer, bedplate_system: System, catalogue: Catalogue
) -> None:
    """`make seed` is typed more than once, and must neither fail nor double anything."""
    assert bedplate_system.seed is not None
    async with layer.transaction() as uow:
        first = await bedplate_system.seed(uow)
    counted = await count_all(catalogue)
    async with layer.transaction() as uow:
        second = await bedplate_system.seed(uow)

    assert [line.split()[0] for line in first] == ["created"] * (1 + len(TERMS))
    assert [line.split()[0] for line in second] == ["skipped"] * (1 + len(TERMS))
    assert await count_all(catalogue) == counted
    assert (counted["users"], counted["glossary"]) == (1, len(TERMS))


async def test_seeded_terms_are_used(layer: DataLayer, bedplate_system: System) -> None:
    """As a translation's job finds them."""
    assert bedplate_system.seed is not None
    async with layer.transaction() as uow:
        await bedplate_system.seed(uow)
    async with layer.reading() as session:
        user = (await session.scalars(select(User).where(User.email == EMAIL))).one()
        glossary = await GlossaryEntries(session, user.id).glossary_for("es")
    (_, piece, _) = glossary.pieces("The file system is a tree.")
    assert piece.translation == "sistema de archivos"
