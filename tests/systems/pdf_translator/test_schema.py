"""The schema that the initial migration makes, read from the catalogue and tried on rows."""

import uuid
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from systems.pdf_translator.models import Base
from tests.systems.conftest import Catalogue
from tests.systems.schema import (
    TIMESTAMPS,
    assert_as_models,
    assert_updated_at_moves,
    columns_of,
    constraints_of,
    foreign_keys_of,
    indexed,
    refuses,
)

TEXT, UUID, INTEGER, TIME, JSON = (
    "text",
    "uuid",
    "integer",
    "timestamp with time zone",
    "jsonb",
)

INSERT_USER = "INSERT INTO users (google_id, email, name) VALUES ($1, $2, 'Ada') RETURNING id"
INSERT_TRANSLATION = """
INSERT INTO translations
       (user_id, original_path, file_name, file_size, source_language, target_language)
VALUES ($1, 'expiring/pdf_translator/a', 'a.pdf', 1, 'en', 'es') RETURNING id
"""
INSERT_BLOCK = """
INSERT INTO document_blocks (translation_id, page_num, block_num, original_text, coordinates)
VALUES ($1, $2, $3, 'text', '{"left": 1}') RETURNING id
"""
INSERT_TERM = """
INSERT INTO glossary (user_id, term, translation, target_lang) VALUES ($1, $2, $3, $4) RETURNING id
"""


@pytest.fixture
async def user(catalogue: Catalogue, committed: object) -> uuid.UUID:
    """A row of users."""
    return uuid.UUID(str((await catalogue(INSERT_USER, "1", "ada@example.org"))[0][0]))


@pytest.fixture
async def translation(catalogue: Catalogue, user: uuid.UUID) -> uuid.UUID:
    """A row of translations."""
    return uuid.UUID(str((await catalogue(INSERT_TRANSLATION, user))[0][0]))


async def test_the_head_has_exactly_what_the_models_have(catalogue: Catalogue) -> None:
    """One table, column or null more or less is somebody's surprise."""
    await assert_as_models(catalogue, Base.metadata)
    assert set(Base.metadata.tables) == {"users", "translations", "document_blocks", "glossary"}


async def test_P1_users_has_its_columns_and_unique_keys(
    catalogue: Catalogue, user: uuid.UUID
) -> None:
    """One person of Google's, and one address, is one user."""
    assert await columns_of(catalogue, "users") == {
        "id": (UUID, False),
        "google_id": ("character varying(255)", False),
        "email": ("character varying(320)", False),
        "name": ("character varying(255)", False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
    }
    constraints = await constraints_of(catalogue, "users")
    assert constraints == {
        "pk_users": "PRIMARY KEY (id)",
        "uq_users_google_id": "UNIQUE (google_id)",
        "uq_users_email": "UNIQUE (email)",
    }

    with pytest.raises(asyncpg.UniqueViolationError, match="uq_users_google_id"):
        await catalogue(INSERT_USER, "1", "other@example.org")
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_users_email"):
        await catalogue(INSERT_USER, "2", "ada@example.org")


async def test_P2_translations_has_its_columns(catalogue: Catalogue) -> None:
    """Those of the specification, and what a user expects of a job."""
    short = "character varying(10)"
    path = "character varying(1024)"
    assert await columns_of(catalogue, "translations") == {
        "id": (UUID, False),
        "user_id": (UUID, False),
        "status": ("character varying(20)", False),
        "progress": (INTEGER, False),
        "original_path": (path, False),
        "translated_path": (path, True),
        "original_file_id": (UUID, True),
        "translated_file_id": (UUID, True),
        "file_name": ("character varying(255)", False),
        "file_size": (INTEGER, False),
        "page_count": (INTEGER, True),
        "source_language": (short, False),
        "target_language": (short, False),
        "engine": ("character varying(40)", True),
        "note": (TEXT, True),
        "error": (TEXT, True),
        "job_id": (UUID, True),
        "completed_at": (TIME, True),
        "expires_at": (TIME, False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
    }


async def test_P2_a_status_that_nobody_knows_is_refused(
    catalogue: Catalogue, translation: uuid.UUID
) -> None:
    """And each of the five is taken; a new translation waits, at 0 percent, for 24 hours."""
    ((status, progress, kept),) = await catalogue(
        "SELECT status, progress, expires_at - created_at FROM translations"
    )
    assert (status, progress, kept.total_seconds()) == ("pending", 0, 86_400)
    for status in ("pending", "in_progress", "failed", "expired"):
        await catalogue("UPDATE translations SET status = $1", status)
    await catalogue(
        "UPDATE translations SET status = 'completed', progress = 100, translated_path = 'b'"
    )
    await refuses(catalogue, "ck_translations_status", "UPDATE translations SET status = 'done'")
    with pytest.raises(asyncpg.NotNullViolationError):
        await catalogue("UPDATE translations SET status = NULL")


async def test_P2_the_translated_path_is_null_until_it_is_done(
    catalogue: Catalogue, translation: uuid.UUID
) -> None:
    """A path without a result, or a result without a path, is a download that breaks."""
    check = "ck_translations_translated_path"
    for status in ("pending", "in_progress", "failed"):
        await refuses(
            catalogue,
            check,
            "UPDATE translations SET status = $1, translated_path = 'b'",
            status,
        )
    await refuses(catalogue, check, "UPDATE translations SET status = 'completed', progress = 100")
    await refuses(
        catalogue,
        check,
        "UPDATE translations SET status = 'completed', translated_path = 'b', progress = 99",
    )
    await catalogue(
        "UPDATE translations SET status = 'completed', translated_path = 'b', progress = 100"
    )
    await catalogue("UPDATE translations SET status = 'expired'")


async def test_P3_document_blocks_has_its_columns_and_one_block_at_each_place(
    catalogue: Catalogue, translation: uuid.UUID
) -> None:
    """The unique key is translation, page and block."""
    assert await columns_of(catalogue, "document_blocks") == {
        "id": (UUID, False),
        "translation_id": (UUID, False),
        "page_num": (INTEGER, False),
        "block_num": (INTEGER, False),
        "original_text": (TEXT, False),
        "translated_text": (TEXT, True),
        "coordinates": (JSON, False),
    }
    constraints = await constraints_of(catalogue, "document_blocks")
    assert "UNIQUE (translation_id, page_num, block_num)" in constraints.values()

    await catalogue(INSERT_BLOCK, translation, 1, 1)
    for page, block in ((1, 2), (2, 1)):
        await catalogue(INSERT_BLOCK, translation, page, block)
    with pytest.raises(asyncpg.UniqueViolationError):
        await catalogue(INSERT_BLOCK, translation, 1, 1)
    await refuses(
        catalogue,
        "ck_document_blocks_coordinates",
        "UPDATE document_blocks SET coordinates = '[]'",
    )


async def test_P4_glossary_has_its_columns_and_one_translation_for_a_term(
    catalogue: Catalogue, user: uuid.UUID
) -> None:
    """Per user, term and language; a term of blanks fits everywhere."""
    short = "character varying(200)"
    assert await columns_of(catalogue, "glossary") == {
        "id": (UUID, False),
        "user_id": (UUID, False),
        "term": (short, False),
        "translation": (short, False),
        "target_lang": ("character varying(10)", False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
    }
    constraints = await constraints_of(catalogue, "glossary")
    assert "UNIQUE (user_id, term, target_lang)" in constraints.values()

    ((other,),) = await catalogue(INSERT_USER, "2", "bob@example.org")
    await catalogue(INSERT_TERM, user, "shell", "intérprete", "es")
    with pytest.raises(asyncpg.UniqueViolationError):
        await catalogue(INSERT_TERM, user, "shell", "concha", "es")
    await catalogue(INSERT_TERM, user, "shell", "coquille", "fr")
    await catalogue(INSERT_TERM, other, "shell", "concha", "es")
    await refuses(catalogue, "ck_glossary_term", INSERT_TERM, user, "  ", "x", "es")
    await refuses(catalogue, "ck_glossary_translation", INSERT_TERM, user, "x", "  ", "es")


async def test_P5_each_foreign_key_says_what_a_deletion_does(
    catalogue: Catalogue, translation: uuid.UUID
) -> None:
    """What belongs to a row goes with it; a file outlives the row that named it."""
    cascade, set_null = "c", "n"
    assert await foreign_keys_of(catalogue) == {
        ("translations", "user_id", "users", cascade),
        ("translations", "original_file_id", "bedplate.stored_files", set_null),
        ("translations", "translated_file_id", "bedplate.stored_files", set_null),
        ("document_blocks", "translation_id", "translations", cascade),
        ("glossary", "user_id", "users", cascade),
    }

    ((user,),) = await catalogue("SELECT id FROM users")
    await catalogue(INSERT_BLOCK, translation, 1, 1)
    await catalogue(INSERT_TERM, user, "shell", "concha", "es")
    await catalogue("DELETE FROM users")
    for table in ("translations", "document_blocks", "glossary"):
        assert (await catalogue(f"SELECT count(*) FROM {table}"))[0][0] == 0


async def test_P5_indexes_serve_every_foreign_key_and_what_is_asked_for_often(
    catalogue: Catalogue,
) -> None:
    """Without them every list, cascade and sign-in reads whole tables."""
    assert len(await foreign_keys_of(catalogue)) == 5
    assert {
        ("translations", "status"),
        ("translations", "created_at"),
        ("translations", "expires_at"),
        ("users", "google_id"),
        ("users", "email"),
    } <= await indexed(catalogue)


BAD_ROWS: dict[str, tuple[str, Callable[[uuid.UUID], tuple[Any, ...]]]] = {
    "ck_translations_progress": (
        "UPDATE translations SET progress = -1 WHERE id = $1",
        lambda translation: (translation,),
    ),
    "ck_translations_page_count": (
        "UPDATE translations SET page_count = 0 WHERE id = $1",
        lambda translation: (translation,),
    ),
    "ck_translations_file_size": (
        "UPDATE translations SET file_size = -1 WHERE id = $1",
        lambda translation: (translation,),
    ),
    "ck_translations_expires_at": (
        "UPDATE translations SET expires_at = created_at WHERE id = $1",
        lambda translation: (translation,),
    ),
    "ck_document_blocks_page_num": (INSERT_BLOCK, lambda translation: (translation, 0, 1)),
    "ck_document_blocks_block_num": (INSERT_BLOCK, lambda translation: (translation, 1, 0)),
}


@pytest.mark.parametrize("constraint", BAD_ROWS)
async def test_P5_what_is_out_of_range_is_refused(
    catalogue: Catalogue, translation: uuid.UUID, constraint: str
) -> None:
    """Page and block numbers are counted from 1, progress is 0 to 100; of status see P2."""
    statement, values = BAD_ROWS[constraint]
    await refuses(catalogue, constraint, statement, *values(translation))
    await refuses(catalogue, "ck_translations_progress", "UPDATE translations SET progress = 101")


async def test_updated_at_moves_for_every_update_and_every_time_has_a_zone(
    catalogue: Catalogue, translation: uuid.UUID
) -> None:
    """Also for SQL that no ORM has seen."""
    ((user,),) = await catalogue("SELECT id FROM users")
    await catalogue(INSERT_TERM, user, "shell", "concha", "es")
    for table in ("users", "translations", "glossary"):
        await assert_updated_at_moves(catalogue, table)
    assert {row["data_type"] for row in await catalogue(TIMESTAMPS)} == {TIME}
