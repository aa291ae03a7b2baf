"""The engines, exchanged by configuration, each on a whole job."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient
from reportlab.pdfgen.canvas import Canvas

from bedplate.jobs.worker import Outcome
from systems.pdf_translator.settings import PdfTranslatorSettings
from systems.translation.apertium import Apertium
from systems.translation.glossary import GlossaryEngine
from systems.translation.libretranslate import LibreTranslate
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.documents import samples
from tests.systems.pdf_translator.conftest import upload
from tests.systems.translation.libre_server import LibreServer

TEXT = "The shell reads the commands of the user."


@pytest.fixture
def page(tmp_path: Path) -> bytes:
    """A PDF with one sentence."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 12)
        canvas.drawString(72, 700, TEXT)

    return samples.drawn(tmp_path / "page.pdf", draw).read_bytes()


async def translated(
    client: AsyncClient, catalogue: Catalogue, run_job: RunJob, page: bytes
) -> tuple[str, dict[str, Any]]:
    """The sentence in Spanish, and the translation as its user sees it."""
    await client.post(
        "/glossary", json={"term": "shell", "translation": "intérprete", "target_lang": "es"}
    )
    made = (await upload(client, page)).json()
    ((job,),) = await catalogue("SELECT job_id FROM translations")
    assert await run_job(str(job)) is Outcome.SUCCEEDED
    shown = (await client.get(f"/translations/{made['id']}")).json()
    assert shown["status"] == "completed", shown
    blocks = (await client.get(f"/translations/{made['id']}/blocks")).json()["blocks"]
    assert [each["original_text"] for each in blocks] == [TEXT]
    return blocks[0]["translated_text"], shown


@pytest.mark.parametrize(
    ("name", "kind"),
    [("apertium", Apertium), ("libretranslate", LibreTranslate), ("glossary", GlossaryEngine)],
)
def test_P22_the_engine_is_chosen_by_configuration(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type
) -> None:
    """One variable; no code knows which it is."""
    monkeypatch.setenv("PDF_TRANSLATOR_ENGINE", name)
    monkeypatch.setenv("PDF_TRANSLATOR_LIBRETRANSLATE_URL", "https://libre.example")
    engine = PdfTranslatorSettings.load().create_engine()
    assert type(engine) is kind
    assert engine.name == name


def test_P22_where_no_engine_is_installed_the_glossary_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And Apertium where it is: nobody has to configure what is there."""
    monkeypatch.delenv("PDF_TRANSLATOR_ENGINE")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert PdfTranslatorSettings.load().create_engine().name == "glossary"
    program = tmp_path / "apertium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert PdfTranslatorSettings.load().create_engine().name == "apertium"


async def test_P22_the_glossary_alone_translates_its_terms_and_the_job_says_so(
    client: AsyncClient, catalogue: Catalogue, run_job: RunJob, page: bytes
) -> None:
    """Nothing pretends to translate: the rest is as it was, and the user is told."""
    text, shown = await translated(client, catalogue, run_job, page)
    assert text == "The intérprete reads the commands of the user."
    assert shown["engine"] == "glossary"
    assert "No translation engine is installed" in shown["note"]


async def test_P22_apertium_translates_offline_and_keeps_the_glossarys_terms(
    client: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    page: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The real engine, from Debian's packages."""
    if shutil.which("apertium") is None:
        give_up = pytest.fail if os.environ.get("REQUIRE_APERTIUM") == "1" else pytest.skip
        give_up("Apertium is not installed: apt-get install apertium apertium-eng-spa")
    monkeypatch.setenv("PDF_TRANSLATOR_ENGINE", "apertium")
    text, shown = await translated(client, catalogue, run_job, page)
    assert "intérprete" in text
    assert "usuario" in text
    assert "shell" not in text.lower()
    assert (shown["engine"], shown["note"]) == ("apertium", None)


async def test_P22_a_server_that_speaks_libretranslate_translates(
    client: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    page: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over real HTTP; it never sees a term whose translation is fixed."""
    with LibreServer() as server:
        monkeypatch.setenv("PDF_TRANSLATOR_ENGINE", "libretranslate")
        monkeypatch.setenv("PDF_TRANSLATOR_LIBRETRANSLATE_URL", server.url)
        text, shown = await translated(client, catalogue, run_job, page)
    assert text == "THE intérprete READS THE COMMANDS OF THE USER."
    assert shown["engine"] == "libretranslate"
    assert "shell" not in str(server.bodies)
