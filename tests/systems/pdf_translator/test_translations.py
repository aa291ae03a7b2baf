"""Uploads, and what is read of a translation while nobody works on it."""

import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from httpx import AsyncClient

from bedplate.files import stored_files
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.documents.limits import PdfLimits
from systems.pdf_translator.routes import translations as routes
from tests.serving import send_half, served
from tests.systems.conftest import Catalogue, NewClient, assert_problem
from tests.systems.pdf_translator.conftest import count_all, enter, upload

FILES = "SELECT key, state, expires_at - created_at AS kept FROM bedplate.stored_files"


async def test_an_upload_stores_file_row_and_job_together(
    client: AsyncClient, catalogue: Catalogue, layer: DataLayer, sample: bytes
) -> None:
    """202 with the whole translation; the object is in the bucket, as it came."""
    answer = await upload(client, sample, name="../Lügen.pdf", source_language="EN")

    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert (shown["status"], shown["progress"], shown["error"]) == ("pending", 0, None)
    assert (shown["source_language"], shown["target_language"]) == ("en", "es")
    assert (shown["file_name"], shown["file_size"]) == ("_Lügen.pdf", len(sample))
    (row,) = await catalogue("SELECT * FROM translations")
    (file,) = await catalogue(FILES)
    assert (file["key"], file["state"]) == (row["original_path"], "committed")
    assert file["key"].startswith("expiring/pdf_translator/")
    assert file["kept"].total_seconds() == 86_400
    assert row["translated_path"] is None
    async with layer.reading() as session:
        stored = await stored_files.load(session, row["original_file_id"])
    assert await layer.files.read(stored) == sample
    (job,) = await catalogue("SELECT id, task, arguments::text FROM bedplate.jobs")
    assert (job["id"], job["task"]) == (row["job_id"], "pdf_translator.translate_pdf")
    assert shown["id"] in job["arguments"]


async def test_a_failed_upload_leaves_no_row_and_no_job(
    client: AsyncClient,
    catalogue: Catalogue,
    sample: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bytes are in the bucket already; their pending row has the sweeper take them."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(routes, "Languages", fail)
    assert_problem(await upload(client, sample), 500)
    counted = await count_all(catalogue)
    assert (counted["translations"], counted["bedplate.jobs"]) == (0, 0)
    assert [row["state"] for row in await catalogue(FILES)] == ["pending"]


async def test_an_upload_that_is_repeated_with_its_key_is_one(
    client: AsyncClient, catalogue: Catalogue, sample: bytes
) -> None:
    """A client that lost the answer asks again, and pays for one translation."""
    client.headers["Idempotency-Key"] = '"once"'
    first, second = await upload(client, sample), await upload(client, sample)
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert (await count_all(catalogue))["translations"] == 1


@pytest.mark.parametrize("data", [b"", b"%PDF", b"hello" * 1000, b"x" * 1024 + b"%PDF-1.7"])
async def test_what_is_no_pdf_is_refused_and_nothing_is_stored(
    client: AsyncClient, catalogue: Catalogue, data: bytes
) -> None:
    """By its first kilobyte, whatever its name says; what else is wrong the job finds out."""
    assert assert_problem(await upload(client, data), 415) == "no_pdf"
    assert await catalogue(FILES) == []
    assert (await count_all(catalogue))["translations"] == 0


async def test_a_file_that_is_too_large_is_refused(
    client: AsyncClient, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, sample: bytes
) -> None:
    """While it is read; no row and no job of it stay."""
    assert PdfLimits().size_bytes == routes.MAX_FILE_BYTES
    monkeypatch.setattr(routes, "MAX_FILE_BYTES", len(sample) - 1)
    assert assert_problem(await upload(client, sample), 413) == "file_too_large"
    assert (await count_all(catalogue))["translations"] == 0
    monkeypatch.setattr(routes, "MAX_FILE_BYTES", len(sample))
    assert (await upload(client, sample)).status_code == 202


@pytest.mark.parametrize("language", ["en", "klingon", ""])
async def test_a_language_that_cannot_be_is_refused(
    client: AsyncClient, catalogue: Catalogue, sample: bytes, language: str
) -> None:
    """None of ISO's, or the one that the document is in."""
    assert_problem(await upload(client, sample, language=language), 422)
    assert await catalogue(FILES) == []


async def test_a_pair_that_the_engine_has_not_is_refused(
    client: AsyncClient, sample: bytes, monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue
) -> None:
    """Before anything is stored; a missing engine is named."""
    monkeypatch.setenv("PDF_TRANSLATOR_ENGINE", "apertium")
    monkeypatch.setenv("PATH", "/nowhere")
    assert assert_problem(await upload(client, sample), 503) == "engine_missing"
    assert await catalogue(FILES) == []


async def test_translations_are_listed_in_pages_and_shown(
    client: AsyncClient, sample: bytes
) -> None:
    """The newest first, by a cursor; one by its id is the same."""
    made = [(await upload(client, sample, name=f"{number}.pdf")).json() for number in range(3)]
    first = (await client.get("/translations", params={"limit": 2})).json()
    rest = (await client.get("/translations", params={"cursor": first["next"]})).json()
    assert first["items"] + rest["items"] == made[::-1]
    assert rest["next"] is None
    for each in made:
        assert (await client.get(f"/translations/{each['id']}")).json() == each
    assert assert_problem(await client.get("/translations", params={"cursor": "x"}), 400)


async def test_a_translation_whose_job_is_dead_has_failed(
    client: AsyncClient, sample: bytes, catalogue: Catalogue
) -> None:
    """Where its workers died, nobody was left to write it down."""
    made = (await upload(client, sample)).json()
    await catalogue(
        "UPDATE bedplate.jobs SET state = 'dead', finished_at = now(), last_error = 'killed'"
    )
    shown = (await client.get(f"/translations/{made['id']}")).json()
    assert (shown["status"], shown["error"]) == ("failed", "killed")
    (listed,) = (await client.get("/translations")).json()["items"]
    assert listed == shown


async def test_P3_blocks_are_read_page_by_page_in_their_order(
    client: AsyncClient, sample: bytes, catalogue: Catalogue
) -> None:
    """With their coordinates; a page that there is not has none."""
    made = (await upload(client, sample)).json()
    for page, block in ((2, 1), (1, 2), (1, 1)):
        await catalogue(
            "INSERT INTO document_blocks"
            " (translation_id, page_num, block_num, original_text, coordinates)"
            " VALUES ($1, $2, $3, $4, $5)",
            uuid.UUID(made["id"]),
            page,
            block,
            f"{page}.{block}",
            '{"left": 72.0, "top": 90.5, "right": 200.0, "bottom": 102.0}',
        )
    path = f"/translations/{made['id']}/blocks"
    first = (await client.get(path)).json()
    assert [each["original_text"] for each in first["blocks"]] == ["1.1", "1.2"]
    assert first["blocks"][0]["coordinates"]["top"] == 90.5
    assert first["blocks"][0]["translated_text"] is None
    second = (await client.get(path, params={"page": 2})).json()
    assert [each["block_num"] for each in second["blocks"]] == [1]
    assert (await client.get(path, params={"page": 3})).json()["blocks"] == []
    assert_problem(await client.get(path, params={"page": 0}), 422)


async def test_a_stranger_finds_nothing(
    client: AsyncClient, stranger: AsyncClient, sample: bytes
) -> None:
    """By list and by id, and is not told whether there is such a translation."""
    made = (await upload(client, sample)).json()
    assert (await stranger.get("/translations")).json()["items"] == []
    for path in (f"/translations/{made['id']}", f"/translations/{made['id']}/blocks"):
        assert assert_problem(await stranger.get(path), 404) == "not_found"


async def test_who_is_not_signed_in_is_told_so(
    nobody: AsyncClient, sample: bytes, catalogue: Catalogue
) -> None:
    """A 401 on each route, and nothing is stored."""
    absent = f"/translations/{uuid.uuid4()}"
    for answer in (
        await upload(nobody, sample),
        await nobody.get("/translations"),
        await nobody.get(absent),
        await nobody.get(f"{absent}/blocks"),
        await nobody.get("/me"),
    ):
        assert assert_problem(answer, 401) == "not_signed_in"
    assert await catalogue(FILES) == []


async def test_who_is_not_signed_in_is_told_before_the_file_is_read(
    layer: DataLayer, bedplate_system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it is sent, more than memory takes: it fills no disk, and no answer waits for it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    async with served(bedplate_system.create_app(layer)) as address:
        status, problem = await send_half(f"{address}/translations")
    assert (status, problem["code"]) == (401, "not_signed_in")


async def test_another_site_cannot_upload_with_my_cookie(
    client: AsyncClient, sample: bytes, catalogue: Catalogue
) -> None:
    """A form on a page of theirs is refused before its file is read."""
    client.headers["Sec-Fetch-Site"] = "cross-site"
    assert assert_problem(await upload(client, sample), 403) == "cross_site"
    assert await catalogue(FILES) == []


class TestWithoutS3:
    """A stand that has no bucket."""

    @pytest.fixture
    def bedplate_variables(self) -> Mapping[str, str]:
        return {}

    async def test_an_upload_says_which_variable_is_missing(
        self, layer: DataLayer, new_client: NewClient, bedplate_system: System, sample: bytes
    ) -> None:
        """A 503, not a broken page; everything else works."""
        async with new_client() as client:
            await enter(client, layer, "ada")
            answer = await upload(client, sample)
            assert assert_problem(answer, 503) == "files_missing"
            assert "AWS_BUCKET_NAME" in answer.json()["detail"]
            assert (await client.get("/translations")).json() == {"items": [], "next": None}
