"""The relationships of the models, none of which is loaded by itself."""

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from systems.librilabs.models import Base, Document, Translation, User
from systems.librilabs.readers import Reader
from systems.librilabs.repositories import Documents
from systems.librilabs.uploads import Upload


async def test_L15_no_relationship_is_loaded_implicitly(session: AsyncSession) -> None:
    """In async code an implicit load is a MissingGreenlet somewhere far from its cause."""
    relationships = [each for mapper in Base.registry.mappers for each in mapper.relationships]
    assert relationships
    assert {each.lazy for each in relationships} == {"raise"}
    assert {"translations", "passages", "user"} == set(inspect(Document).relationships.keys())
    assert {"document", "chunks", "user"} == set(inspect(Translation).relationships.keys())

    stored = await Documents(session, Reader(session_id="s")).store(
        Upload("a.txt", 4, "text"), "en"
    )
    session.expunge_all()
    found = await session.get_one(Document, stored.id)
    for attribute in ("translations", "passages", "user", "content"):
        with pytest.raises(InvalidRequestError):
            getattr(found, attribute)


async def test_L15_a_document_has_many_translations(session: AsyncSession) -> None:
    """The relationship works both ways when it is asked for."""
    document = Document(
        content="", file_name="a", file_size=0, source_language="en", session_id="s"
    )
    document.translations = [
        Translation(target_language=language, session_id="s") for language in ("de", "fr")
    ]
    session.add(document)
    await session.flush()
    assert {each.document_id for each in document.translations} == {document.id}
    assert all(each.document is document for each in document.translations)
    user = User(email="a@example.org", documents=[document])
    session.add(user)
    await session.flush()
    assert document.user_id == user.id
