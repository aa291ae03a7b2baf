"""/glossary: the terms whose translation is fixed."""

import uuid
from typing import Annotated

from fastapi import Query

from bedplate.fastapi import DepLayer, DepUnitOfWork, PageOut, Router
from systems.pdf_translator.accounts import DepUser, sign_in
from systems.pdf_translator.models import GlossaryEntry
from systems.pdf_translator.repositories import GlossaryEntries
from systems.pdf_translator.schemas import GlossaryIn, GlossaryOut, LanguageCode

router = Router(prefix="/glossary", tags=["glossary"], gate=sign_in.session)


@router.get("")
async def list_entries(
    user_id: DepUser,
    layer: DepLayer,
    target_lang: LanguageCode | None = None,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> PageOut[GlossaryOut]:
    """Your glossary, the newest first; with `target_lang` that of one language."""
    conditions = [] if target_lang is None else [GlossaryEntry.target_lang == target_lang]
    async with layer.reading() as session:
        page = await GlossaryEntries(session, user_id).page(*conditions, cursor=cursor, limit=limit)
        items = [GlossaryOut.model_validate(each) for each in page.items]
    return PageOut(items=items, next=page.next)


@router.post("", status_code=201)
async def add(entry: GlossaryIn, user_id: DepUser, uow: DepUnitOfWork) -> GlossaryOut:
    """Fix the translation of a term. 409 when it has one in this language."""
    added = await GlossaryEntries(uow.session, user_id).add(
        GlossaryEntry(user_id=user_id, **entry.model_dump())
    )
    return GlossaryOut.model_validate(added)


@router.put("/{entry_id}")
async def replace(
    entry_id: uuid.UUID, entry: GlossaryIn, user_id: DepUser, uow: DepUnitOfWork
) -> GlossaryOut:
    """Replace an entry. 409 when another one has this term in this language."""
    entries = GlossaryEntries(uow.session, user_id)
    found = await entries.get(entry_id, is_locked=True)
    return GlossaryOut.model_validate(await entries.change(found, **entry.model_dump()))


@router.delete("/{entry_id}", status_code=204)
async def remove(entry_id: uuid.UUID, user_id: DepUser, uow: DepUnitOfWork) -> None:
    """Forget an entry; translations that are done keep it."""
    entries = GlossaryEntries(uow.session, user_id)
    await entries.delete(await entries.get(entry_id, is_locked=True))
