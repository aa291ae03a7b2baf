"""A body that is too long is refused while it is read."""

from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, File, Request, UploadFile

from bedplate.fastapi import BodyLimit, install_problems

LIMIT = 1000


def application() -> FastAPI:
    app = FastAPI()
    install_problems(app)
    app.add_middleware(BodyLimit, max_bytes=LIMIT)

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.post("/form")
    async def form(file: Annotated[UploadFile, File()]) -> int:
        return file.size or 0

    return app


async def post(path: str, **options: object) -> httpx.Response:
    transport = httpx.ASGITransport(app=application())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request("POST", path, **options)  # type: ignore[arg-type]  # pass-through


async def test_body_within_the_limit_passes() -> None:
    """The limit itself is allowed."""
    assert (await post("/raw", content=b"x" * LIMIT)).json() == LIMIT


async def test_declared_length_is_refused_before_reading() -> None:
    """Nothing of a body that says it is too long need be received."""

    async def never_read() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    response = await post("/raw", content=never_read(), headers={"content-length": "1001"})
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


async def test_undeclared_length_is_refused_while_reading() -> None:
    """A chunked upload is stopped at the limit, not after all of it was buffered."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 100 * LIMIT:
            read += 100
            yield b"x" * 100

    response = await post("/raw", content=endless())
    assert response.status_code == 413
    assert response.json()["code"] == "content_too_large"


@pytest.mark.parametrize("size", [500, 5000])
async def test_multipart_upload_is_limited(size: int) -> None:
    """Uploads are what the limit is for: the refusal passes through the form parser."""
    response = await post("/form", files={"file": ("book.txt", b"x" * size)})
    assert response.status_code == (200 if size < LIMIT else 413)
    if size > LIMIT:
        assert response.json()["max_bytes"] == LIMIT
