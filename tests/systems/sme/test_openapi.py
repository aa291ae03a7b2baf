"""sme keeps to its OpenAPI, whatever it is asked."""

from pathlib import Path

from bedplate.layer import DataLayer
from bedplate.system import System
from tests.serving import served
from tests.systems.fuzz import SERVER, findings


async def test_answers_are_those_that_the_openapi_describes(
    layer: DataLayer, bedplate_system: System, tmp_path: Path
) -> None:
    """No 5xx, no status, header or body that is not described, over every route."""
    async with served(bedplate_system.create_app(layer), **SERVER) as address:
        found = await findings(address, tmp_path, {})
    assert found is None, found
