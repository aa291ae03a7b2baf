"""Over a real server: whose upload is refused keeps it, and the disk is not touched."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter, FastAPI, File, UploadFile
from starlette.requests import HTTPConnection

from bedplate.fastapi import BodyLimit, Problem, Router, install_problems
from tests.serving import HALF_BYTES, send_half, served

LIMIT_BYTES = 3 * HALF_BYTES
KEY = {"Authorization": "key"}


async def admit(connection: HTTPConnection) -> None:
    """Whoever has the key."""
    if connection.headers.get("authorization") != KEY["Authorization"]:
        raise Problem(401, "Sign in first.", code="not_signed_in")


def make_app() -> FastAPI:
    """One route behind the gate, included as systems include theirs, within another router."""
    app, outer = FastAPI(), APIRouter(prefix="/outer")
    install_problems(app)
    app.add_middleware(BodyLimit, max_bytes=LIMIT_BYTES)
    router = Router(prefix="/files", gate=admit)

    @router.post("")
    async def upload(file: Annotated[UploadFile, File()]) -> int | None:
        return file.size

    outer.include_router(router)
    app.include_router(outer)
    return app


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Where files are uploaded to."""
    async with served(make_app()) as address:
        yield f"{address}/outer/files"


@pytest.fixture
def _no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever puts a file there fails."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))


@pytest.mark.usefixtures("_no_disk")
async def test_who_is_refused_is_told_before_the_body_is_read(url: str) -> None:
    """Half of a form is sent, too much for memory: the answer waits for nothing of the rest."""
    status, problem = await send_half(url)
    assert (status, problem["code"]) == (401, "not_signed_in")


@pytest.mark.usefixtures("_no_disk")
async def test_what_is_admitted_goes_to_the_disk(url: str) -> None:
    """So the test above would see it."""
    status, _ = await send_half(url, KEY)
    assert status == 400


async def test_who_is_refused_is_not_asked_for_the_body(url: str) -> None:
    """A client that asks before it sends (curl does) sends nothing at all."""
    expecting = {"Expect": "100-continue", "Content-Length": str(HALF_BYTES)}
    assert (await send_half(url, expecting, sent_bytes=0))[0] == 401
    assert await send_half(url, {**expecting, **KEY}, sent_bytes=0) == (100, None)


async def test_a_length_over_the_limit_is_refused_at_once(url: str) -> None:
    """By its headers alone."""
    too_long = {**KEY, "Content-Length": str(LIMIT_BYTES + 1)}
    status, problem = await send_half(url, too_long, sent_bytes=0)
    assert (status, problem["code"]) == (413, "content_too_large")


async def test_a_body_over_the_limit_is_refused_while_it_comes(url: str) -> None:
    """Its length is not said, and its end never comes."""
    endless = {**KEY, "Transfer-Encoding": "chunked"}
    status, problem = await send_half(url, endless, sent_bytes=LIMIT_BYTES)
    assert (status, problem["code"]) == (413, "content_too_large")


def test_the_form_stands_in_the_openapi() -> None:
    """A gate changes nothing of what the route says of itself."""
    body = make_app().openapi()["paths"]["/outer/files"]["post"]["requestBody"]
    assert list(body["content"]) == ["multipart/form-data"]
