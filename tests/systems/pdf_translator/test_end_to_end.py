"""A user's whole way, against the real processes of `bedplate run`, on pages of a real standard."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pikepdf
import pytest

from systems.documents.limits import PdfLimits
from systems.documents.reading import opened, read_page
from systems.translation.choice import usual_engine
from tests.integration.accounts.provider import CLIENT_ID, CLIENT_SECRET, LocalProvider
from tests.systems.everything import PATIENCE_SECONDS, everything, free_port

# A table of contents, prose with headings, a list, two tables with ruled lines, footnotes.
PAGES = (4, 8, 10, 12, 28)
TERM, FIXED = "filesystem", "sistema de archivos"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where pdf_translator is served, with a provider that users sign in at."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/pdf_translator"
    with LocalProvider(redirect=f"{address}/auth/google/callback") as provider:
        variables = {
            "BEDPLATE_SYSTEMS": "pdf_translator",
            "PDF_TRANSLATOR_ENGINE": usual_engine(),
            "GOOGLE_CLIENT_ID": CLIENT_ID,
            "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
            "GOOGLE_REDIRECT_URI": provider.redirect,
            "GOOGLE_ISSUER": provider.issuer,
        }
        with everything(tmp_path, variables, port=port):
            yield address


@pytest.fixture
async def user(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has signed in."""
    client = httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS, follow_redirects=True)
    async with client:
        await client.get("/auth/google/login", params={"next": "/pdf_translator/me"})
        me = await client.get("/me")
        assert me.json()["email"] == "ada@example.org", me.text
        yield client


def pages_of(source: Path) -> bytes:
    """Some of its pages, as a PDF."""
    with pikepdf.open(source) as pdf:
        chosen = pikepdf.new()
        for number in PAGES:
            chosen.pages.append(pdf.pages[number - 1])
        file = io.BytesIO()
        chosen.save(file)
        return file.getvalue()


async def follow(client: httpx.AsyncClient, translation: str) -> list[dict[str, Any]]:
    """Every event that a browser sees, until it is told the end."""
    states: list[dict[str, Any]] = []
    async with client.stream("GET", f"/translations/{translation}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for line in stream.aiter_lines():
            if line == "event: end":
                break
            if line.startswith("data: "):
                states.append(json.loads(line.removeprefix("data: ")))
    return states


async def test_P21_a_pdf_is_uploaded_followed_translated_and_downloaded(
    user: httpx.AsyncClient, data_folder: Path, tmp_path: Path
) -> None:
    """Upload, blocks with coordinates, glossary, progress, each block in its place, the link."""
    entry = {"term": TERM, "translation": FIXED, "target_lang": "es"}
    assert (await user.post("/glossary", json=entry)).status_code == 201
    original = pages_of(data_folder / "fhs-3.0.pdf")
    asked = await user.post(
        "/translations",
        files={"file": ("fhs.pdf", original, "application/pdf")},
        data={"target_language": "es"},
    )
    assert asked.status_code == 202, asked.text
    translation = asked.json()["id"]

    states = await follow(user, translation)

    assert states[-1]["status"] == "completed", states[-1]
    assert states[-1]["page_count"] == len(PAGES)
    percents = [state["progress"] for state in states]
    assert percents == sorted(percents)
    assert len(set(percents)) >= 4, percents
    assert states[-1]["engine"] == usual_engine()
    blocks = await _blocks(user, translation)
    _assert_glossary_is_kept(blocks)
    answer = await user.get(f"/translations/{translation}/download")
    assert [each.status_code for each in answer.history] == [307]
    assert "X-Amz-Expires" in str(answer.url)
    assert "fhs.es.pdf" in answer.headers["content-disposition"]
    (tmp_path / "fhs.es.pdf").write_bytes(answer.content)
    _assert_pages_are_kept(original, answer.content)
    _assert_blocks_stand(tmp_path / "fhs.es.pdf", blocks)


async def _blocks(client: httpx.AsyncClient, translation: str) -> list[list[dict[str, Any]]]:
    """Of each page."""
    pages = []
    for number in range(1, len(PAGES) + 1):
        answer = await client.get(f"/translations/{translation}/blocks", params={"page": number})
        pages.append(answer.json()["blocks"])
    return pages


def _assert_glossary_is_kept(pages: list[list[dict[str, Any]]]) -> None:
    found = 0
    for block in (block for page in pages for block in page):
        assert block["translated_text"] is not None
        words = block["original_text"].lower().replace(".", " ").replace(",", " ").split()
        if TERM in words:
            found += 1
            assert FIXED in block["translated_text"].lower(), block
    assert found > 5


def _assert_pages_are_kept(original: bytes, translated: bytes) -> None:
    with pikepdf.open(io.BytesIO(original)) as one, pikepdf.open(io.BytesIO(translated)) as other:
        assert [page.mediabox for page in one.pages] == [page.mediabox for page in other.pages]


def _assert_blocks_stand(path: Path, pages: list[list[dict[str, Any]]]) -> None:
    """Each translation begins where its block began, give or take what a smaller size takes."""
    limits = PdfLimits()
    with opened(path, limits) as document:
        for number, blocks in enumerate(pages):
            runs = read_page(document, number, limits).runs
            for block in blocks:
                if not any(map(str.isalpha, block["original_text"])):
                    continue
                word, place = block["translated_text"].split()[0], block["coordinates"]
                assert any(
                    run.text.startswith(word)
                    and abs(run.box.left - place["left"]) < 20
                    and abs(run.box.top - place["top"]) < place["font_size"]
                    for run in runs
                ), block
