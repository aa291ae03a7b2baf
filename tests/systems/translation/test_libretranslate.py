"""The engine `libretranslate`, against a server that speaks its interface over a socket."""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from systems.translation.choice import create_engine
from systems.translation.engines import (
    EngineDeniedError,
    EngineError,
    EngineMissingError,
    PairUnavailableError,
)
from systems.translation.libretranslate import LibreTranslate, LibreTranslateServer, batches, cut
from tests.systems.translation.libre_server import LibreServer, refusal

KEY = "canary-of-an-api-key"
TEXT = "A title\n\n  Indented, with a tail.  \r\nThe end.\n\n"


@pytest.fixture
def server() -> Iterator[LibreServer]:
    """One that wants a key."""
    with LibreServer(api_key=KEY) as server:
        yield server


def engine_of(
    server: LibreServer, *, key: str = KEY, seconds: float = 30, characters: int = 2000
) -> LibreTranslate:
    """The engine, as the settings make it."""
    made = create_engine(
        "libretranslate",
        timedelta(seconds=seconds),
        LibreTranslateServer(server.url, SecretStr(key), characters),
    )
    assert isinstance(made, LibreTranslate)
    return made


async def test_lines_are_translated_and_what_stands_between_them_stays(
    server: LibreServer,
) -> None:
    """One request for the whole, a list in, a list out; no white space is sent."""
    assert await engine_of(server).translate(TEXT, "en", "es") == TEXT.upper()
    (body,) = server.bodies
    assert body["q"] == ["A title", "Indented, with a tail.", "The end."]
    assert (body["source"], body["target"], body["format"]) == ("en", "es", "text")


@pytest.mark.parametrize("characters", [100, 333])
async def test_a_long_text_goes_in_requests_that_the_server_takes(
    server: LibreServer, characters: int
) -> None:
    """Also a line that is longer than one of them, which comes back as one line."""
    server.most_characters = characters
    text = "\n".join(["A sentence of many words. " * 40, "x" * 900, "", "short"])
    assert await engine_of(server, characters=characters).translate(text, "en", "es") == (
        text.upper()
    )
    assert all(sum(map(len, body["q"])) <= characters for body in server.bodies)


async def test_white_space_alone_is_not_asked_for(server: LibreServer) -> None:
    """A chunk may be the empty lines between two chapters."""
    assert await engine_of(server).translate(" \n\n", "en", "es") == " \n\n"
    assert server.bodies == []


async def test_a_pair_that_the_server_lacks_is_named_with_those_it_has(
    server: LibreServer,
) -> None:
    """Asked before there is a job."""
    await engine_of(server).check_pair("en", "es")
    with pytest.raises(PairUnavailableError, match=r"es to de; installed pairs: .*en-es"):
        await engine_of(server).check_pair("es", "de")


async def test_a_language_is_found_by_the_servers_name_for_it(server: LibreServer) -> None:
    """Chinese is zh-Hans there."""
    await engine_of(server).translate("word", "en", "zh")
    assert server.bodies[0]["target"] == "zh-Hans"


@pytest.mark.bad_day(
    "A wrong API key of LibreTranslate", sees="503 `engine_denied`, without the key"
)
async def test_a_refused_key_is_said_and_not_shown(
    server: LibreServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The server repeats the key in its answer; no error, repr or log of ours does."""
    wrong = "canary-of-a-wrong-key"
    engine = engine_of(server, key=wrong)
    with caplog.at_level(logging.DEBUG), pytest.raises(EngineDeniedError) as caught:
        await engine.translate("word", "en", "es")
    shown = f"{caught.value!r} {caught.value} {engine!r} {engine.server!r} {caplog.text}"
    assert "Invalid API key: ***" in shown
    assert wrong not in shown
    assert len(server.bodies) == 1


async def test_what_was_surely_not_done_is_asked_again(server: LibreServer) -> None:
    """A limit that is over in a moment, a server that is starting behind its proxy."""
    server.answers = [refusal(429, "Slowdown", retry_after="0"), refusal(503, "starting")]
    assert await engine_of(server).translate("word", "en", "es") == "WORD"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([refusal(429, "Too many requests", retry_after="3600")], "too often"),
        ([refusal(500, "Cannot translate text: boom")], "500: Cannot translate text: boom"),
        ([refusal(400, "q is missing")], "400: q is missing"),
        ([(302, {"location": "http://127.0.0.1:1/"}, b"")], "redirects"),
        ([(200, {}, b"<html>")], "no JSON"),
        ([(200, {}, b'{"translatedText": ["a", "b"]}')], "as many texts"),
        ([(200, {}, b'{"translatedText": ["a\\u0000"]}')], "as many texts"),
        ([(200, {}, b"x" * (5 * 1024 * 1024))], "broke off"),
    ],
    ids=["429", "500", "400", "redirect", "no JSON", "too few", "NUL", "endless"],
)
async def test_every_failure_has_its_words_and_is_not_repeated(
    server: LibreServer, answers: list[tuple[int, dict[str, str], bytes]], words: str
) -> None:
    """The job decides whether to try again, later."""
    server.answers = list(answers)
    with pytest.raises(EngineError, match=words):
        await engine_of(server).translate("word", "en", "es")
    assert len(server.bodies) == 1


@pytest.mark.bad_day(
    "A LibreTranslate server that is silent", sees="the job fails and is tried again"
)
async def test_a_silent_server_is_left_in_time(server: LibreServer) -> None:
    """And is not asked a second time: it may be at work on the first."""
    server.silent.set()
    with pytest.raises(EngineError, match=r"did not answer within 0\.5 s|broke off"):
        await engine_of(server, seconds=0.5).translate("word", "en", "es")
    assert len(server.bodies) == 1


async def test_a_server_that_is_not_there_is_said() -> None:
    """A wrong port, or a container that is not up."""
    with LibreServer() as gone:
        engine = engine_of(gone)
    with pytest.raises(EngineError, match="cannot be reached"):
        await engine.check_pair("en", "es")


@pytest.mark.parametrize("listed", [[], {"en": "es"}, [{"code": "en"}], "English"])
async def test_a_stranger_is_told_before_anything_is_sent(
    server: LibreServer, listed: object
) -> None:
    """An address that leads to another program: its languages are looked at first."""
    server.languages = json.loads(json.dumps(listed))
    with pytest.raises(EngineError, match="does not speak LibreTranslate's interface"):
        await engine_of(server).translate("word", "en", "es")
    assert server.bodies == []


async def test_proxies_of_the_environment_are_not_asked(
    server: LibreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text and key go where the settings say."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert await engine_of(server).translate("word", "en", "es") == "WORD"


def test_without_an_address_the_engine_is_missing() -> None:
    """The settings say so earlier; a program that makes its own engine is told too."""
    with pytest.raises(EngineMissingError, match="no address"):
        create_engine("libretranslate", timedelta(seconds=1))


def test_pieces_are_the_text_again_and_batches_lose_none() -> None:
    """Whatever the text is made of."""
    text = "\ufeff a\u2028b\x0bc\r\n\n" + "word " * 100 + "\n" + "y" * 250 + " "
    pieces = list(cut(text, 100))
    assert "".join(each.before + each.inner + each.after for each in pieces) == text
    assert max(len(each.inner) for each in pieces) <= 100
    found = [each for batch in batches(pieces, 100) for each in batch]
    assert found == [each for each in pieces if each.inner]
