"""What tests do with the job: a translation begun, shown and downloaded."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
from httpx import AsyncClient

from systems.documents.sandbox import ReadPage, read_pages
from tests.systems.conftest import Catalogue
from tests.systems.pdf_translator.conftest import upload

BLOCKS = """
SELECT page_num, block_num, original_text, translated_text, coordinates::text AS coordinates
FROM document_blocks WHERE translation_id = $1::uuid ORDER BY page_num, block_num
"""
JOB = "SELECT id::text, state, progress FROM bedplate.jobs WHERE task LIKE 'pdf%translate_pdf'"
FILES = "SELECT key, state, expires_at FROM bedplate.stored_files ORDER BY created_at"


async def begin(client: AsyncClient, catalogue: Catalogue, data: bytes) -> tuple[str, str]:
    """A translation that waits, and its job."""
    answer = await upload(client, data)
    assert answer.status_code == 202, answer.text
    (job,) = await catalogue(JOB)
    return answer.json()["id"], job["id"]


async def shown(client: AsyncClient, translation: str) -> dict[str, Any]:
    """The translation as its user sees it."""
    found: dict[str, Any] = (await client.get(f"/translations/{translation}")).json()
    return found


async def downloaded(client: AsyncClient, translation: str, path: Path) -> list[ReadPage]:
    """The translated PDF by its link, saved and read."""
    answer = await client.get(f"/translations/{translation}/download")
    assert answer.status_code == 307, answer.text
    async with httpx.AsyncClient() as browser:
        file = await browser.get(answer.headers["location"])
    assert file.status_code == 200
    assert file.headers["content-type"] == "application/pdf"
    await asyncio.to_thread(path.write_bytes, file.content)
    return [page async for page in read_pages(path)]
