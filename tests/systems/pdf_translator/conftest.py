"""Fixtures of pdf_translator's tests: users who are signed in, and S3."""

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from httpx import AsyncClient, Response

from bedplate.accounts.openid import Identity
from bedplate.accounts.sessions import WebSessions
from bedplate.layer import DataLayer
from systems.pdf_translator.repositories import Users
from systems.pdf_translator.settings import GoogleSettings, PdfTranslatorSettings
from tests.systems.conftest import Catalogue, NewClient
from tests.systems.documents.samples import drawn, two_columns

TABLES = ("users", "translations", "document_blocks", "glossary", "bedplate.jobs")
COOKIE = "pdf_translator_session"


@pytest.fixture
def bedplate_system_name() -> str:
    """The system that is tested here."""
    return "pdf_translator"


@pytest.fixture
def bedplate_variables(bedplate_s3: dict[str, str]) -> Mapping[str, str]:
    """Without files there is no translation."""
    return bedplate_s3


@pytest.fixture(autouse=True)
def _plain_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not depend on what this machine's environment says, nor on what is installed."""
    for variable in PdfTranslatorSettings.variables() | GoogleSettings.variables():
        if variable in os.environ:
            monkeypatch.delenv(variable)
    monkeypatch.setenv("PDF_TRANSLATOR_ENGINE", "glossary")


@pytest.fixture(autouse=True)
def _temporary_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a job leaves behind is this test's, and no other run's on the same machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


@pytest.fixture
async def nobody(new_client: NewClient) -> AsyncIterator[AsyncClient]:
    """Who is not signed in."""
    async with new_client() as client:
        yield client


@pytest.fixture
async def client(new_client: NewClient, layer: DataLayer) -> AsyncIterator[AsyncClient]:
    """Ada, signed in."""
    async with new_client() as client:
        await enter(client, layer, "ada")
        yield client


@pytest.fixture
async def stranger(new_client: NewClient, layer: DataLayer) -> AsyncIterator[AsyncClient]:
    """Bob, signed in too."""
    async with new_client() as client:
        await enter(client, layer, "bob")
        yield client


@pytest.fixture
def sample(tmp_path: Path) -> bytes:
    """A small PDF of one page."""
    return drawn(tmp_path / "sample.pdf", two_columns).read_bytes()


async def enter(client: AsyncClient, layer: DataLayer, name: str) -> uuid.UUID:
    """Sign somebody in without their provider: a row and a session, as the callback makes them."""
    identity = Identity("https://accounts.google.com", name, f"{name}@example.org", name.title())
    async with layer.transaction() as uow:
        user = await Users(uow.session).sign_in(identity)
    token = await WebSessions(layer.redis.client(), "pdf_translator").begin(str(user.id))
    client.cookies.set(COOKIE, token)
    return user.id


async def upload(
    client: AsyncClient, data: bytes, *, name: str = "fhs.pdf", language: str = "es", **more: str
) -> Response:
    """POST a PDF as a browser would."""
    return await client.post(
        "/translations",
        files={"file": (name, data, "application/pdf")},
        data={"target_language": language, **more},
    )


def assert_problem(answer: Response, status: int) -> str:
    """An error of this status, as problem details. Returns its code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return str(answer.json()["code"])


async def count_all(catalogue: Catalogue) -> dict[str, int]:
    """How many rows each table of the system has, and how many jobs there are."""
    return {table: (await catalogue(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}
