"""pdf_translator keeps to its OpenAPI, whatever it is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import AsyncClient

from bedplate.layer import DataLayer
from bedplate.system import System
from tests.integration.accounts.provider import CLIENT_ID, CLIENT_SECRET, REDIRECT, LocalProvider
from tests.serving import served
from tests.systems.fuzz import SERVER, STREAMS, findings

# Signed out, all that follows would be answered with 401.
WITHOUT = f"{STREAMS}|/auth/logout$"


@pytest.fixture(autouse=True)
def _provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stands where Google is: without one, signing in is rightly answered with 503."""
    with LocalProvider() as provider:
        monkeypatch.setenv("GOOGLE_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("GOOGLE_CLIENT_SECRET", CLIENT_SECRET)
        monkeypatch.setenv("GOOGLE_REDIRECT_URI", REDIRECT)
        monkeypatch.setenv("GOOGLE_ISSUER", provider.issuer)
        yield


async def test_answers_are_those_that_the_openapi_describes(
    layer: DataLayer, bedplate_system: System, client: AsyncClient, tmp_path: Path
) -> None:
    """No 5xx, no status, header or body that is not described, over every route; Ada asks."""
    async with served(bedplate_system.create_app(layer), **SERVER) as address:
        found = await findings(address, tmp_path, dict(client.cookies), without=WITHOUT)
    assert found is None, found
