"""What a session shows and changes where rows are deleted softly: present rows alone.

From the first soft-deleted model on every session of the process is watched, also one made past
the layer. A statement that cannot be narrowed is refused: on a bare table, an update by keys. Text,
and statements on a connection, are the caller's own. `soft_delete.py` declares the models.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Delete, MetaData, Table, Update, event, func, inspect, select, update
from sqlalchemy.orm import (
    LoaderCallableStatus,
    LoaderCriteriaOption,
    Mapper,
    ORMExecuteState,
    Session,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import FromClause, SelectBase

from bedplate.errors import SoftDeleteError

# Of a statement or of session.get: deleted rows, too.
INCLUDE_DELETED = "include_deleted"
# Of a delete(): for good.
PURGE = "purge"

T = TypeVar("T")

_tables: set[Table] = set()
# Of the systems that these are of.
_metadatas: set[MetaData] = set()

# A statement that is kept and run again, by itself: the narrowed one keeps its cache key, too.
_narrowed: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
# The cache keys of statements that name no table of these.
_harmless: set[Any] = set()
_MOST_HARMLESS = 1000
_SELECTS = (FromClause, SelectBase)


class RowSession(Session):
    """The session that the layer makes. A deleted row that it has in memory is not shown."""

    def _identity_lookup(
        self, mapper: Mapper[T], *arguments: Any, **options: Any
    ) -> T | LoaderCallableStatus | None:
        # Overridden as SQLAlchemy's own horizontal_shard.py does. `get` and many-to-one ask here
        # first; without an answer they ask the database, which shows them no such row.
        found = super()._identity_lookup(mapper, *arguments, **options)
        if mapper.local_table not in _tables or not _is_deleted(found):
            return found
        return found if options.get("execution_options", {}).get(INCLUDE_DELETED) else None


def watch(mixin: type, table: Table) -> None:
    """Hide the deleted rows of this table, which a class below the mixin is mapped to."""
    _tables.add(table)
    _harmless.clear()
    _metadatas.add(table.metadata)
    _watch_sessions(mixin)


@cache
def _watch_sessions(mixin: type) -> None:
    def soften(session: Session, *_: object) -> None:
        _soften_deletes(session, mixin)

    event.listen(Session, "do_orm_execute", narrow_to_present(mixin))
    event.listen(Session, "before_flush", soften)


@cache
def narrow_to_present(mixin: type) -> Callable[[ORMExecuteState], Any]:
    """What is called for each statement of a session."""
    present = _condition(mixin)

    def narrow(state: ORMExecuteState) -> Any:
        options = state.execution_options
        if _is_soft_delete(state) and not options.get(PURGE):
            return _delete_softly(state)
        if not options.get(INCLUDE_DELETED):
            _narrow(state, present, mixin)
        return None

    return narrow


@cache
def _condition(mixin: type) -> "_PresentOnly":
    return _PresentOnly(
        mixin,
        lambda entity: entity.deleted_at.is_(None),
        include_aliases=True,
        track_closure_variables=False,
    )


class _PresentOnly(LoaderCriteriaOption):
    """The condition on every entity of a statement: once, however often it is said."""

    def _gen_cache_key(self, *_: Any) -> tuple[Any, ...]:
        # Says it all: SQLAlchemy need not read through the condition again for each statement.
        return _PresentOnly, self.root_entity

    def __reduce__(self) -> tuple[Any, ...]:
        # A row has it with it, also where the row is pickled.
        return _condition, (self.root_entity,)

    def get_global_criteria(self, attributes: dict[Any, Any]) -> None:
        # A relationship's load has it from its parent's statement, and from `narrow`.
        if not attributes.get(_PresentOnly):
            attributes[_PresentOnly] = True
            super().get_global_criteria(attributes)


def _narrow(state: ORMExecuteState, present: _PresentOnly, mixin: type) -> None:
    """Add the condition to the statement, or refuse it."""
    statement: Any = state.statement
    if not state.is_orm_statement:
        _refuse_bare_tables(state)
        return
    mapper = state.bind_mapper
    if mapper is not None and mapper.registry.metadata not in _metadatas:
        # Another system's, which deletes no row softly.
        return
    if statement.is_dml:
        if state.is_insert and statement.select is None:
            return
        if isinstance(statement, Update) and state.is_executemany and statement.table in _tables:
            raise _refusal(f"an update of {_name(statement.table)} by keys")
    narrowed = _narrowed.get(statement)
    if narrowed is None:
        narrowed = statement
        if isinstance(statement, Update):
            narrowed = _narrow_joined(statement, mapper, mixin)
        narrowed = _narrowed[statement] = narrowed.options(present)
    state.statement = narrowed


def _refuse_bare_tables(state: ORMExecuteState) -> None:
    if not (state.is_select or state.is_update or state.is_delete):
        return
    statement = cast("Any", state.statement)
    # As SQLAlchemy's example for dogpile.cache has it. It is kept for the execution.
    cache_key = statement._generate_cache_key()  # noqa: SLF001
    key = cache_key.key if cache_key is not None else None
    if key in _harmless:
        return
    for element in visitors.iterate(statement):
        if isinstance(element, Table) and element in _tables:
            raise _refusal(f"a statement on the bare table {element.name}")
    if key is not None:
        if len(_harmless) >= _MOST_HARMLESS:
            _harmless.clear()
        _harmless.add(key)


def _refusal(what: str) -> SoftDeleteError:
    return SoftDeleteError(
        f"{what} would reach rows that are deleted",
        hint="Write it with the model and a WHERE, or say execution_options(include_deleted=True).",
    )


def _narrow_joined(statement: Update, target: Mapper[Any] | None, mixin: type) -> Update:
    """The condition on what an UPDATE … FROM joins: SQLAlchemy puts it on the target alone."""
    named = (each._from_objects for each in statement._where_criteria)  # noqa: SLF001
    if {statement.table}.issuperset(chain.from_iterable(named)):
        # Most join nothing, and need no search.
        return statement
    for joined in _entities(statement.whereclause):
        if joined is not target and issubclass(joined.mapper.class_, mixin):
            statement = statement.where(joined.entity.deleted_at.is_(None))
    return statement


def _entities(clause: Any) -> set[Any]:
    """The mappers and aliases whose columns a clause compares, those of its subqueries apart."""
    found, waiting = set(), [clause]
    while waiting:
        element = waiting.pop()
        if isinstance(element, _SELECTS):
            continue
        # Public ways, `inspect` and `entity_namespace`, take ten times as long.
        found.add(element._annotations.get("parententity"))  # noqa: SLF001
        waiting.extend(element.get_children())
    return found - {None}


def _is_soft_delete(state: ORMExecuteState) -> bool:
    statement = state.statement
    return state.is_orm_statement and isinstance(statement, Delete) and statement.table in _tables


def _delete_softly(state: ORMExecuteState) -> Any:
    """Run the UPDATE that a DELETE means, with its RETURNING and its options."""
    statement = cast("Delete", state.statement)
    softly = update(statement.entity_description["entity"])
    if statement.whereclause is not None:
        softly = softly.where(statement.whereclause)
    returned = statement._returning  # noqa: SLF001 - its public description fails for entities
    if returned:
        softly = softly.returning(*returned)
    # Those that were deleted before keep their moment: they are not asked for.
    skipped = ("_", INCLUDE_DELETED)
    options = {
        name: value
        for name, value in state.execution_options.items()
        if not name.startswith(skipped)
    }
    return state.session.execute(
        softly.values(deleted_at=_read_moment(state.session)),
        state.parameters,
        execution_options=options,
    )


def _soften_deletes(session: Session, mixin: type) -> None:
    """Have the flush delete softly what `session.delete` marked."""
    marked = session.deleted
    leaving = [row for row in marked if isinstance(row, mixin)]
    if not leaving:
        return
    moment = _read_moment(session)
    for row in leaving:
        for other in _cascade(row):
            if other in marked and not isinstance(other, mixin):
                # It can return with the row, and goes for good with it.
                session.add(other)
        session.add(row)
        if not _is_deleted(row):
            cast("Any", row).deleted_at = moment


def _cascade(row: Any) -> Iterator[object]:
    """What SQLAlchemy marked with the row, by the cascade `delete` of its relationships."""
    state = inspect(row)
    for other, *_ in state.mapper.cascade_iterator("delete", state):
        yield other


def _read_moment(session: Session) -> Any:
    """A time that no other deletion has: what goes with a row is found by it again."""
    return session.connection().scalar(select(func.clock_timestamp()))


def _is_deleted(row: Any) -> bool:
    # Not by the attribute, which might ask the database.
    return getattr(row, "__dict__", {}).get("deleted_at") is not None


def _name(table: Any) -> str:
    return str(getattr(table, "name", table))
