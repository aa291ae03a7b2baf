"""A user's glossary: listed, changed, and handed to a translation."""

import uuid

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.repository import Repository
from systems.pdf_translator.models import GlossaryEntry
from systems.translation.glossary import Glossary


class GlossaryEntries(Repository[GlossaryEntry]):
    """The terms of one user."""

    model = GlossaryEntry

    def __init__(self, session: AsyncSession, user_id: uuid.UUID) -> None:
        super().__init__(session)
        self.user_id = user_id

    def visible(self) -> Select[GlossaryEntry]:
        """This user's."""
        return super().visible().where(GlossaryEntry.user_id == self.user_id)

    async def glossary_for(self, target_language: str) -> Glossary:
        """All terms of one language, as an engine keeps to them."""
        return Glossary(await self.terms(target_language))

    async def terms(self, target_language: str) -> dict[str, str]:
        """All terms of one language with their translations."""
        statement = select(GlossaryEntry.term, GlossaryEntry.translation).where(
            GlossaryEntry.user_id == self.user_id, GlossaryEntry.target_lang == target_language
        )
        rows = (await self.session.execute(statement)).all()
        return {row.term: row.translation for row in rows}
