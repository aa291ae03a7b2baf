"""Two tenants use the same keys: what is one's is never the other's."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.delivery.relay import Relay
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.testing import drain
from tests.integration.cache.books import TTL

MakeLayer = Callable[..., DataLayer]

KEY = "settings"
TAG = "everything"
WHO = text("SELECT current_setting('bedplate.tenant', true)")


async def who(session: AsyncSession) -> str:
    """Whose rows the session reads."""
    return await session.scalar(WHO) or "nobody"


def returning(value: str) -> Callable[[], Awaitable[str]]:
    """A loader of this value."""

    async def load() -> str:
        return value

    return load


async def found(layer: DataLayer, tenant: str | None) -> str | None:
    """What the cache holds for a tenant under the one key."""
    return await layer.cache.of(tenant).get(KEY, str, tags=(TAG,))


async def fill(layer: DataLayer, *tenants: str | None) -> None:
    """An entry for each tenant, all under one key and one tag."""
    for tenant in tenants:
        load = returning(f"of {tenant}")
        assert (
            await layer.cache.of(tenant).get_or_load(KEY, load, ttl=TTL, tags=(TAG,))
            == f"of {tenant}"
        )


async def test_a_tenant_never_sees_anothers_value(make_layer: MakeLayer) -> None:
    """Neither in this process nor in Redis, nor what is nobody's."""
    one, other = make_layer(), make_layer()
    await fill(one, "acme", "bob", None)
    for layer in (one, other):
        assert await found(layer, "acme") == "of acme"
        assert await found(layer, "bob") == "of bob"
        assert await found(layer, None) == "of None"
        assert await found(layer, "eve") is None


async def test_two_tenants_that_miss_at_once_load_each_their_own(make_layer: MakeLayer) -> None:
    """Single flight joins those who want the same; these do not."""
    layer = make_layer()
    names = ["acme", "bob"] * 20
    values = await asyncio.gather(
        *(layer.cache.of(name).get_or_read(KEY, who, ttl=TTL) for name in names)
    )
    assert values == names
    assert layer.cache.loads == 2


async def test_an_invalidation_is_the_tenants_own(make_layer: MakeLayer, relay: Relay) -> None:
    """By key, by tag, at once in this process and by the relay in others."""
    one, other = make_layer(), make_layer()
    for words in ({"keys": (KEY,)}, {"tags": (TAG,)}):
        await fill(one, "acme", "bob", None)
        await fill(other, "acme", "bob", None)
        async with one.transaction(tenant="acme") as uow:
            uow.invalidate(*words.get("keys", ()), tags=words.get("tags", ()))
        assert await found(one, "acme") is None
        assert (await relay.drain()).messages == 1
        fresh = make_layer()
        for layer in (one, fresh):
            assert await found(layer, "acme") is None
            assert await found(layer, "bob") == "of bob"
            assert await found(layer, None) == "of None"


async def test_a_read_inside_a_tenants_block_is_the_tenants(make_layer: MakeLayer) -> None:
    """Nobody has to name it twice; the session that the cache opens is the tenant's, too."""
    layer = make_layer()
    async with layer.reading(tenant="acme"):
        assert await layer.cache.get_or_read(KEY, who, ttl=TTL) == "acme"
    assert await found(layer, "acme") is None, "stored without a tag"
    assert await layer.cache.of("acme").get(KEY, str) == "acme"
    assert await layer.cache.get_or_read(KEY, who, ttl=TTL) == "nobody"
    assert await layer.cache.of("bob").get_or_read(KEY, who, ttl=TTL) == "bob"


async def test_a_transaction_reads_as_its_tenant_and_stores_nothing(make_layer: MakeLayer) -> None:
    """Inside it the cache only loads, for the tenant all the same."""
    layer = make_layer()
    async with layer.transaction(tenant="acme"):
        assert await layer.cache.get_or_read(KEY, who, ttl=TTL) == "acme"
        assert await layer.cache.of("bob").get_or_read(KEY, who, ttl=TTL) == "bob"
    assert await layer.cache.of("acme").get(KEY, str) is None
    assert await layer.cache.of("bob").get(KEY, str) is None


async def test_a_job_reads_as_its_tenant(make_layer: MakeLayer) -> None:
    """Outside of its transactions, where only the job knows whose it is."""
    layer = make_layer()
    seen: list[str] = []

    @task(name="tenants.look")
    async def look(job: JobRun) -> None:
        seen.append(await job.cache.get_or_read(KEY, who, ttl=TTL))
        seen.append(await job.layer.cache.get_or_read(KEY, who, ttl=TTL))

    async with layer.transaction(tenant="acme") as uow:
        uow.enqueue(look)
    await drain(layer, [look])
    assert seen == ["acme", "acme"]
    assert await layer.cache.of("acme").get(KEY, str) == "acme"
