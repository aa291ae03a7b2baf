"""Layers that read and write one table of books, each with a cache of its own."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from bedplate.cache import link, remote
from bedplate.cache.cache import Cache
from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.layer import DataLayer
from bedplate.rows.database import Database
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.clones import ScratchDatabase
from tests.integration.cache.books import CREATE_BOOKS, DELETE_BOOKS, DROP_BOOKS


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    """A busy machine must not look like a Redis that is down; the tests of faults see to that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "SILENT_TICKS", 1000)
        patch.setattr(link, "CONNECT_SECONDS", 20.0)
        patch.setattr(remote, "PATIENCE_SECONDS", 20.0)
        patch.setattr(Cache, "FIRST_WAIT", timedelta(seconds=20))
        yield


@pytest.fixture(scope="module")
def books_table(librilabs_database: ScratchDatabase, background: BackgroundLoop) -> Iterator[None]:
    """The table of books, which the serving role may write; gone before other modules look."""

    async def execute(*statements: str) -> None:
        async with Database(librilabs_database.url) as database, database.engine.begin() as owner:
            for statement in statements:
                await owner.execute(text(statement))

    grant = f'GRANT SELECT, INSERT, UPDATE, DELETE ON cache_books TO "{librilabs_database.role}"'
    background.run(execute(CREATE_BOOKS, grant))
    yield
    background.run(execute(DROP_BOOKS))


@pytest.fixture
async def make_layer(
    committed: ScratchDatabase, books_table: None
) -> AsyncIterator[Callable[..., DataLayer]]:
    """Open layers, as if each were a process; all are closed afterwards."""
    made: list[DataLayer] = []

    def make(**variables: str) -> DataLayer:
        layer = DataLayer(committed.settings(**variables), name="library")
        layer._is_open = True
        made.append(layer)
        return layer

    yield make
    async with make().transaction() as uow:
        await uow.execute(DELETE_BOOKS)
    for layer in made:
        await layer.close()


@pytest.fixture
async def relay(make_layer: Callable[..., DataLayer]) -> AsyncIterator[Relay]:
    """A relay with a layer of its own, as in production; `drain` it."""
    layer = make_layer()
    async with Broker(layer.settings.redis()) as broker:
        yield Relay(layer, broker)
