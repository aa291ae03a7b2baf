"""What a route asks for: the unit of work, its session, Redis, the layer.

    @router.post("/documents", status_code=201)
    async def create(uow: DepUnitOfWork) -> Document: ...

The unit of work commits after the answer is made and before its first byte is sent; any
exception, a cancellation and an answer of 400 or more roll it back. `get_db` gives the session of
that same unit of work. A dependency with `yield` that uses it must be function-scoped too.
It runs as the tenant that the application's `identify` names, and honours Idempotency-Key.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from bedplate import current
from bedplate.errors import SettingsError
from bedplate.fastapi import idempotency
from bedplate.fastapi.identity import identity_of
from bedplate.fastapi.routing import note_unit_of_work, refuse_foreign_route
from bedplate.layer import DataLayer
from bedplate.unit_of_work import UnitOfWork


async def get_layer(connection: HTTPConnection) -> DataLayer:
    """The layer of the application that runs this request."""
    layer: DataLayer | None = getattr(connection.app.state, "layer", None)
    if layer is None:
        raise SettingsError(
            "the application has no layer",
            hint="Make it with bedplate.fastapi.create_app(layer), or set app.state.layer.",
        )
    return layer


DepLayer = Annotated[DataLayer, Depends(get_layer)]


async def unit_of_work(connection: HTTPConnection, layer: DepLayer) -> AsyncIterator[UnitOfWork]:
    """The request's unit of work. Raises `TransactionError` on a route that is not ours."""
    refuse_foreign_route(connection)
    identity = await identity_of(connection)
    with current.apart():
        async with layer.transaction(tenant=identity.tenant, actor=identity.actor) as uow:
            note_unit_of_work(connection, uow)
            await idempotency.begin(connection, uow, identity)
            yield uow


DepUnitOfWork = Annotated[UnitOfWork, Depends(unit_of_work, scope="function")]


async def get_db(uow: DepUnitOfWork) -> AsyncSession:
    """The session of the request's unit of work: committed before the answer is sent.

    Returns instead of yielding, so that a plain `Depends(get_db)` is right: the unit of work is
    what ends, and FastAPI refuses a request-scoped generator above a function-scoped one.
    """
    return uow.session


DepSession = Annotated[AsyncSession, Depends(get_db)]


async def get_redis(layer: DepLayer) -> Redis:
    """A client for short commands, from the layer's pool."""
    return layer.redis.client()


DepRedis = Annotated[Redis, Depends(get_redis)]
