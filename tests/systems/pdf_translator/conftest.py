"""Fixtures of pdf_translator's tests: users who are signed in, and S3."""

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from httpx import AsyncClient, Response

from bedplate.accounts.openid import Identity
from bedplate.accounts.sessions import WebSessions
from bedplate.layer import DataLayer
from systems.pdf_translator.repositories import Users
from systems.pdf_translator.settings import GoogleSettings, PdfTranslatorSettings
from tests.systems.conftest import Catalogue, NewClient
from tests.systems.documents import samples
from tests.systems.documents.samples import drawn, two_columns
from tests.systems.pdf_translator.engines import Capitals

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


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Capitals:
    """The engine of every job of the test."""
    made = Capitals()
    monkeypatch.setattr(PdfTranslatorSettings, "create_engine", lambda _: made)
    return made


@pytest.fixture
def table(tmp_path: Path) -> bytes:
    """A table of three rows, on one page."""
    return samples.drawn(tmp_path / "table.pdf", samples.table).read_bytes()


@pytest.fixture
def book(tmp_path: Path) -> bytes:
    """Several pages of three paragraphs each, every one of them another."""
    pdf = pikepdf.new()
    for number in range(6):

        def draw(canvas: Any, number: int = number) -> None:
            for part in range(3):
                words = [f"page {number} part {part}.", *samples.PROSE[:40]]
                samples.paragraph(canvas, words, 72, 700 - 120 * part, 400)

        with pikepdf.open(samples.drawn(tmp_path / "page.pdf", draw)) as page:
            pdf.pages.extend(page.pages)
    pdf.save(tmp_path / "book.pdf")
    return (tmp_path / "book.pdf").read_bytes()


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


async def count_all(catalogue: Catalogue) -> dict[str, int]:
    """How many rows each table of the system has, and how many jobs there are."""
    return {table: (await catalogue(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}
