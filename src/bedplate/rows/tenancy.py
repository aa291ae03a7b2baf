"""The terms of a transaction: whose it is, and how isolated; set for it alone.

`current_setting('bedplate.tenant', true)` is the tenant where policies read it; empty or NULL:
none. Set by `set_config(…, true)` right after BEGIN, so the next user of the connection finds
nothing, behind a transaction pooler, too. Called by `transaction.py`, `layer.py` and the files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session, SessionTransaction

Isolation = Literal["read committed", "repeatable read", "serializable"]

SET_TENANT = text("""
SELECT set_config('bedplate.tenant', coalesce(CAST(:tenant AS text), ''), true),
       set_config('bedplate.actor', coalesce(CAST(:actor AS text), ''), true)
""")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a transaction begins with. `isolation` None is the server's default."""

    tenant: str | None = None
    actor: str | None = None
    isolation: Isolation | None = None

    def fit(self, outer: "Terms") -> bool:
        """Whether a block with these terms may join one that began with `outer`."""
        return (
            self.tenant in (None, outer.tenant)
            and self.actor in (None, outer.actor)
            and self.isolation in (None, outer.isolation)
        )


# Nobody's, at the server's level.
NO_TERMS = Terms()


# The tenant of the block that runs here: the cache keeps each tenant's entries apart by it.
_tenant: ContextVar[str | None] = ContextVar("bedplate_tenant", default=None)


def running_tenant() -> str | None:
    """The tenant of the innermost block that this is inside, or None."""
    return _tenant.get()


@contextmanager
def running_as(tenant: str | None) -> Iterator[None]:
    """Have the block's cache entries be the tenant's."""
    before = _tenant.get()
    _tenant.set(tenant)
    try:
        yield
    finally:
        # By value and not by token: a fixture's end may run in another context than its begin.
        if _tenant.get() == tenant:
            _tenant.set(before)


# Whose work this is where a block does not say it: the running job's tenant and actor.
_work: ContextVar[Terms] = ContextVar("bedplate_work", default=NO_TERMS)


@contextmanager
def working_for(tenant: str | None, actor: str | None) -> Iterator[None]:
    """Have blocks without a tenant of their own, and the cache outside of blocks, be this one's."""
    token = _work.set(Terms(tenant, actor))
    try:
        with running_as(tenant):
            yield
    finally:
        _work.reset(token)


def completed(terms: Terms) -> Terms:
    """The terms with what the running work says where they name no tenant."""
    if terms.tenant is not None:
        return terms
    work = _work.get()
    return replace(terms, tenant=work.tenant, actor=terms.actor or work.actor)


def isolated(engine: AsyncEngine, terms: Terms) -> AsyncEngine:
    """The same pool; its transactions begin at the level of the terms, for no round trip more."""
    if terms.isolation is None:
        return engine
    return engine.execution_options(isolation_level=terms.isolation.upper())


def bind(session: Session, terms: Terms) -> None:
    """Have every transaction of this session begin as this tenant, and its actor.

    One round trip more when there is a tenant; an actor alone is noted on jobs, and costs none.
    """
    if terms.tenant is None:
        return
    values = {"tenant": terms.tenant, "actor": terms.actor}

    def set_both(_session: Session, transaction: SessionTransaction, begun: Connection) -> None:
        if not transaction.nested:
            begun.execute(SET_TENANT, values)

    event.listen(session, "after_begin", set_both)
