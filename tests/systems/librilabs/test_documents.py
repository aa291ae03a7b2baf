"""Uploading, listing, searching and deleting texts over HTTP."""

import asyncio
import itertools
import uuid
from typing import Any

import pytest
from httpx import AsyncClient

from bedplate.layer import DataLayer
from systems.librilabs.models import MAX_FILE_BYTES, Document
from systems.librilabs.repositories import Documents
from systems.librilabs.uploads import Upload
from tests.systems.conftest import Catalogue, assert_problem
from tests.systems.librilabs.conftest import NOTHING, ask_for, count_all, upload, upload_id


async def test_an_upload_answers_with_the_whole_resource(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """A client needs no second request to show what it has made."""
    answer = await upload(client, "Ein Text.\n", name="a/b/text.txt", language="DE")

    assert answer.status_code == 201
    shown = answer.json()
    assert set(shown) == {
        "id",
        "file_name",
        "file_size",
        "source_language",
        "created_at",
        "updated_at",
    }
    assert (shown["file_name"], shown["file_size"]) == ("text.txt", 10)
    assert shown["source_language"] == "de"
    assert (await client.get(f"/documents/{shown['id']}")).json() == shown
    (row,) = await catalogue("SELECT * FROM documents")
    assert str(row["id"]) == shown["id"]
    assert row["content"] == "Ein Text.\n"


async def test_an_empty_file_is_a_document(client: AsyncClient, catalogue: Catalogue) -> None:
    """The CHECK begins at 0: nothing is wrong with a text of no words."""
    answer = await upload(client, "")

    assert answer.status_code == 201
    assert answer.json()["file_size"] == 0
    assert (await count_all(catalogue))["document_passages"] == 0


async def test_L18_a_phrase_on_the_novels_last_page_is_found_and_highlighted(
    client: AsyncClient, novel: str
) -> None:
    """A tsvector of the whole novel has no positions beyond its first chapters."""
    last = " ".join(novel.rstrip().split("\n\n")[-1].split()[:11]).rstrip(".")
    assert novel.index(last.split()[0]) >= 0
    document = await upload_id(client, novel, name="novel.txt")
    await upload_id(client, "Nothing of the kind.")

    page = (await client.get("/documents", params={"q": f'"{last}"'})).json()

    (found,) = page["items"]
    assert found["id"] == document
    assert found["file_name"] == "novel.txt"
    assert found["passage"] >= 50
    assert 0 < found["rank"] <= 1
    marked = found["highlight"]
    for word in last.replace(",", "").split()[-3:]:
        assert word in marked
    assert "<mark>" in marked
    assert page["next"] is None


async def test_L18_ten_megabytes_of_distinct_words_are_stored_and_found(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """One tsvector for all of them is refused by PostgreSQL as too long."""
    words = (f"w{number:x}q" for number in itertools.count(1_000_000))
    text = " ".join(itertools.islice(words, MAX_FILE_BYTES // 8))
    text = text[:MAX_FILE_BYTES]
    assert len(text) > 10_000_000
    last = text.split()[-2]

    answer = await upload(client, text)
    assert answer.status_code == 201

    (found,) = (await client.get("/documents", params={"q": last})).json()["items"]
    assert found["id"] == answer.json()["id"]
    assert f"<mark>{last}</mark>" in found["highlight"]
    ((total, longest),) = await catalogue(
        "SELECT sum(length(text)), max(octet_length(text)) FROM document_passages"
    )
    assert total == len(text)
    assert longest <= 8192


async def test_L18_results_are_ranked_in_the_documents_language_and_paged_by_key(
    client: AsyncClient,
) -> None:
    """Best first; `caballeros` finds `caballero` in Spanish; pages do not overlap."""
    many = await upload_id(client, "A lighthouse. The lighthouse keeper's lighthouse.")
    one = await upload_id(client, "A lighthouse stood there. " + "Waves came and went. " * 40)
    spanish = await upload_id(client, "Un caballero andante.", language="es")
    english = await upload_id(client, "She was running home.")
    page = (await client.get("/documents", params={"q": "lighthouses"})).json()
    assert [each["id"] for each in page["items"]] == [many, one]
    assert page["items"][0]["rank"] > page["items"][1]["rank"]
    for query, document in (("caballeros", spanish), ("run", english)):
        (found,) = (await client.get("/documents", params={"q": query})).json()["items"]
        assert found["id"] == document
        assert "<mark>" in found["highlight"]

    first = (await client.get("/documents", params={"q": "lighthouse", "limit": 1})).json()
    assert [each["id"] for each in first["items"]] == [many]
    following = {"q": "lighthouse", "limit": 1, "cursor": first["next"]}
    second = (await client.get("/documents", params=following)).json()
    assert [each["id"] for each in second["items"]] == [one]
    assert second["next"] is None
    foreign = await client.get("/documents", params={"q": "waves", "cursor": first["next"]})
    assert_problem(foreign, 400)


async def test_L18_a_highlight_cannot_carry_markup(client: AsyncClient) -> None:
    """A text is anybody's: what a page shows as HTML must be escaped."""
    await upload_id(client, "<script>alert(1)</script> A lighthouse, 1 < 2 & more of it.")

    (found,) = (await client.get("/documents", params={"q": "lighthouse"})).json()["items"]

    assert "<script>" not in found["highlight"]
    assert "1 &lt; 2 &amp; more" in found["highlight"]


async def test_the_list_is_newest_first_and_paged_by_key(client: AsyncClient) -> None:
    """A document that is uploaded between two pages must not move the second one."""
    made = [await upload_id(client, f"Text {number}.") for number in range(5)]

    first = (await client.get("/documents", params={"limit": 2})).json()
    await upload_id(client, "In between.")
    second = await client.get("/documents", params={"limit": 3, "cursor": first["next"]})

    assert [each["id"] for each in first["items"]] == made[:2:-1]
    assert [each["id"] for each in second.json()["items"]] == made[2::-1]
    assert second.json()["next"] is None
    assert_problem(await client.get("/documents", params={"cursor": "%%%"}), 400)


async def test_deleting_a_document_leaves_nothing_of_it(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """Passages, translations and chunks go with it; its job stays in the ledger, cancelled."""
    document = await upload_id(client, "A text.")
    await ask_for(client, document)

    assert (await client.delete(f"/documents/{document}")).status_code == 204

    assert await count_all(catalogue) == {**NOTHING, "bedplate.jobs": 1}
    assert_problem(await client.get(f"/documents/{document}"), 404)
    assert_problem(await client.delete(f"/documents/{document}"), 404)


async def test_L8_a_failed_request_leaves_nothing_behind(
    client: AsyncClient, catalogue: Catalogue, layer: DataLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails after the rows were written must not leave them, nor keep the connection."""

    async def fail(self: Documents, upload: Upload, language: str) -> Document:
        await real(self, upload, language)
        raise RuntimeError("after the rows")

    real = Documents.store
    monkeypatch.setattr(Documents, "store", fail)

    refused = await upload(client, "A text.")

    assert_problem(refused, 500)
    assert await count_all(catalogue) == NOTHING
    assert layer.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # QueuePool


async def test_L8_a_cancelled_request_leaves_nothing_behind(
    client: AsyncClient, catalogue: Catalogue, layer: DataLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser that is closed in the middle of an upload leaves no half of it."""
    has_stored, never = asyncio.Event(), asyncio.Event()

    async def hang(self: Documents, *arguments: Any) -> Document:
        document = await real(self, *arguments)
        has_stored.set()
        await never.wait()
        return document

    real = Documents.store
    monkeypatch.setattr(Documents, "store", hang)
    request = asyncio.create_task(upload(client, "A text."))
    stored = asyncio.create_task(has_stored.wait())
    await asyncio.wait({request, stored}, return_when=asyncio.FIRST_COMPLETED)
    assert stored.done(), request
    assert layer.database.engine.pool.checkedout() == 1  # type: ignore[attr-defined] # QueuePool

    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request

    assert await count_all(catalogue) == NOTHING
    assert layer.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # QueuePool


async def test_errors_are_problem_details_everywhere(client: AsyncClient) -> None:
    """One form of error for programs, whatever went wrong (RFC 9457)."""
    assert_problem(await client.get(f"/documents/{uuid.uuid4()}"), 404)
    assert_problem(await client.get("/documents/none"), 422)
    assert_problem(await client.get("/nowhere"), 404)
    assert_problem(await client.put("/documents"), 405)
    assert_problem(await client.post("/documents"), 422)
    assert_problem(await client.post("/documents", headers={"sec-fetch-site": "cross-site"}), 403)
