"""The glossary over HTTP, and nobody else's."""

import uuid

import pytest
from httpx import AsyncClient, Response

from tests.systems.conftest import Catalogue, assert_problem
from tests.systems.pdf_translator.conftest import count_all

SHELL = {"term": "shell", "translation": "intérprete", "target_lang": "es"}


async def test_P4_a_term_is_added_listed_replaced_and_removed(client: AsyncClient) -> None:
    """Each answer is the whole entry."""
    added = await client.post("/glossary", json=SHELL)
    assert added.status_code == 201
    entry = added.json()
    assert {name: entry[name] for name in SHELL} == SHELL

    await client.post("/glossary", json={**SHELL, "translation": "coquille", "target_lang": "fr"})
    listed = (await client.get("/glossary")).json()
    assert [each["target_lang"] for each in listed["items"]] == ["fr", "es"]
    of_one = (await client.get("/glossary", params={"target_lang": "ES"})).json()["items"]
    assert of_one == [entry]

    changed = await client.put(f"/glossary/{entry['id']}", json={**SHELL, "translation": "concha"})
    assert changed.status_code == 200
    assert changed.json()["translation"] == "concha"
    assert changed.json()["updated_at"] > entry["updated_at"]
    assert (await client.delete(f"/glossary/{entry['id']}")).status_code == 204
    assert (await client.get("/glossary", params={"target_lang": "es"})).json()["items"] == []


async def test_P4_a_term_has_one_translation_in_a_language(client: AsyncClient) -> None:
    """A second one is a 409, added or come by as a change."""
    await client.post("/glossary", json=SHELL)
    again = await client.post("/glossary", json={**SHELL, "term": " shell ", "translation": "x"})
    assert assert_problem(again, 409) == "conflict"
    other = await client.post("/glossary", json={**SHELL, "term": "directory"})
    taken = await client.put(f"/glossary/{other.json()['id']}", json=SHELL)
    assert assert_problem(taken, 409) == "conflict"
    assert (await client.get("/glossary")).json()["items"][0]["term"] == "directory"


async def test_a_glossary_is_read_in_pages(client: AsyncClient) -> None:
    """By a cursor, the newest first, each once."""
    for number in range(5):
        await client.post("/glossary", json={**SHELL, "term": f"term {number}"})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/glossary", params={"limit": 2, **cursor})).json()
        seen += [each["term"] for each in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == [f"term {number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    "entry",
    [
        {**SHELL, "term": ""},
        {**SHELL, "term": " \n "},
        {**SHELL, "term": "a\u0000b"},
        {**SHELL, "term": "a\u001bb"},
        {**SHELL, "translation": "x" * 201},
        {**SHELL, "target_lang": "klingon"},
        {**SHELL, "user_id": str(uuid.uuid4())},
        {"term": "shell"},
    ],
)
async def test_what_is_no_entry_is_refused_and_not_stored(
    client: AsyncClient, catalogue: Catalogue, entry: dict[str, str]
) -> None:
    """A 422 at the door, never a 500 from the database; nobody adds to another's glossary."""
    assert_problem(await client.post("/glossary", json=entry), 422)
    assert (await count_all(catalogue))["glossary"] == 0


async def test_half_a_character_is_refused(client: AsyncClient) -> None:
    """JSON can hold what UTF-8 cannot."""
    body = b'{"term": "\\ud800", "translation": "x", "target_lang": "es"}'
    answer = await client.post(
        "/glossary", content=body, headers={"content-type": "application/json"}
    )
    assert_problem(answer, 422)


async def test_a_stranger_sees_and_changes_nothing(
    client: AsyncClient, stranger: AsyncClient
) -> None:
    """By list and by id; the same words may be in both glossaries."""
    mine = (await client.post("/glossary", json=SHELL)).json()
    assert (await stranger.get("/glossary")).json()["items"] == []
    answers: list[Response] = [
        await stranger.put(f"/glossary/{mine['id']}", json={**SHELL, "translation": "stolen"}),
        await stranger.delete(f"/glossary/{mine['id']}"),
    ]
    for answer in answers:
        assert assert_problem(answer, 404) == "not_found"
    assert (await stranger.post("/glossary", json=SHELL)).status_code == 201
    assert (await client.get("/glossary")).json()["items"] == [mine]


async def test_who_is_not_signed_in_has_no_glossary(nobody: AsyncClient) -> None:
    """A 401 on each route."""
    entry = f"/glossary/{uuid.uuid4()}"
    for answer in (
        await nobody.get("/glossary"),
        await nobody.post("/glossary", json=SHELL),
        await nobody.put(entry, json=SHELL),
        await nobody.delete(entry),
    ):
        assert assert_problem(answer, 401) == "not_signed_in"
