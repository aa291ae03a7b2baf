"""Uploading, listing, searching and deleting texts over HTTP."""

import asyncio
import itertools
import json
import tempfile
import uuid
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, Response
from itsdangerous import TimestampSigner
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.fastapi import SignedCookie, digest
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.librilabs.models import MAX_FILE_BYTES, Document, User
from systems.librilabs.readers import OwnerMissingError, Reader
from systems.librilabs.repositories import Documents, Translations
from systems.librilabs.uploads import MAX_BODY_BYTES, Upload
from tests.serving import send_half, served
from tests.systems.conftest import Catalogue
from tests.systems.librilabs.conftest import ask_for, count_all, upload, upload_id

NOTHING = {
    "users": 0,
    "documents": 0,
    "document_passages": 0,
    "translations": 0,
    "translation_chunks": 0,
    "bedplate.jobs": 0,
}


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


@pytest.mark.bad_day("Over 10 MB", sees="413 `file_too_large`, with the limit")
async def test_L19_over_ten_megabytes_is_refused_and_nothing_is_stored(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """The limit is the file's, to the byte."""
    refused = await upload(client, b"a" * (MAX_FILE_BYTES + 1))

    assert_problem(refused, 413)
    assert str(MAX_FILE_BYTES) in refused.json()["detail"]
    assert await count_all(catalogue) == NOTHING
    assert (await upload(client, b"a" * MAX_FILE_BYTES)).status_code == 201


@pytest.mark.bad_day("A body that never ends", sees="413, and no more of it is read")
async def test_L19_a_body_that_never_ends_is_not_read_to_its_end(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """Nobody may fill the disk by not saying how long a file is."""
    sent_bytes = 0
    head = (
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"content-type: text/plain\r\n\r\n"
    )

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent_bytes
        yield head
        while sent_bytes < 10 * MAX_BODY_BYTES:
            sent_bytes += 65536
            yield b"a" * 65536

    refused = await client.post(
        "/documents", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}
    )

    assert_problem(refused, 413)
    assert sent_bytes <= MAX_BODY_BYTES + 2 * 65536
    assert await count_all(catalogue) == NOTHING


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"caf\xe9", "byte 3 is 0xe9"),
        ("text".encode("utf-16"), "byte 0 is 0xff"),
        (b"a\x00b", "byte 1 is the character NUL"),
    ],
    ids=["latin-1", "utf-16", "nul"],
)
@pytest.mark.bad_day(
    "Binary or another encoding instead of UTF-8 text",
    sees="415 `file_encoding`, naming the byte",
)
async def test_L19_a_wrong_encoding_is_refused_and_nothing_is_stored(
    client: AsyncClient, catalogue: Catalogue, data: bytes, where: str
) -> None:
    """Text that is guessed at is text that is spoilt."""
    refused = await upload(client, data)

    assert_problem(refused, 415)
    assert where in refused.json()["detail"]
    assert await count_all(catalogue) == NOTHING


@pytest.mark.parametrize("language", ["xx", "english", "", "e\x00"])
@pytest.mark.bad_day("An unknown language", sees="422 naming the field")
async def test_L19_an_unknown_language_is_refused_and_nothing_is_stored(
    client: AsyncClient, catalogue: Catalogue, language: str
) -> None:
    """Neither as a text's language nor as a translation's."""
    refused = await upload(client, "A text.", language=language)
    assert_problem(refused, 422)
    assert "source_language" in json.dumps(refused.json()["errors"])
    assert await count_all(catalogue) == NOTHING

    document = await upload_id(client, "A text.")
    refused = await ask_for(client, document, language)
    assert_problem(refused, 422)
    assert (await count_all(catalogue))["translations"] == 0


async def test_L19_no_owner_is_refused_by_the_repository_and_by_the_check(
    session: AsyncSession,
) -> None:
    """A row of nobody would be seen by nobody, or by everybody."""
    for repository in (Documents, Translations):
        with pytest.raises(OwnerMissingError):
            repository(session, Reader())

    session.add(Document(content="", file_name="a", file_size=0, source_language="en"))
    with pytest.raises(IntegrityError, match="ck_documents_owner"):
        await session.flush()


@pytest.mark.parametrize("kind", ["tampered", "expired", "garbage", "foreign"])
@pytest.mark.bad_day(
    "A tampered, expired or foreign cookie",
    sees="401 `session_invalid`; the browser forgets it",
)
async def test_L19_a_bad_cookie_gets_401_and_stores_nothing(
    client: AsyncClient,
    catalogue: Catalogue,
    layer: DataLayer,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader whose cookie is no longer good must not be given another's, or a new, library."""
    if kind == "expired":
        # Signed in 1970; the client itself believes that it is new, and sends it.
        monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: 1)
    value = await _session_cookie(client)
    monkeypatch.undo()
    before = await count_all(catalogue)
    if kind != "expired":
        other = "B" if value.startswith("A") else "A"
        bad = {"tampered": other + value[1:], "garbage": "x", "foreign": value[:-3] + "abc"}[kind]
        assert bad != value
        value = bad

    for is_upload in (True, False):
        client.cookies.clear()
        client.cookies.set("librilabs_session", value)
        asked = upload(client, "A text.") if is_upload else client.get("/documents")
        refused = await asked
        assert_problem(refused, 401)
        # Forgotten, so that the next request is a new reader's.
        assert "Max-Age=0" in refused.headers["set-cookie"]
    assert await count_all(catalogue) == before


async def test_L19_a_bad_cookie_is_refused_before_the_file_is_read(
    layer: DataLayer, bedplate_system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it is sent, more than memory takes: it fills no disk, and no answer waits for it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    async with served(bedplate_system.create_app(layer)) as address:
        bad = {"Cookie": "librilabs_session=x"}
        status, problem = await send_half(f"{address}/documents", bad)
    assert (status, problem["code"]) == (401, "session_invalid")


async def test_the_first_request_sets_a_cookie_and_the_database_keeps_its_digest(
    client: AsyncClient, catalogue: Catalogue, layer: DataLayer
) -> None:
    """HttpOnly and SameSite=Lax always; what a thief of the database gets opens nothing."""
    answer = await client.get("/documents")
    cookie = SimpleCookie(answer.headers["set-cookie"])["librilabs_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert not cookie["secure"], "plain HTTP on loopback, so that scripts work there"
    again = await upload(client, "A text.")
    assert "set-cookie" not in again.headers

    secure = await client.get("https://library.example.org/documents")
    assert secure.headers["set-cookie"].startswith("__Host-librilabs_session=")
    assert "Secure" in secure.headers["set-cookie"]

    ((stored,),) = await catalogue("SELECT session_id FROM documents")
    token = cookie.value.split(".")[0]
    assert stored == digest(token)
    assert SignedCookie.from_settings("librilabs", layer.settings).system == "librilabs"


@pytest.mark.bad_day("A foreign document", sees="404, as if it were not there")
async def test_L21_a_reader_sees_and_touches_only_its_own(
    client: AsyncClient, stranger: AsyncClient, catalogue: Catalogue
) -> None:
    """Another's document is not forbidden, it is not there: its id says nothing either."""
    document = await upload_id(client, "A secret lighthouse.")
    translation = (await ask_for(client, document)).json()["id"]
    before = await count_all(catalogue)
    own = await upload_id(stranger, "My own lighthouse.")

    listed = (await stranger.get("/documents")).json()["items"]
    found = (await stranger.get("/documents", params={"q": "lighthouse"})).json()["items"]
    assert [each["id"] for each in listed] == [own]
    assert [each["id"] for each in found] == [own]
    for path in (
        f"/documents/{document}",
        f"/translations/{translation}",
        f"/translations/{translation}/events",
        f"/translations/{translation}/content",
    ):
        assert_problem(await stranger.get(path), 404)
        assert (await stranger.get(path)).json()["detail"] == (
            await stranger.get(path.replace(document, document))
        ).json()["detail"]
    assert_problem(await ask_for(stranger, document), 404)
    assert_problem(await stranger.delete(f"/documents/{document}"), 404)
    assert await count_all(catalogue) == {
        **before,
        "documents": before["documents"] + 1,
        "document_passages": before["document_passages"] + 1,
    }
    assert (await client.get(f"/translations/{translation}")).status_code == 200


async def test_L21_a_user_owns_what_the_user_made_in_any_session(session: AsyncSession) -> None:
    """Signed in, a reader finds the library again on another machine; others do not."""
    user, other = User(email="a@example.org"), User(email="b@example.org")
    session.add_all([user, other])
    await session.flush()
    mine = Reader(user_id=user.id, session_id="here")
    document = await Documents(session, mine).store(Upload("a.txt", 4, "text"), "en")
    anonymous = await Documents(session, Reader(session_id="here")).store(
        Upload("b.txt", 4, "text"), "en"
    )

    assert await _visible(session, Reader(user_id=user.id, session_id="there")) == {document.id}
    assert await _visible(session, mine) == {document.id, anonymous.id}
    assert await _visible(session, Reader(session_id="here")) == {anonymous.id}
    assert await _visible(session, Reader(user_id=other.id)) == set()


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


def assert_problem(answer: Response, status: int) -> None:
    """An error of this status, as problem details."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


async def _session_cookie(client: AsyncClient) -> str:
    await client.get("/documents")
    value = client.cookies.get("librilabs_session")
    assert value is not None
    return value


async def _visible(session: AsyncSession, reader: Reader) -> set[uuid.UUID]:
    return {each.id for each in (await Documents(session, reader).page()).items}
