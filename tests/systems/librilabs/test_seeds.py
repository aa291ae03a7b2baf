"""Seeds for development."""

from bedplate.layer import DataLayer
from bedplate.system import System
from systems.librilabs.models import User
from systems.librilabs.readers import Reader
from systems.librilabs.repositories import Documents, Users
from systems.librilabs.seeds import EMAIL, TEXTS
from tests.systems.conftest import Catalogue
from tests.systems.librilabs.conftest import count_all


async def test_seeds_are_created_once_and_then_skipped(
    layer: DataLayer, librilabs: System, catalogue: Catalogue
) -> None:
    """`make seed` is typed more than once, and must neither fail nor double anything."""
    assert librilabs.seed is not None
    async with layer.transaction() as uow:
        first = await librilabs.seed(uow)
    counted = await count_all(catalogue)
    async with layer.transaction() as uow:
        second = await librilabs.seed(uow)

    assert [line.split()[0] for line in first] == ["created"] * (1 + len(TEXTS))
    assert [line.split()[0] for line in second] == ["skipped"] * (1 + len(TEXTS))
    assert await count_all(catalogue) == counted
    assert (counted["users"], counted["documents"]) == (1, len(TEXTS))


async def test_seeded_texts_can_be_searched(layer: DataLayer, librilabs: System) -> None:
    """A seed that skips a table of the application shows half of it."""
    assert librilabs.seed is not None
    async with layer.transaction() as uow:
        await librilabs.seed(uow)

    async with layer.reading() as session:
        user = await Users(session).find_by_email(EMAIL.upper())
        assert isinstance(user, User)
        page = await Documents(session, Reader(user_id=user.id)).search(
            "trunkless legs", cursor=None, limit=10
        )
    assert len(page.items) == 1
