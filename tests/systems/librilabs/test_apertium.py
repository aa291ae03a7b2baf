"""Real Apertium, where it is installed; with REQUIRE_APERTIUM=1 its absence is a failure."""

import os
import shutil

import pytest
from httpx import AsyncClient

from bedplate.event_loop import new_loop
from bedplate.jobs.worker import Outcome
from systems.translation.apertium import Apertium
from systems.translation.engines import PairUnavailableError
from tests.systems.conftest import RunJob
from tests.systems.librilabs.conftest import ask_for, upload_id

TEXT = "The house is big.\n\nThe cat sleeps in the xyzgarden.\n\n  My friend reads a book.\n"


@pytest.fixture(autouse=True)
def _installed() -> None:
    if shutil.which("apertium") is None:
        give_up = pytest.fail if os.environ.get("REQUIRE_APERTIUM") == "1" else pytest.skip
        give_up("Apertium is not installed: apt-get install apertium apertium-eng-spa")


async def test_a_text_is_translated_and_keeps_its_form() -> None:
    """Paragraphs and indentation are the text's; an unknown word carries no asterisk (`-u`)."""
    translated = await Apertium().translate(TEXT, "en", "es")

    assert "La casa es grande." in translated
    assert "xyzgarden" in translated
    assert "*" not in translated
    assert translated.count("\n") == TEXT.count("\n")
    assert "\n\n  M" in translated


def test_a_text_is_translated_in_a_workers_loop() -> None:
    """Its pipes are sockets, which the program's script cannot open."""
    loop = new_loop()
    try:
        translated = loop.run_until_complete(Apertium().translate(TEXT, "en", "es"))
    finally:
        loop.close()
    assert "La casa es grande." in translated


async def test_text_that_looks_like_apertiums_own_signs_survives() -> None:
    """Brackets, carets and slashes mark things in Apertium's stream format."""
    signs = "^x$ [y] {z} a/b <c> \\ @d 100% ~"

    translated = await Apertium().translate(signs, "es", "en")

    for sign in "^$[]{}/<>\\@%~":
        assert translated.count(sign) == signs.count(sign), sign


async def test_a_pair_that_is_not_installed_is_refused() -> None:
    """The pairs that are there are named."""
    with pytest.raises(PairUnavailableError, match="eng-spa"):
        await Apertium().check_pair("en", "zu")


async def test_L20_a_job_translates_by_apertium(
    client: AsyncClient, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen by the configuration alone; the translation says which engine it was."""
    monkeypatch.setenv("LIBRILABS_ENGINE", "apertium")
    document = await upload_id(client, TEXT * 300)
    refused = await ask_for(client, document, "zu")
    assert refused.status_code == 422
    assert refused.json()["code"] == "language_pair_unavailable"

    translation = (await ask_for(client, document, "es")).json()
    assert await run_job(translation["translation_state"]["job_id"]) is Outcome.SUCCEEDED

    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert shown["translation_state"]["engine"] == "apertium"
    assert shown["translation_state"]["note"] is None
    assert shown["translation_state"]["chunks_done"] == 3
    content = (await client.get(f"/translations/{translation['id']}/content")).text
    assert content.count("La casa es grande.") == 300
