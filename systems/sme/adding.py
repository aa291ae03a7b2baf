"""Evidence that is added: stored once, with its file and the job that ingests it, in one COMMIT."""

import uuid

from bedplate.errors import ConflictError
from bedplate.files.file_store import NewFile
from bedplate.unit_of_work import UnitOfWork
from systems.sme.intake import Addition
from systems.sme.models import Evidence
from systems.sme.repositories import EvidenceRepository
from systems.sme.tasks import queue


async def add(uow: UnitOfWork, addition: Addition) -> tuple[Evidence, bool]:
    """The evidence, and whether it is new; with the same content there is one already.

    Raises `SettingsError` where there is no S3.
    """
    store = EvidenceRepository(uow.session)
    same = await store.find_same(addition.sha256)
    if same is not None:
        return same, False
    file = await uow.store_file(
        addition.content, NewFile(addition.file_name, addition.content_type)
    )
    evidence = _evidence(addition, file.id)
    try:
        async with uow.savepoint():
            await store.add(evidence)
            await queue(uow, evidence)
    except ConflictError:
        # Somebody else has added it since we looked; that one has committed.
        same = await store.find_same(addition.sha256)
        if same is None:
            raise
        await uow.delete_file(file.id)
        return same, False
    return evidence, True


def _evidence(addition: Addition, file_id: uuid.UUID) -> Evidence:
    said = addition.description
    return Evidence(
        title=addition.title,
        source=said.source,
        tags=list(dict.fromkeys(said.tags)),
        observed_at=said.observed_at,
        details=said.metadata,
        content_type=addition.content_type,
        size_bytes=addition.size_bytes,
        content_hash=addition.sha256,
        file_id=file_id,
    )
