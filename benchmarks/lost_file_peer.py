"""advanced-alchemy's half of `lost_file.py`: a row whose column is a file, as documented.

Run in an environment of its own: `lost_file_peer.py async|sync TITLE KEY`. Prints what `commit()`
did as JSON. Its defaults are left as they are, `file_object_raise_on_error=True` among them; only
obstore's retries are fewer than its ten, so that nobody waits minutes for the same end.
"""

# mypy: disable-error-code="import-not-found"
# The project's own environment does not have it.

import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any

import obstore
from advanced_alchemy.config import SQLAlchemyAsyncConfig, SQLAlchemySyncConfig
from advanced_alchemy.types import FileObject, StoredObject
from advanced_alchemy.types.file_object import storages
from advanced_alchemy.types.file_object.backends.obstore import ObstoreBackend
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The models."""


class Note(Base):
    """A row that names a file."""

    __tablename__ = "peer_notes"

    title: Mapped[str] = mapped_column(primary_key=True)
    attachment: Mapped[Any] = mapped_column(StoredObject(backend="notes"))


def main() -> None:
    """Store one note, print what happened."""
    mode, title, key = sys.argv[1:]
    backend = ObstoreBackend(
        key="notes",
        fs=f"s3://{os.environ['AWS_BUCKET_NAME']}",
        endpoint=os.environ["S3_ENDPOINT_URL"],
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=20)},
    )
    storages.register_backend(backend)
    attachment = FileObject(
        backend="notes", filename=key, content_type="text/plain", content=b"hello"
    )
    note = Note(title=title, attachment=attachment)
    url = os.environ["DATABASE_URL"].partition("://")[2]
    if mode == "async":
        answer = asyncio.run(store_async(url, note, backend, key))
    else:
        answer = store_sync(url, note, backend, key)
    print(json.dumps(answer))


async def store_async(url: str, note: Note, backend: Any, key: str) -> dict[str, object]:
    """With its AsyncSession; the work that it left behind is waited for before the end."""
    config = SQLAlchemyAsyncConfig(connection_string=f"postgresql+asyncpg://{url}")
    async with config.get_engine().begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    commit = "returned"
    async with config.get_session() as session:
        session.add(note)
        try:
            await session.commit()
        except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
            commit = f"raised {type(error).__name__}"
        is_there = has_object(backend, key)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*left, return_exceptions=True)
    await config.get_engine().dispose()
    return {"commit": commit, "has_object_at_once": is_there}


def store_sync(url: str, note: Note, backend: Any, key: str) -> dict[str, object]:
    """With its Session."""
    config = SQLAlchemySyncConfig(connection_string=f"postgresql+psycopg://{url}")
    Base.metadata.create_all(config.get_engine())
    commit = "returned"
    with config.get_session() as session:
        session.add(note)
        try:
            session.commit()
        except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
            commit = f"raised {type(error).__name__}"
        is_there = has_object(backend, key)
    return {"commit": commit, "has_object_at_once": is_there}


def has_object(backend: Any, key: str) -> bool:
    """Whether the bucket has it now."""
    try:
        obstore.head(backend.fs, key)
    except FileNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
