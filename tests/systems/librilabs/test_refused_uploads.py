"""Uploads that are refused: nothing of them is stored."""

import json
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient

from systems.librilabs.models import MAX_FILE_BYTES
from systems.librilabs.uploads import MAX_BODY_BYTES
from tests.systems.conftest import Catalogue, assert_problem
from tests.systems.librilabs.conftest import NOTHING, ask_for, count_all, upload, upload_id


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
