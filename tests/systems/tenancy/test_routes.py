"""Two owners with the same data, and every route of every system: nothing goes across.

The routes are those of the application (`surface.py`), so a new one is tried by itself.
"""

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any

from httpx import Response

from tests.systems.tenancy.conftest import Database, Pair
from tests.systems.tenancy.surface import UUIDS, Operation, ask, operations

# A stream that is shown to a stranger has no end.
PATIENCE_SECONDS = 30
# Not what happens to an owner: then a route was not tried, and owners.py must say how.
REFUSED = (401, 403, 404, 405, 422, 500)
CURSOR = re.compile(r'"next":\s*"([^"]+)"')


async def outcome(pair: Pair, operation: Operation, ids: Mapping[str, Any]) -> Response:
    """What the one who tries is answered."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await ask(pair.one.client, operation, ids)


def told(answer: Response) -> tuple[int, str]:
    """Status and body, whatever ids the body repeats."""
    return answer.status_code, UUIDS.sub("an id", answer.text)


def unknown(ids: Mapping[str, Any]) -> dict[str, Any]:
    """The same names, with ids of nothing."""
    return {
        name: str(uuid.uuid4()) if UUIDS.fullmatch(str(value)) else value
        for name, value in ids.items()
    }


async def test_another_owners_ids_are_answered_as_ids_of_nothing(pair: Pair) -> None:
    """By id, by job, by file, by WebSocket: not even that there is such a thing is told."""
    tried = [each for each in operations(pair.app) if each.names]
    assert tried
    for operation in tried:
        across = await outcome(pair, operation, pair.other.ids)
        nothing = await outcome(pair, operation, unknown(pair.other.ids))
        assert told(across) == told(nothing), operation
        assert across.status_code == 404, (operation, across.text)


async def test_nothing_of_another_owner_is_in_any_answer(pair: Pair) -> None:
    """By search, by list, by cursor, and in what is answered to what is made."""
    seen = ""
    for operation in operations(pair.app):
        if not operation.names and "logout" not in operation.path:
            answer = await outcome(pair, operation, pair.one.ids)
            assert answer.status_code not in (404, 405, 422, 500), (operation, answer.text)
            seen += answer.text
            assert not pair.others_ids & set(UUIDS.findall(answer.text)), operation
    # And they were asked by somebody who does see their own.
    assert set(map(str, pair.one.ids.values())) & set(UUIDS.findall(seen))


async def test_another_owners_cursor_shows_nothing_of_theirs(pair: Pair) -> None:
    """A page's cursor says where to go on, and not whose pages they are."""
    for operation in operations(pair.app):
        takes = {each["name"] for each in operation.spec.get("parameters", ())}
        if operation.names or not {"cursor", "limit"} <= takes:
            continue
        for _ in range(2):
            for each in operations(pair.app):
                if each.method == "POST" and each.path == operation.path:
                    await ask(pair.other.client, each, pair.other.ids)
        page = await pair.other.client.get(operation.path, params={"limit": 1})
        (cursor,) = CURSOR.findall(page.text)
        found = await pair.one.client.get(operation.path, params={"cursor": cursor, "limit": 50})
        assert not set(UUIDS.findall(found.text)) & pair.others_ids, operation


async def test_nothing_that_one_does_changes_the_others_rows(
    pair: Pair, database: Database
) -> None:
    """Every route with the other's ids: afterwards each of their rows is what it was."""

    async def others() -> dict[str, list[str]]:
        return {
            table: sorted(line for line in lines if set(UUIDS.findall(line)) & pair.others_ids)
            for table, lines in (await database.rows()).items()
        }

    before = await others()
    assert any(before.values())
    for operation in operations(pair.app):
        if "logout" not in operation.path:
            await outcome(pair, operation, {**pair.one.ids, **pair.other.ids})
    assert await others() == before


async def test_the_other_one_can_do_all_of_it(pair: Pair) -> None:
    """Else the tests above would try nothing: every id is found by whoever has it."""
    for operation in operations(pair.app):
        if operation.names and not operation.is_stream:
            answer = await ask(pair.other.client, operation, pair.other.ids)
            assert answer.status_code not in (401, 403, 404, 405, 422, 500), (
                operation,
                answer.text,
            )
