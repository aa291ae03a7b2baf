"""A user and a glossary for development. Idempotent: what is there is left as it is.

The user cannot sign in: who does so with Google gets a row of their own.
"""

from collections.abc import Sequence

from sqlalchemy import select

from bedplate.unit_of_work import UnitOfWork
from systems.pdf_translator.models import GlossaryEntry, User
from systems.pdf_translator.repositories import GlossaryEntries, Users

GOOGLE_ID = "development"
EMAIL = "translator@example.org"
TERMS = (
    ("file system", "sistema de archivos", "es"),
    ("shell", "intérprete de órdenes", "es"),
    ("directory", "répertoire", "fr"),
)


async def seed(uow: UnitOfWork) -> Sequence[str]:
    """Make what is missing. Returns a line for each thing: created or skipped."""
    users = Users(uow.session)
    user = await uow.session.scalar(select(User).where(User.google_id == GOOGLE_ID))
    lines = [f"skipped user {EMAIL}" if user else f"created user {EMAIL}"]
    if user is None:
        user = await users.add(User(google_id=GOOGLE_ID, email=EMAIL, name="Translator"))
    entries = GlossaryEntries(uow.session, user.id)
    for term, translation, language in TERMS:
        if term in (await entries.terms(language)):
            lines.append(f"skipped term {term} ({language})")
            continue
        await entries.add(
            GlossaryEntry(user_id=user.id, term=term, translation=translation, target_lang=language)
        )
        lines.append(f"created term {term} ({language})")
    return lines
