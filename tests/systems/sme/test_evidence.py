"""Adding, listing, deleting and restoring evidence over HTTP."""

import asyncio
import hashlib
from typing import Any

import pytest
from httpx import AsyncClient

from bedplate.layer import DataLayer
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.sme.conftest import add_file, add_text, count_all, ingest

DESCRIBED: dict[str, Any] = {
    "title": "The finches",
    "source": "The Voyage of the Beagle",
    "tags": ["birds", "islands"],
    "observed_at": "1835-10-08T12:00:00Z",
    "metadata": {"page": 380, "by": {"name": "Darwin"}},
}


async def test_S8_a_text_is_stored_with_all_that_is_said_of_it(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """202 with a job; the whole resource, so that a client needs no second request."""
    added = await add_text(client, "They differ.", **DESCRIBED)

    assert added.status_code == 202, added.text
    shown = added.json()
    assert {name: shown[name] for name in DESCRIBED} == DESCRIBED
    assert shown["sha256"] == hashlib.sha256(b"They differ.").hexdigest()
    assert (shown["content_type"], shown["size_bytes"]) == ("text/plain", 12)
    assert (shown["status"], shown["progress"], shown["passage_count"]) == ("pending", 0, None)
    assert (await client.get(f"/evidence/{shown['id']}")).json() == shown
    ((job, arguments),) = await catalogue("SELECT id, arguments FROM bedplate.jobs")
    assert str(job) == shown["job_id"]
    assert shown["id"] in str(arguments)
    ((metadata,),) = await catalogue("SELECT metadata #>> '{by,name}' FROM evidence")
    assert metadata == "Darwin"


async def test_S8_the_same_evidence_is_not_stored_twice(
    client: AsyncClient, catalogue: Catalogue, layer: DataLayer
) -> None:
    """By its content, whatever is said of it; 200 with the one that is there."""
    first = await add_text(client, "They differ.")
    counted = await count_all(catalogue)

    again = await add_text(client, "They differ.", title="Another title")
    as_file = await add_file(client, b"They differ.", name="a.txt", content_type="text/plain")

    assert (again.status_code, as_file.status_code) == (200, 200)
    assert again.json() == as_file.json() == first.json()
    assert await count_all(catalogue) == counted
    assert (await add_text(client, "They differ!")).status_code == 202


async def test_S8_the_same_evidence_added_at_once_is_stored_once(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """All who add it get the same one; the files of the others are deleted."""
    answers = await asyncio.gather(*(add_text(client, "They differ.") for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    counted = await count_all(catalogue)
    assert (counted["evidence"], counted["bedplate.jobs"]) == (1, 1)
    kept = await catalogue("SELECT id FROM bedplate.stored_files WHERE state = 'committed'")
    ((file,),) = await catalogue("SELECT file_id FROM evidence")
    assert [row["id"] for row in kept] == [file]


async def test_S8_deleted_evidence_can_be_added_again(client: AsyncClient) -> None:
    """As new; the deleted one cannot return beside it."""
    first = (await add_text(client, "They differ.")).json()
    assert (await client.delete(f"/evidence/{first['id']}")).status_code == 204

    again = await add_text(client, "They differ.")

    assert again.status_code == 202
    assert again.json()["id"] != first["id"]
    restored = await client.post(f"/evidence/{first['id']}/restore")
    assert (restored.status_code, restored.json()["code"]) == (409, "conflict")


async def test_S9_a_file_is_stored_as_it_came(
    client: AsyncClient, layer: DataLayer, catalogue: Catalogue
) -> None:
    """Byte order mark and all; its name is the title where none is said."""
    data = b"\xef\xbb\xbfThey differ.\r\n"

    added = await add_file(client, data, name="notes/finches.txt", content_type="text/plain")

    assert added.status_code == 202, added.text
    assert added.json()["title"] == "notes/finches.txt"
    from bedplate.files import stored_files

    ((file_id,),) = await catalogue("SELECT file_id FROM evidence")
    async with layer.reading() as session:
        file = await stored_files.load_readable(session, file_id)
    assert await layer.files.read(file) == data
    assert (file.content_type, file.size_bytes) == ("text/plain", len(data))


async def test_S9_a_form_says_what_json_says(client: AsyncClient) -> None:
    """Tags by repeating the field, metadata as JSON."""
    said = {**DESCRIBED, "metadata": '{"page": 380, "by": {"name": "Darwin"}}'}

    shown = (await add_file(client, b"They differ.", name="a.txt", **said)).json()

    assert {name: shown[name] for name in DESCRIBED} == DESCRIBED


async def test_evidence_is_listed_newest_first_by_pages(client: AsyncClient) -> None:
    """The cursor leads on; what is added meanwhile shifts nothing."""
    ids = [(await add_text(client, f"Text {number}.")).json()["id"] for number in range(5)]
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/evidence", params=query)).json()
        seen += [each["id"] for each in page["items"]]
        cursor = page["next"]
        await add_text(client, f"Meanwhile {len(seen)}.")
    assert cursor is None
    assert seen == ids[::-1]
    assert (await client.get("/evidence", params={"cursor": "x"})).status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "a"}, "text"),
        ({"title": "a", "text": ""}, "text"),
        ({"title": "a", "text": " …\n"}, "text"),
        ({"title": "a", "text": "a\0b"}, "text"),
        ({"title": " ", "text": "a"}, "title"),
        ({"title": "a" * 501, "text": "a"}, "title"),
        ({"title": "a", "text": "a", "tags": "birds"}, "tags"),
        ({"title": "a", "text": "a", "tags": [""]}, "tags"),
        ({"title": "a", "text": "a", "observed_at": "1835-10-08T12:00:00"}, "observed_at"),
        ({"title": "a", "text": "a", "observed_at": "0001-01-01T00:00:00+14:00"}, "observed_at"),
        ({"title": "a", "text": "a", "metadata": []}, "metadata"),
        ({"title": "a", "text": "a", "metadata": {"a": "b\0"}}, "metadata"),
        ({"title": "a", "text": "a", "metadata": {"a": "b" * 70_000}}, "metadata"),
        ({"title": "a", "text": "a", "more": 1}, "more"),
    ],
)
async def test_what_no_evidence_is_is_refused_by_its_field(
    client: AsyncClient, catalogue: Catalogue, body: dict[str, Any], field: str
) -> None:
    """Before anything is stored, and never by a 500."""
    refused = await client.post("/evidence", json=body)

    assert refused.status_code == 422, refused.text
    assert field in str(refused.json()["errors"])
    assert await count_all(catalogue) == dict.fromkeys(await count_all(catalogue), 0)


async def test_a_file_that_is_no_text_and_no_pdf_is_refused(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """With what was found, and where."""
    for data, status, words in (
        (b"\x89PNG\r\n\x1a\n", 415, "byte 0"),
        (b"text\0text", 415, "byte 4"),
        (b"", 422, "no words"),
        (b"\n\n", 422, "no words"),
        (b"w " * (5 * 1024 * 1024 + 1), 413, "10485760"),
    ):
        refused = await add_file(client, data, name="a.txt", content_type="text/plain")
        assert refused.status_code == status, refused.text
        assert words in refused.text
    assert (await client.post("/evidence", data={"title": "a"})).status_code in {415, 422}
    assert (await client.post("/evidence", content=b"a")).status_code == 415
    headers = {"content-type": "application/json"}
    for content in (b"{", b"[" * 100_000, b'"\xff"', b""):
        refused = await client.post("/evidence", content=content, headers=headers)
        assert refused.status_code == 422, refused.text
    assert (await count_all(catalogue))["evidence"] == 0


async def test_S5_deleted_evidence_is_gone_until_it_is_restored(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue
) -> None:
    """From the list, by its id, with its passages; 404 as for what never was."""
    kept = (await add_text(client, "Birds.")).json()
    added = await ingest(client, run_job, await add_text(client, "They differ."))
    path = f"/evidence/{added['id']}"

    assert (await client.delete(path)).status_code == 204

    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    assert [each["id"] for each in (await client.get("/evidence")).json()["items"]] == [kept["id"]]
    ((deleted, of_passage),) = await catalogue(
        "SELECT e.deleted_at, p.deleted_at FROM evidence e JOIN passages p ON p.evidence_id = e.id"
    )
    assert deleted == of_passage is not None
    restored = await client.post(f"{path}/restore")
    assert restored.status_code == 200, restored.text
    assert restored.json()["status"] == "ready"
    assert (await client.get(path)).json() == restored.json()
    assert (await client.post(f"{path}/restore")).json() == restored.json()
    missing = "/evidence/00000000-0000-7000-8000-000000000000/restore"
    assert (await client.post(missing)).status_code == 404
