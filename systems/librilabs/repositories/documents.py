"""A reader's documents: stored with their passages, listed, searched, deleted with their jobs."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.jobs import ledger
from bedplate.rows.pagination import Page
from bedplate.rows.repository import Repository
from bedplate.rows.search import Hit, Passages, cut_passages, regconfig_for, search_page
from systems.librilabs.models import Document, DocumentPassage, Translation
from systems.librilabs.readers import Reader
from systems.librilabs.state import TranslationState
from systems.librilabs.uploads import Upload

PASSAGES = Passages(
    document=DocumentPassage.__table__.c.document_id,
    position=DocumentPassage.__table__.c.index,
    content=DocumentPassage.__table__.c.text,
    configuration=DocumentPassage.__table__.c.config,
    vector=DocumentPassage.__table__.c.tsv,
)

KeepOriginal = Callable[[], Awaitable[uuid.UUID | None]]


class Documents(Repository[Document]):
    """What one reader owns. Raises `OwnerMissingError` for a reader who is nobody."""

    model = Document

    def __init__(self, session: AsyncSession, reader: Reader) -> None:
        super().__init__(session)
        self.reader = reader
        self._owned = reader.owns(Document)

    def visible(self) -> Select[Document]:
        """The reader's documents."""
        return super().visible().where(self._owned)

    async def store(
        self, upload: Upload, source_language: str, keep_original: KeepOriginal | None = None
    ) -> Document:
        """A document of this reader, searchable by the same COMMIT.

        `keep_original` stores the file as it came, in the same transaction, and answers its id.
        """
        # Up to a second of work for 10 MB: in a thread, and before the transaction begins.
        texts = await asyncio.to_thread(list, cut_passages(upload.text))
        original_file_id = await keep_original() if keep_original is not None else None
        document = await self.add(
            Document(
                content=upload.text,
                file_name=upload.file_name,
                file_size=upload.size_bytes,
                source_language=source_language,
                original_file_id=original_file_id,
                **self.reader.columns(),
            )
        )
        config = regconfig_for(source_language)
        passages = [
            {"document_id": document.id, "index": index, "text": text, "config": config}
            for index, text in enumerate(texts)
        ]
        if passages:
            await self.session.execute(insert(DocumentPassage), passages)
        return document

    async def search(self, query: str, *, cursor: str | None, limit: int) -> Page[Hit]:
        """The reader's documents that match, best first. Raises `CursorError`."""
        return await search_page(
            self.session,
            PASSAGES,
            query,
            documents=select(Document.id).where(self._owned),
            scope=(self.reader,),
            cursor=cursor,
            limit=limit,
        )

    async def load_found(self, hits: Sequence[Hit]) -> list[tuple[Document, Hit]]:
        """The documents of a search's page, in its order."""
        statement = self.visible().where(Document.id.in_([hit.document for hit in hits]))
        documents = {found.id: found for found in await self.session.scalars(statement)}
        return [(documents[hit.document], hit) for hit in hits if hit.document in documents]

    async def remove(self, document: Document) -> None:
        """Delete the document with all that hangs on it, and cancel its jobs.

        `document` is locked by the caller. Its translations are locked before their jobs, in the
        order in which a working job locks the two.
        """
        states = await self.session.scalars(
            select(Translation.translation_state)
            .where(Translation.document_id == document.id)
            .order_by(Translation.id)
            .with_for_update()
        )
        jobs = [TranslationState.of(state).job_id for state in states]
        await ledger.cancel(self.session, [job_id for job_id in jobs if job_id is not None])
        await self.delete(document)
