"""The schema that the initial migration makes, read from the catalogue and tried on rows."""

import uuid

import asyncpg
import pytest

from tests.systems.conftest import Catalogue
from tests.systems.schema import (
    INDEXES,
    TIMESTAMPS,
    assert_updated_at_moves,
    columns_of,
    constraints_of,
    foreign_keys_of,
    indexed,
    refuses,
)

INSERT_USER = "INSERT INTO users (email) VALUES ($1) RETURNING id"
INSERT_DOCUMENT = """
INSERT INTO documents (content, file_name, file_size, source_language, user_id, session_id)
VALUES ('text', 'a.txt', $1, 'en', $2, $3) RETURNING id
"""
INSERT_TRANSLATION = """
INSERT INTO translations
       (document_id, target_language, status, progress_percentage, user_id, session_id)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
"""
TEXT, SHORT, UUID, INTEGER, TIME = (
    "text",
    "character varying(255)",
    "uuid",
    "integer",
    "timestamp with time zone",
)


async def test_L10_uuid_ossp_is_enabled_and_works(catalogue: Catalogue) -> None:
    """The specification asks for it, and a managed server's SQL may use it."""
    if not await catalogue("SELECT FROM pg_available_extensions WHERE name = 'uuid-ossp'"):
        pytest.skip("this server offers uuid-ossp nowhere, see test_migrations.py")
    (made,) = await catalogue("SELECT uuid_generate_v4() AS id")
    extensions = await catalogue("SELECT extname FROM pg_extension")

    assert "uuid-ossp" in {row["extname"] for row in extensions}
    assert isinstance(made["id"], uuid.UUID)


async def test_L11_users_has_its_columns_and_email_is_unique(
    catalogue: Catalogue, committed: object
) -> None:
    """One address is one reader."""
    assert await columns_of(catalogue, "users") == {
        "id": (UUID, False),
        "email": (SHORT, False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
    }
    constraints = await constraints_of(catalogue, "users")
    assert constraints["pk_users"] == "PRIMARY KEY (id)"
    assert constraints["uq_users_email"] == "UNIQUE (email)"

    ((made,),) = await catalogue(INSERT_USER, "a@example.org")
    assert isinstance(made, uuid.UUID)
    with pytest.raises(asyncpg.UniqueViolationError):
        await catalogue(INSERT_USER, "a@example.org")
    with pytest.raises(asyncpg.StringDataRightTruncationError):
        await catalogue(INSERT_USER, "a" * 256)


async def test_L12_documents_has_its_columns_and_checks(
    catalogue: Catalogue, committed: object
) -> None:
    """What the application forgets, the database refuses."""
    assert await columns_of(catalogue, "documents") == {
        "id": (UUID, False),
        "content": (TEXT, False),
        "file_name": (SHORT, False),
        "file_size": (INTEGER, False),
        "source_language": ("character varying(10)", False),
        "user_id": (UUID, True),
        "session_id": (SHORT, True),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
        "original_file_id": (UUID, True),
    }
    assert (await constraints_of(catalogue, "documents"))["pk_documents"] == "PRIMARY KEY (id)"

    ((user_id,),) = await catalogue(INSERT_USER, "a@example.org")
    for size in (0, 10_485_760):
        assert await catalogue(INSERT_DOCUMENT, size, None, "session")
    assert await catalogue(INSERT_DOCUMENT, 1, user_id, None)
    for size in (-1, 10_485_761):
        await refuses(catalogue, "ck_documents_file_size", INSERT_DOCUMENT, size, None, "s")
    await refuses(catalogue, "ck_documents_owner", INSERT_DOCUMENT, 1, None, None)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await catalogue(INSERT_DOCUMENT, 1, uuid.uuid4(), None)


async def test_L13_translations_has_its_columns_and_checks(
    catalogue: Catalogue, committed: object
) -> None:
    """A status that nobody knows, or 101 percent, must not be stored by anybody."""
    assert await columns_of(catalogue, "translations") == {
        "id": (UUID, False),
        "document_id": (UUID, False),
        "target_language": ("character varying(10)", False),
        "translated_content": (TEXT, True),
        "status": ("character varying(20)", False),
        "progress_percentage": (INTEGER, False),
        "translation_state": ("jsonb", True),
        "user_id": (UUID, True),
        "session_id": (SHORT, True),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
    }
    assert (await constraints_of(catalogue, "translations"))[
        "pk_translations"
    ] == "PRIMARY KEY (id)"

    ((document,),) = await catalogue(INSERT_DOCUMENT, 1, None, "s")
    statuses = ("pending", "in_progress", "completed", "failed")
    for number, status in enumerate(statuses):
        row = (document, f"x{number}", status, number * 33, None, "s")
        assert await catalogue(INSERT_TRANSLATION, *row)
    await refuses(
        catalogue,
        "ck_translations_status",
        INSERT_TRANSLATION,
        *(document, "de", "done", 0, None, "s"),
    )
    await refuses(
        catalogue,
        "ck_translations_owner",
        INSERT_TRANSLATION,
        *(document, "de", "pending", 0, None, None),
    )
    for column in ("document_id", "target_language", "status", "progress_percentage"):
        with pytest.raises(asyncpg.NotNullViolationError):
            await catalogue(f"UPDATE translations SET {column} = NULL")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await catalogue(INSERT_TRANSLATION, uuid.uuid4(), "de", "pending", 0, None, "s")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await catalogue(INSERT_TRANSLATION, document, "de", "pending", 0, uuid.uuid4(), None)


@pytest.mark.parametrize("progress", [-1, 101])
async def test_L13_progress_out_of_range_is_refused(
    catalogue: Catalogue, committed: object, progress: int
) -> None:
    """A percentage that is none would break every bar that shows it."""
    ((document,),) = await catalogue(INSERT_DOCUMENT, 1, None, "s")

    await refuses(
        catalogue,
        "ck_translations_progress_percentage",
        INSERT_TRANSLATION,
        *(document, "de", "pending", progress, None, "s"),
    )


async def test_L14_one_translation_for_a_document_and_language(
    catalogue: Catalogue, committed: object
) -> None:
    """The constraint bears the name that the specification gives it, on these two columns."""
    constraints = await constraints_of(catalogue, "translations")
    assert constraints["unique_document_target_language"] == (
        "UNIQUE (document_id, target_language)"
    )

    ((document,),) = await catalogue(INSERT_DOCUMENT, 1, None, "s")
    await catalogue(INSERT_TRANSLATION, document, "de", "pending", 0, None, "s")
    with pytest.raises(asyncpg.UniqueViolationError, match="unique_document_target_language"):
        await catalogue(INSERT_TRANSLATION, document, "de", "pending", 0, None, "s")
    assert await catalogue(INSERT_TRANSLATION, document, "fr", "pending", 0, None, "s")


async def test_L15_everything_of_a_deleted_row_goes_with_it(
    catalogue: Catalogue, committed: object
) -> None:
    """A translation without its document, or a text without its owner, is nobody's."""
    assert await foreign_keys_of(catalogue) == {
        ("documents", "user_id", "users", "c"),
        # A file outlives its row's document; the row of a file that is gone is set null.
        ("documents", "original_file_id", "bedplate.stored_files", "n"),
        ("translations", "document_id", "documents", "c"),
        ("translations", "user_id", "users", "c"),
        ("document_passages", "document_id", "documents", "c"),
        ("translation_chunks", "translation_id", "translations", "c"),
    }

    ((user_id,),) = await catalogue(INSERT_USER, "a@example.org")
    ((document,),) = await catalogue(INSERT_DOCUMENT, 1, user_id, None)
    for language in ("de", "fr"):
        await catalogue(INSERT_TRANSLATION, document, language, "pending", 0, user_id, None)
    assert (await catalogue("SELECT count(*) FROM translations"))[0][0] == 2
    await catalogue("DELETE FROM users")
    for table in ("documents", "translations"):
        assert (await catalogue(f"SELECT count(*) FROM {table}"))[0][0] == 0


async def test_L16_updated_at_moves_for_every_update_of_every_table(
    catalogue: Catalogue, committed: object
) -> None:
    """Also for SQL that no ORM has seen; `created_at` stays."""
    tables = await catalogue(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'updated_at'"
    )
    assert {row["table_name"] for row in tables} == {"users", "documents", "translations"}
    triggers = await catalogue(
        "SELECT tgrelid::regclass::text AS name, tgfoid::regproc::text AS function"
        " FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
        " WHERE NOT tgisinternal AND relnamespace = 'public'::regnamespace"
    )
    assert {row["name"]: row["function"] for row in triggers} == {
        row["table_name"]: "update_updated_at_column" for row in tables
    }

    await catalogue(INSERT_USER, "a@example.org")
    ((document,),) = await catalogue(INSERT_DOCUMENT, 1, None, "s")
    await catalogue(INSERT_TRANSLATION, document, "de", "pending", 0, None, "s")
    for (table,) in tables:
        await assert_updated_at_moves(catalogue, table)


async def test_L17_every_time_has_a_zone(catalogue: Catalogue) -> None:
    """A time without one means something else to each reader of it."""
    found = {row["name"]: row["data_type"] for row in await catalogue(TIMESTAMPS)}

    assert len(found) == 6
    assert set(found.values()) == {TIME}


async def test_L18_indexes_serve_keys_owners_states_and_the_search(catalogue: Catalogue) -> None:
    """Without them every list, cascade and search reads whole tables."""
    indexes = await catalogue(INDEXES)
    gin = {(row["table_name"], *row["columns"]) for row in indexes if row["method"] == "gin"}

    assert {
        ("documents", "session_id"),
        ("translations", "session_id"),
        ("translations", "status"),
        ("documents", "created_at"),
        ("translations", "created_at"),
        ("document_passages", "config"),
    } <= await indexed(catalogue)
    assert gin == {("document_passages", "tsv")}


async def test_L18_passages_have_their_form(catalogue: Catalogue, committed: object) -> None:
    """Passages of 8 kB with a stored tsvector of their language's, one at each place."""
    assert await columns_of(catalogue, "document_passages") == {
        "document_id": (UUID, False),
        "index": (INTEGER, False),
        "text": (TEXT, False),
        "config": ("regconfig", False),
        "tsv": ("tsvector", False),
    }
    (generated,) = await catalogue(
        "SELECT attgenerated::text AS kind FROM pg_attribute"
        " WHERE attrelid = 'document_passages'::regclass AND attname = 'tsv'"
    )
    assert generated["kind"] == "s"

    ((document,),) = await catalogue(INSERT_DOCUMENT, 1, None, "s")
    insert = "INSERT INTO document_passages (document_id, index, text, config)"
    values = " VALUES ($1, $2, $3, 'english') RETURNING tsv::text"
    ((tsv,),) = await catalogue(insert + values, document, 0, "running readers")
    assert tsv == "'reader':2 'run':1"
    with pytest.raises(asyncpg.UniqueViolationError):
        await catalogue(insert + values, document, 0, "again")
    assert await catalogue(insert + values, document, 1, "é" * 4096)
    with pytest.raises(asyncpg.CheckViolationError):
        await catalogue(insert + values, document, 2, "é" * 4096 + "x")
