"""DataLayer: the open clients of one process, opened and closed in order.

    async with DataLayer.from_environment() as layer:
        async with layer.transaction() as uow: ...
        async with layer.reading() as session: ...

The constructor only stores. `open` connects to PostgreSQL and checks who serves; Redis, which
holds wake-ups and copies only, is connected at its first command, and one that is down stops
nothing. Use a layer from one event loop; after a fork each process makes its own.
"""

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from bedplate import current
from bedplate.cache.cache import Cache
from bedplate.cache.channels import Channels
from bedplate.cache.connections import RedisPool
from bedplate.delivery import outbox
from bedplate.delivery.wakeup import Wakeup
from bedplate.errors import TransactionError
from bedplate.files.file_store import FileStore
from bedplate.jobs.following import Following
from bedplate.retries import Retries, repeat
from bedplate.rows.database import Database
from bedplate.rows.present_rows import RowSession
from bedplate.rows.tenancy import (
    NO_TERMS,
    Isolation,
    Terms,
    bind,
    completed,
    running_as,
    running_tenant,
)
from bedplate.settings import Settings
from bedplate.transaction import transact
from bedplate.transaction_end import discard, uninterrupted
from bedplate.unit_of_work import UnitOfWork

P = ParamSpec("P")
T = TypeVar("T")


class DataLayer:
    """The door to everything: `transaction()` to change, `reading()` to read."""

    def __init__(self, settings: Settings, *, name: str = "app") -> None:
        self.settings = settings
        self.name = name
        self._is_open = False

    @classmethod
    def from_environment(cls, name: str = "app") -> Self:
        """A layer for the environment's variables; those that begin with `name` win."""
        return cls(Settings.load(name), name=name)

    @cached_property
    def database(self) -> Database:
        """The database that requests are served from, as the application's role."""
        return Database.from_settings(self.settings, application_name=self.name)

    @cached_property
    def owner_database(self) -> Database:
        """The same database as the schema's owner: for relay and leases. Connects when used."""
        return Database.owner_from_settings(self.settings, application_name=f"{self.name} owner")

    @cached_property
    def redis(self) -> RedisPool:
        """Redis or Valkey. Connects when used. Raises `SettingsError` when REDIS_URL is missing."""
        return RedisPool.from_settings(self.settings)

    @cached_property
    def cache(self) -> Cache:
        """The cache. Connects when used. Raises `SettingsError` when REDIS_URL is missing."""
        return Cache(
            self.settings.redis(),
            self.name,
            lambda: self.reading(tenant=running_tenant()),
            near_bytes=self.settings.near_cache_bytes,
            is_in_transaction=lambda: self.current is not None,
            tenant=running_tenant,
        )

    @cached_property
    def channels(self) -> Channels:
        """What processes say to each other. Connects when used. Raises as `cache`."""
        return Channels(self.settings.redis(), self.name, lambda: self.redis.client())

    @cached_property
    def files(self) -> FileStore:
        """The files. S3 is asked when used. Raises `SettingsError` without AWS_BUCKET_NAME."""
        return FileStore(self.settings, self.name)

    @cached_property
    def wakeup(self) -> Wakeup:
        """Wakes the relay after a commit."""
        return Wakeup(self.database)

    @cached_property
    def following(self) -> Following:
        """Whoever waits for a job to move waits here. Connects while there is somebody."""
        return Following(self.owner_database)

    @property
    def current(self) -> UnitOfWork | None:
        """The unit of work of this layer that the running task is inside, or None."""
        # Not `self.database`, which would make one.
        database = self.__dict__.get("database")
        return None if database is None else current.owned(database)

    @property
    def is_open(self) -> bool:
        """Whether `open` has been called, and `close` not yet."""
        return self._is_open

    async def open(self) -> None:
        """Connect and check the serving role.

        Raises `SettingsError`, `DatabaseUnreachableError`, `RoleRefusedError`.
        """
        await self.database.open()
        self._is_open = True

    async def close(self) -> None:
        """Close everything that was opened. Transactions that still run lose their connection."""
        self._is_open = False
        await uninterrupted(self._close())

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if self.__dict__.get("_is_open"):
            warnings.warn(
                f"DataLayer {self.name!r} was not closed",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        return f"<DataLayer {self.name} {'open' if self._is_open else 'closed'}>"

    def transaction(
        self,
        *,
        tenant: str | None = None,
        actor: str | None = None,
        isolation: Isolation | None = None,
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work: committed at the end of the block, rolled back on any exception.

        `tenant` and `actor` hold for this transaction only: policies read them, jobs and files
        carry them. Inside a task they are by default the job's. Inside another block of the same
        task it joins that one: one COMMIT, at the end of the outer; other terms than the outer's
        are a `TransactionError`.
        """
        return self._transact(completed(Terms(tenant, actor, isolation)))

    def owner_transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work as the schema's owner, whom no policy binds: for seeds and repairs.

        Never for a request: it sees and changes every tenant's rows.
        """
        return self._transact(NO_TERMS, self.owner_database)

    async def run(
        self,
        function: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call `function(uow, …)` in a transaction, and all of it again when that cannot commit.

        At serialization failures, deadlocks, locks not had in time and lost connections, five
        times at most within ten seconds. Inside a transaction it joins, and nothing is repeated.
        """
        return await self.run_with(Retries(), function, *args, **kwargs)

    async def run_with(
        self,
        retries: Retries,
        function: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `run`, with attempts, deadline, tenant and isolation level of one's own."""
        if self.current is not None:
            retries = replace(retries, attempts=1)
        return await repeat(
            lambda: self._transact(completed(retries.terms)),
            lambda uow: function(uow, *args, **kwargs),
            retries,
        )

    @asynccontextmanager
    async def reading(
        self, *, tenant: str | None = None, actor: str | None = None
    ) -> AsyncIterator[AsyncSession]:
        """A session in a READ ONLY transaction, rolled back at the end of the block.

        It has a connection of its own, also inside a unit of work, whose changes it does not see.
        """
        self._check_open()
        session = AsyncSession(
            self._readonly_engine, expire_on_commit=False, sync_session_class=RowSession
        )
        terms = completed(Terms(tenant, actor))
        bind(session.sync_session, terms)
        with self.database.translating():
            try:
                with running_as(terms.tenant):
                    yield session
            finally:
                await uninterrupted(discard(session))

    @cached_property
    def _readonly_engine(self) -> AsyncEngine:
        """The same pool; its transactions begin READ ONLY."""
        return self.database.engine.execution_options(postgresql_readonly=True)

    def _transact(
        self, terms: Terms, database: Database | None = None
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        self._check_open()
        return transact(
            database or self.database,
            self._committed,
            lambda: self.files,
            terms,
            self.settings.guard_mode,
        )

    def _committed(self, uow: UnitOfWork) -> None:
        messages = uow.pending_messages
        if messages and self.settings.redis_url is not None:
            self.cache.forget(outbox.invalidations(messages))
            self.channels.publish_soon(outbox.publications(messages))
        if uow.has_deliveries:
            self.wakeup.request()

    def _check_open(self) -> None:
        if not self._is_open:
            raise TransactionError(
                f"DataLayer {self.name!r} is not open",
                hint="Write `async with DataLayer.from_environment() as layer`, or await open().",
            )

    async def _close(self) -> None:
        async with AsyncExitStack() as stack:
            # Only what was made, in the reverse of the order in which it may be needed.
            self.__dict__.pop("_readonly_engine", None)
            for name in (
                "database",
                "owner_database",
                "redis",
                "wakeup",
                "files",
                "cache",
                "channels",
                "following",
            ):
                made: Any = self.__dict__.pop(name, None)
                if made is not None:
                    stack.push_async_callback(made.close)
