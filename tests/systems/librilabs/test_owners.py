"""Whose a document is: cookies, users, and what a stranger sees of it."""

import tempfile
import uuid
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from httpx import AsyncClient
from itsdangerous import TimestampSigner
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.fastapi import SignedCookie, digest
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.librilabs.models import Document, User
from systems.librilabs.readers import OwnerMissingError, Reader
from systems.librilabs.repositories import Documents, Translations
from systems.librilabs.uploads import Upload
from tests.serving import send_half, served
from tests.systems.conftest import Catalogue, assert_problem
from tests.systems.librilabs.conftest import ask_for, count_all, upload, upload_id


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


async def _session_cookie(client: AsyncClient) -> str:
    await client.get("/documents")
    value = client.cookies.get("librilabs_session")
    assert value is not None
    return value


async def _visible(session: AsyncSession, reader: Reader) -> set[uuid.UUID]:
    return {each.id for each in (await Documents(session, reader).page()).items}
