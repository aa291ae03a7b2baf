"""What librilabs' tests have in common: plain settings, and what a reader does by HTTP."""

import pytest
from httpx import AsyncClient, Response

from tests.systems.conftest import Catalogue
from tests.systems.librilabs.engines import Watched

NOTHING = {
    "users": 0,
    "documents": 0,
    "document_passages": 0,
    "translations": 0,
    "translation_chunks": 0,
    "bedplate.jobs": 0,
}


@pytest.fixture(autouse=True)
def _plain_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not depend on what this machine's environment says of engines."""
    for variable in (
        "LIBRILABS_ENGINE",
        "LIBRILABS_ENGINE_LOG",
        "LIBRILABS_ENGINE_TIMEOUT_SECONDS",
        "LIBRILABS_LIBRETRANSLATE_URL",
        "LIBRILABS_LIBRETRANSLATE_API_KEY",
        "LIBRILABS_LIBRETRANSLATE_CHARACTERS",
    ):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """The engine that the job will take."""
    watched = Watched()
    monkeypatch.setattr("systems.translation.settings.create_engine", lambda *_: watched)
    return watched


async def upload(
    client: AsyncClient, text: str | bytes, *, name: str = "text.txt", language: str = "en"
) -> Response:
    """POST a text as a browser would."""
    data = text.encode() if isinstance(text, str) else text
    return await client.post(
        "/documents",
        files={"file": (name, data, "text/plain")},
        data={"source_language": language},
    )


async def upload_id(client: AsyncClient, text: str, **options: str) -> str:
    """The id of a text that was just uploaded."""
    answer = await upload(client, text, **options)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def ask_for(client: AsyncClient, document_id: str, language: str = "es") -> Response:
    """POST for a translation."""
    return await client.post(
        f"/documents/{document_id}/translations", json={"target_language": language}
    )


async def count_all(catalogue: Catalogue) -> dict[str, int]:
    """How many rows each table of the system has, and how many jobs there are."""
    return {table: (await catalogue(f"SELECT count(*) FROM {table}"))[0][0] for table in NOTHING}
