"""An error that is logged with its whole chain shows no value of a row."""

import traceback

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bedplate.rows.database import Database
from bedplate.testing.clones import ScratchDatabase

SECRET = "canary-of-a-value"
TABLE = "CREATE TEMPORARY TABLE kept (mail text PRIMARY KEY, age int CHECK (age > 0))"


@pytest.mark.parametrize(
    ("statement", "parameters", "stays"),
    [
        ("INSERT INTO kept VALUES (:v, 1), (:v, 1)", {"v": SECRET}, "Key (mail)=(…)"),
        ("INSERT INTO kept VALUES (:v, -1)", {"v": SECRET}, "kept_age_check"),
        ("SELECT CAST(:v AS int)", {"v": SECRET}, "query argument $1"),
        (
            "SELECT CAST(CAST(:v AS text) AS uuid)",
            {"v": SECRET},
            "invalid input syntax for type uuid",
        ),
    ],
    ids=["key", "row", "argument", "syntax"],
)
async def test_the_servers_words_carry_no_value(
    blank_database: ScratchDatabase, statement: str, parameters: dict[str, str], stays: str
) -> None:
    """PostgreSQL quotes what it refuses, and a log is read by more people than a table."""
    async with Database(blank_database.url) as database, database.engine.connect() as connection:
        await connection.execute(text(TABLE))
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(text(statement), parameters)
        shown = "".join(traceback.format_exception(caught.value))
        await connection.rollback()
    assert stays in shown
    assert SECRET not in shown
