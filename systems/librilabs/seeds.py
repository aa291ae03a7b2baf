"""A reader and two short texts for development. Idempotent: what is there is left as it is."""

import uuid
from collections.abc import Sequence

from bedplate.unit_of_work import UnitOfWork
from systems.librilabs.models import User
from systems.librilabs.readers import Reader
from systems.librilabs.repositories import Documents, Users
from systems.librilabs.uploads import Upload

EMAIL = "reader@example.org"
# The file's name, its language, and its text (both in the public domain).
TEXTS = (
    (
        "ozymandias.txt",
        "en",
        (
            "I met a traveller from an antique land,\n"
            "Who said: “Two vast and trunkless legs of stone\n"
            "Stand in the desert. Near them, on the sand,\n"
            "Half sunk, a shattered visage lies.\n"
        ),
    ),
    (
        "quijote.txt",
        "es",
        (
            "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha mucho tiempo que "
            "vivía un hidalgo de los de lanza en astillero.\n"
        ),
    ),
)


async def seed(uow: UnitOfWork) -> Sequence[str]:
    """Make what is missing. Returns a line for each thing: created or skipped."""
    users = Users(uow.session)
    user = await users.find_by_email(EMAIL)
    lines = [f"skipped user {EMAIL}" if user else f"created user {EMAIL}"]
    if user is None:
        user = await users.add(User(email=EMAIL))
    return [*lines, *await _seed_texts(uow, user.id)]


async def _seed_texts(uow: UnitOfWork, user_id: uuid.UUID) -> list[str]:
    documents = Documents(uow.session, Reader(user_id=user_id))
    present = {each.file_name for each in (await documents.page(limit=100)).items}
    lines = []
    for name, language, text in TEXTS:
        if name in present:
            lines.append(f"skipped document {name}")
            continue
        await documents.store(Upload(name, len(text.encode()), text), language)
        lines.append(f"created document {name}")
    return lines
