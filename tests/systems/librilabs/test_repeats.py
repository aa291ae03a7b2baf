"""Requests that a client sends twice, because the first answer was lost on its way."""

from httpx import AsyncClient

from tests.systems.conftest import Catalogue
from tests.systems.librilabs.conftest import count_all, upload_id

KEY = {"Idempotency-Key": "c4b1"}


async def test_an_upload_that_is_repeated_is_one_document(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """The second answer is the first one, and another text under its key is refused."""

    async def send(text: bytes) -> tuple[int, str]:
        answer = await client.post(
            "/documents",
            files={"file": ("text.txt", text, "text/plain")},
            data={"source_language": "en"},
            headers=KEY,
        )
        return answer.status_code, str(answer.json().get("id") or answer.json()["code"])

    # Who a reader is comes with their first answer; only answers to somebody are kept.
    await upload_id(client, "The first text.")
    first = await send(b"A text.")
    assert first[0] == 201
    assert await send(b"A text.") == first
    assert await send(b"Another text.") == (422, "idempotency_key_reused")
    assert (await count_all(catalogue))["documents"] == 2


async def test_a_translation_that_is_asked_for_again_is_one_job(
    client: AsyncClient, catalogue: Catalogue
) -> None:
    """Else its reader waits for two, and pays for two."""
    document = await upload_id(client, "A text.")
    answers = [
        await client.post(
            f"/documents/{document}/translations", json={"target_language": "es"}, headers=KEY
        )
        for _ in range(2)
    ]
    assert answers[0].is_success
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert [each.status_code for each in answers] == [answers[0].status_code] * 2
    assert answers[0].json() == answers[1].json()
    counts = await count_all(catalogue)
    assert (counts["translations"], counts["bedplate.jobs"]) == (1, 1)


async def test_a_delete_that_is_repeated_is_answered_as_the_first(client: AsyncClient) -> None:
    """Not by a 404 for what it has deleted itself."""
    document = await upload_id(client, "A text.")
    for _ in range(2):
        assert (await client.delete(f"/documents/{document}", headers=KEY)).status_code == 204
