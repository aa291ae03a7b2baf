"""Two owners of the same data in each system: organizations, users, readers.

For a new system: a function that makes one, and which id a route's parameter is to be.
"""

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from httpx import AsyncClient

from bedplate.layer import DataLayer
from tests.systems.documents.samples import drawn, two_columns
from tests.systems.librilabs.conftest import ask_for
from tests.systems.librilabs.conftest import upload as upload_text
from tests.systems.pdf_translator.conftest import enter
from tests.systems.pdf_translator.conftest import upload as upload_pdf

PASSWORD = "correct horse battery"
WORDS = "the same words for both"


@dataclass(frozen=True)
class Owner:
    """Somebody with data, and a client that is signed in as them."""

    client: AsyncClient
    # By the names of parameters and fields: ids, a search, a file that may be uploaded.
    ids: Mapping[str, Any]
    # Where the database itself keeps owners apart: whose transactions theirs are.
    tenant: str | None = None


Make = Callable[[AsyncClient, DataLayer, str], Awaitable[Owner]]


async def librilabs(client: AsyncClient, _layer: DataLayer, _name: str) -> Owner:
    """A reader with a text, its file, and a translation that is asked for."""
    document = await upload_text(client, WORDS)
    assert document.status_code == 201, document.text
    document_id = str(document.json()["id"])
    translation = await ask_for(client, document_id)
    assert translation.status_code == 202, translation.text
    ids = {"document_id": document_id, "translation_id": str(translation.json()["id"])}
    return Owner(client, {**ids, "q": "words"})


async def pdf_translator(client: AsyncClient, layer: DataLayer, name: str) -> Owner:
    """A user with a PDF that is being translated, and a term."""
    await enter(client, layer, name)
    with tempfile.TemporaryDirectory() as folder:
        data = drawn(Path(folder) / "sample.pdf", two_columns).read_bytes()
    translation = await upload_pdf(client, data)
    assert translation.status_code == 202, translation.text
    term = await client.post(
        "/glossary",
        json={"term": "words", "translation": "palabras", "target_lang": "es"},
    )
    assert term.status_code == 201, term.text
    ids = {"translation_id": str(translation.json()["id"]), "entry_id": str(term.json()["id"])}
    return Owner(client, {**ids, "file": ("new.pdf", data, "application/pdf")})


async def live_agent(client: AsyncClient, _layer: DataLayer, name: str) -> Owner:
    """An organization with an admin, a member and a session that is under way."""
    signed_up = await client.post(
        "/organizations",
        json={"name": WORDS, "email": f"{name}@example.org", "password": PASSWORD},
    )
    assert signed_up.status_code == 201, signed_up.text
    member = await client.post(
        "/members", json={"email": f"member-{name}@example.org", "password": PASSWORD}
    )
    assert member.status_code == 201, member.text
    session = await client.post("/sessions", json={"room_name": f"the room of {name}"})
    assert session.status_code == 201, session.text
    ids = {"member_id": str(member.json()["id"]), "session_id": str(session.json()["id"])}
    started = await client.post(f"/sessions/{ids['session_id']}/start")
    assert started.status_code == 200, started.text
    return Owner(client, ids, tenant=str(signed_up.json()["organization"]["id"]))


OWNERS: Mapping[str, Make] = {
    "librilabs": librilabs,
    "live_agent": live_agent,
    "pdf_translator": pdf_translator,
}
