"""live_agent keeps to its OpenAPI, whatever it is asked."""

from pathlib import Path

from httpx import AsyncClient

from bedplate.layer import DataLayer
from bedplate.system import System
from tests.serving import served
from tests.systems.fuzz import SERVER, STREAMS, findings

# Signed out, all that follows would be answered with 401.
WITHOUT = f"{STREAMS}|/auth/logout$"


async def test_answers_are_those_that_the_openapi_describes(
    layer: DataLayer, bedplate_system: System, ann: AsyncClient, tmp_path: Path
) -> None:
    """No 5xx, no status, header or body that is not described; an admin asks."""
    async with served(bedplate_system.create_app(layer), **SERVER) as address:
        found = await findings(address, tmp_path, dict(ann.cookies), without=WITHOUT)
    assert found is None, found
