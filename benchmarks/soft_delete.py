"""What soft deletion costs each statement of a session: `make bench-soft-delete`.

CPU time of this process alone, on SQLite in memory: SQLAlchemy's work and the layer's, no server's.
Boxes and letters are deleted softly; authors and books of the same system are not. Each statement
is run in short batches, with the watch on sessions and without it in turn, and the median of the
pairs counts, so that other work on the machine meets both. Aim: at most 15 % for statements that
name authors and books alone.
"""

import gc
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, ForeignKey, Text, create_engine, event, func, select, update
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column, relationship, selectinload
from sqlalchemy.schema import CreateTable

from bedplate.rows.models import Model, UUIDKey, new_metadata
from bedplate.rows.present_rows import narrow_to_present
from bedplate.rows.soft_delete import SoftDelete
from benchmarks.machine import facts

PAIRS, BATCH = 100, 10
AIM = 0.15
BARE = "select of a bare table, no row"
KEY = uuid.UUID(int=1)
Pair = tuple[Any, Any]


class Base(Model, DeclarativeBase):
    """The base of both pairs."""

    metadata = new_metadata()


def main() -> None:
    """Print the table."""
    authors, boxes = _pair("authors", "books", Never), _pair("boxes", "letters", SoftDelete)
    engine = create_engine("sqlite://")
    _fill(engine, (authors, boxes))
    gc.freeze()
    gc.disable()
    print(facts())
    print(f"{'CPU time of a statement':<32} without  of authors  of boxes, deleted softly")
    costs = []
    with Session(engine) as session:
        of_boxes = _statements(boxes)
        for name, statement in _statements(authors).items():
            took, cost = _compare(session, statement)
            costs.append(cost)
            soft = "refused" if name == BARE else f"{_compare(session, of_boxes[name])[1]:+.0%}"
            print(f"{name:<32} {took:4.0f} µs     {cost:+6.0%}  {soft:>7}", flush=True)
    print(f"of authors at most {max(costs):.0%} (aim: {AIM:.0%})")


class Never:
    """In the place of SoftDelete."""


def _pair(parents: str, children: str, mixin: type) -> Pair:
    """Two models, the second's rows belonging to the first's."""
    bases = (UUIDKey, mixin, Base)
    name = mapped_column(Text, nullable=False)
    parent = type(
        parents,
        bases,
        {"__tablename__": parents, "name": name, "children": relationship(lambda: child)},
    )
    child: Any = type(
        children,
        bases,
        {
            "__tablename__": children,
            "name": mapped_column(Text, nullable=False),
            "parent_id": mapped_column(ForeignKey(f"{parents}.id")),
        },
    )
    return parent, child


def _statements(pair: Pair) -> dict[str, Callable[[Session], Any]]:
    parent, child = pair
    table = parent.__table__
    kept = select(parent).where(parent.name == "none")
    unsynchronised = {"synchronize_session": False}
    return {
        "select, no row": lambda its: its.scalars(
            select(parent).where(parent.name == "none"),
        ).all(),
        "the same, kept and run again": lambda its: its.scalars(kept).all(),
        "select, 20 rows": lambda its: its.scalars(
            select(parent).where(parent.name == "some"),
        ).all(),
        "columns of a join, no row": lambda its: its.execute(
            select(parent.id, child.name).join(child).where(child.name == "none"),
        ).all(),
        "count": lambda its: its.scalar(select(func.count()).select_from(parent)),
        "get": lambda its: its.get_one(parent, KEY),
        "selectinload, 20 rows with 40": lambda its: its.scalars(
            select(parent).where(parent.name == "some").options(selectinload(parent.children)),
        ).all(),
        "update, no row": lambda its: its.execute(
            update(parent).where(parent.name == "none").values(name="other"),
            execution_options=unsynchronised,
        ),
        BARE: lambda its: its.execute(select(table.c.id).where(table.c.name == "none")).all(),
    }


def _fill(engine: Engine, pairs: tuple[Pair, ...]) -> None:
    with Session(engine) as session:
        for table in Base.metadata.sorted_tables:
            # Not its triggers, which are PostgreSQL's.
            session.execute(CreateTable(table))
        for parent, child in pairs:
            for number in range(1, 21):
                key = uuid.UUID(int=number)
                session.add(parent(id=key, name="some"))
                session.add_all(child(parent_id=key, name="some") for _ in range(2))
        session.commit()


def _compare(session: Session, run: Callable[[Session], Any]) -> tuple[float, float]:
    """µs of CPU for a statement that is not watched, and the share that the watch adds."""
    watch = narrow_to_present(SoftDelete)
    alone, costs = [], []
    for number in range(PAIRS):
        times = {}
        for is_watched in (True, False) if number % 2 else (False, True):
            if not is_watched:
                event.remove(Session, "do_orm_execute", watch)
            times[is_watched] = _time(session, run)
            if not is_watched:
                event.listen(Session, "do_orm_execute", watch)
        alone.append(times[False])
        costs.append(times[True] / times[False] - 1)
    return statistics.median(alone), statistics.median(costs)


def _time(session: Session, run: Callable[[Session], Any]) -> float:
    run(session)
    session.expunge_all()
    gc.collect()
    began = time.process_time()
    for _ in range(BATCH):
        run(session)
        session.expunge_all()
    return (time.process_time() - began) / BATCH * 1e6


if __name__ == "__main__":
    main()
