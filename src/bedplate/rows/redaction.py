"""The server's errors without the values that it quotes: they end up in logs, and belong to people.

PostgreSQL says which key exists already, and asyncpg which argument it could not send. Constraint,
table and column stay; SQLAlchemy's own parameters are hidden by `hide_parameters`. Called by
`database.py` for every engine.
"""

import re
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

# What each is known by, and what stays of it.
_QUOTED = (
    (re.compile(r"(Key \([^\n]*?\))=\([^\n]*\)(?= (?:already|is|conflicts))"), r"\1=(…)"),
    (re.compile(r"(Failing row contains )\([^\n]*\)"), r"\1(…)"),
    (re.compile(r"(invalid input for query argument \$\d+: )[^\n]*"), r"\1…"),
    (re.compile(r"(invalid input (?:syntax|value) for [^:\n]*: )[^\n]*"), r"\1…"),
    (re.compile(r"(value )\"[^\n]*\"( is out of range)"), r"\1…\2"),
)


def hide_values(engine: Engine) -> None:
    """Take quoted values out of every error of this engine, and of what caused it."""
    event.listen(engine, "handle_error", _hide)


def without_values(message: str) -> str:
    """The message with … in place of the values that it quotes."""
    for known, kept in _QUOTED:
        message = known.sub(kept, message)
    return message


def _hide(context: ExceptionContext) -> None:
    error: BaseException | None = context.sqlalchemy_exception or context.original_exception
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        _rewrite(error)
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__


def _rewrite(error: Any) -> None:
    error.args = tuple(
        without_values(each) if isinstance(each, str) else each for each in error.args
    )
    # asyncpg appends it when the error is shown.
    if isinstance(getattr(error, "detail", None), str):
        error.detail = without_values(error.detail)
