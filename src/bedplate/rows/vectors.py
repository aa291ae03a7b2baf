"""Columns of vectors (pgvector), and the index that finds the nearest of them.

    class Passage(UUIDKey, Base):
        __table_args__ = (hnsw_index("embedding", 384),)
        embedding: Mapped[list[float]] = mapped_column(Vector(384))

Values are sequences of floats, numpy's arrays among them, and come back as lists. They travel as
`real[]`, which the driver sends in binary as it is: nothing has to be registered on a connection,
and it works behind a pooler. A vector that the column could not hold is refused before it is sent.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    REAL,
    BindParameter,
    ColumnElement,
    Dialect,
    Float,
    Index,
    cast,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import UserDefinedType

from bedplate.errors import VectorError

# pgvector's index takes no more of a halfvec.
MAX_INDEXED = 4000
# Measured with 100,000 vectors of 384 dimensions: recall@10 0.99 where the defaults (m 16,
# ef_construction 64, full precision) have 0.93, as fast, in 0.6 of the space.
M = 24
EF_CONSTRUCTION = 128

FLOATS = ARRAY(REAL)
DISTANCE = Float(53)

AnyColumn = ColumnElement[Any] | InstrumentedAttribute[Any]


class _PgVector(UserDefinedType[Sequence[float]]):
    """A type of pgvector with a fixed number of dimensions."""

    sql_name = ""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **_: Any) -> str:
        """As CREATE TABLE has it."""
        return f"{self.sql_name}({self.dimensions})"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], list[float] | None]:  # noqa: ARG002 - SQLAlchemy's
        """A list, checked."""
        return self._checked

    def bind_expression(self, bindvalue: BindParameter[Any]) -> ColumnElement[Any]:
        """Sent as real[], and made a vector on the server."""
        return cast(cast(bindvalue, FLOATS), self)

    def column_expression(self, colexpr: ColumnElement[Any]) -> ColumnElement[Any]:
        """Read as real[]."""
        return cast(colexpr, FLOATS)

    def _checked(self, value: Any) -> list[float] | None:
        if value is None:
            return None
        numbers: list[float] = value.tolist() if hasattr(value, "tolist") else list(value)
        check_vector(numbers, self.dimensions)
        return numbers


class Vector(_PgVector):
    """`vector(n)`: 4 bytes a number."""

    cache_ok = True
    sql_name = "vector"


class HalfVector(_PgVector):
    """`halfvec(n)`: 2 bytes a number, about three decimal digits of each."""

    cache_ok = True
    sql_name = "halfvec"


def hnsw_index(name: str, column: str, dimensions: int, *, where: str | None = None) -> Index:
    """The index for `nearest.py`, by cosine, of half precision; the column keeps the full one.

    `where` is a partial index' condition. Raises `VectorError` above 4,000 dimensions.
    """
    if dimensions > MAX_INDEXED:
        raise VectorError(
            f"an index of {dimensions} dimensions cannot be made",
            hint=f"pgvector's take at most {MAX_INDEXED}: use a model with fewer.",
        )
    return Index(
        name,
        literal_column(f"CAST({column} AS halfvec({dimensions}))").label("nearest"),
        postgresql_using="hnsw",
        postgresql_ops={"nearest": "halfvec_cosine_ops"},
        postgresql_with={"m": M, "ef_construction": EF_CONSTRUCTION},
        postgresql_where=None if where is None else text(where),
    )


def check_vector(numbers: Sequence[float], dimensions: int) -> None:
    """Raises `VectorError` for what `vector(dimensions)` cannot hold."""
    if len(numbers) != dimensions:
        raise VectorError(
            f"a vector has {len(numbers)} dimensions, and the column {dimensions}",
            hint="Embed with the model that the column was made for.",
        )
    if not all(map(math.isfinite, numbers)):
        raise VectorError(
            "a vector has a number that is infinite or none at all",
            hint="Look at the text that it was made from, and at the model.",
        )


def cosine_distance(left: AnyColumn, right: AnyColumn) -> ColumnElement[float]:
    """0 for the same direction, 2 for the opposite; NaN where one of them has no direction."""
    return left.op("<=>", return_type=DISTANCE)(right)


def euclidean_distance(left: AnyColumn, right: AnyColumn) -> ColumnElement[float]:
    """The length of the difference."""
    return left.op("<->", return_type=DISTANCE)(right)


def inner_product(left: AnyColumn, right: AnyColumn) -> ColumnElement[float]:
    """The sum of the products; pgvector's operator gives its negative, so that less is nearer."""
    return -left.op("<#>", return_type=DISTANCE)(right)


ischema_names["vector"] = Vector
ischema_names["halfvec"] = HalfVector
