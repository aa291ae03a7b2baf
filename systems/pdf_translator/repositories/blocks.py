"""The blocks of a translation, page by page."""

import uuid

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.repository import Repository
from systems.pdf_translator.models import DocumentBlock


class Blocks(Repository[DocumentBlock]):
    """Those of one translation; whose that is, the caller has looked at."""

    model = DocumentBlock

    def __init__(self, session: AsyncSession, translation_id: uuid.UUID) -> None:
        super().__init__(session)
        self.translation_id = translation_id

    def visible(self) -> Select[DocumentBlock]:
        """This translation's."""
        return super().visible().where(DocumentBlock.translation_id == self.translation_id)

    async def of_page(self, page_num: int) -> list[DocumentBlock]:
        """The blocks of a page, in their order; none where there is no such page."""
        statement = self.visible().where(DocumentBlock.page_num == page_num)
        return list(await self.session.scalars(statement.order_by(DocumentBlock.block_num)))
