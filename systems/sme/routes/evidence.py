"""/evidence: add, list, look at, delete, restore."""

import uuid
from typing import Annotated, Any

from fastapi import Query, Response

from bedplate.fastapi import DepLayer, DepUnitOfWork, PageOut, Problem, Router
from systems.sme.adding import add as add_evidence
from systems.sme.intake import DepAddition
from systems.sme.models import Evidence, EvidenceStatus
from systems.sme.repositories import EvidenceRepository, Standing
from systems.sme.schemas import EvidenceOut, FileEvidence, TextEvidence
from systems.sme.tasks import queue

router = Router(prefix="/evidence", tags=["evidence"])


def _body() -> dict[str, Any]:
    """The two forms of the body, which one parameter cannot say."""
    form = FileEvidence.model_json_schema()
    form["properties"] = {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "A PDF of at most 50 MiB, or a text in UTF-8 of at most 10 MiB.",
        },
        **form["properties"],
        "metadata": {"type": "string", "description": "A JSON object."},
    }
    form["required"] = ["file"]
    return {
        "required": True,
        "content": {
            "application/json": {"schema": TextEvidence.model_json_schema()},
            "multipart/form-data": {"schema": form},
        },
    }


@router.post(
    "",
    status_code=202,
    responses={200: {"model": EvidenceOut, "description": "The same evidence is stored already."}},
    openapi_extra={"requestBody": _body()},
)
async def add(
    addition: DepAddition, uow: DepUnitOfWork, layer: DepLayer, response: Response
) -> EvidenceOut:
    """Store a text or a PDF once; a job makes it searchable. `job_id` and `progress` tell of it."""
    if not layer.settings.has_files:
        raise Problem(503, "No S3 is configured: AWS_BUCKET_NAME is not set.", code="files_missing")
    evidence, is_new = await add_evidence(uow, addition)
    if not is_new:
        response.status_code = 200
        return await _shown(EvidenceRepository(uow.session), evidence)
    return EvidenceOut.of(evidence, Standing(EvidenceStatus.PENDING, 0, None))


@router.get("")
async def list_evidence(
    layer: DepLayer,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> PageOut[EvidenceOut]:
    """All evidence, the newest first."""
    async with layer.reading() as session:
        store = EvidenceRepository(session)
        page = await store.page(cursor=cursor, limit=limit)
        standings = await store.standings(page.items)
        items = [EvidenceOut.of(*each) for each in zip(page.items, standings, strict=True)]
    return PageOut(items=items, next=page.next)


@router.get("/{evidence_id}")
async def show(evidence_id: uuid.UUID, layer: DepLayer) -> EvidenceOut:
    """One piece of evidence, and how far its ingestion is."""
    async with layer.reading() as session:
        store = EvidenceRepository(session)
        return await _shown(store, await store.get(evidence_id))


@router.delete("/{evidence_id}", status_code=204)
async def delete(evidence_id: uuid.UUID, uow: DepUnitOfWork) -> None:
    """Delete it, with its passages: it is found no more, and can be restored for some weeks."""
    store = EvidenceRepository(uow.session)
    await store.remove(await store.get(evidence_id, is_locked=True))


@router.post(
    "/{evidence_id}/restore",
    responses={409: {"description": "The same content was added again meanwhile."}},
)
async def restore(evidence_id: uuid.UUID, uow: DepUnitOfWork) -> EvidenceOut:
    """Bring deleted evidence back, with its passages; what was not embedded yet is now."""
    store = EvidenceRepository(uow.session)
    evidence = await store.get(evidence_id, is_locked=True, include_deleted=True)
    if evidence.is_deleted:
        await store.restore(evidence)
        if evidence.status != EvidenceStatus.READY:
            await queue(uow, evidence)
            return EvidenceOut.of(evidence, Standing(EvidenceStatus.PENDING, 0, None))
    return await _shown(store, evidence)


async def _shown(store: EvidenceRepository, evidence: Evidence) -> EvidenceOut:
    return EvidenceOut.of(evidence, await store.standing(evidence))
