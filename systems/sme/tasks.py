"""The jobs of sme: evidence is cut and embedded, by another model again; old deletions are purged.

A piece of evidence is cut in one transaction and embedded in batches of one each, so a killed
worker's successor goes on after the last batch. The model works outside any transaction, and the
fence lets only one attempt store what it made. Deleted evidence is not embedded any further.

With another model each piece of evidence is ingested again, from its first passage that this model
has not embedded. Vectors are compared by model, so meanwhile it is found by its words.
"""

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from bedplate.errors import LeaseLostError
from bedplate.jobs.run import describe
from bedplate.jobs.tasks import task
from bedplate.rows import soft_delete
from bedplate.rows.passages import regconfig_for
from systems.documents.limits import PdfRefusedError
from systems.sme.cutting import UnreadableError, cut_file
from systems.sme.embedding import load_embedder
from systems.sme.models import Evidence, EvidenceStatus
from systems.sme.repositories import EvidenceRepository, Ingestion
from systems.sme.settings import SmeSettings

if TYPE_CHECKING:
    from bedplate.jobs.run import JobRun
    from bedplate.unit_of_work import UnitOfWork

# Some tenths of a second of work: what a kill repeats at most.
BATCH = 32
PURGED_AT_ONCE = 500
RENEWED_AT_ONCE = 500
# What is new is not to wait for what can be found by its words already.
RENEWAL = -1


@task(queue="ingestion", name="sme.ingest")
async def ingest(job: "JobRun", evidence_id: uuid.UUID) -> None:
    """Cut and embed what is left of a piece of evidence."""
    try:
        await _ingest(job, evidence_id)
    except LeaseLostError:
        # Another worker has the job, or the evidence was deleted: there is nothing to say.
        raise
    except (PdfRefusedError, UnreadableError) as error:
        async with job.finishing() as uow:
            await Ingestion(uow.session, evidence_id).note_failure(str(error), is_last=True)
    except Exception as error:
        async with job.transaction() as uow:
            work = Ingestion(uow.session, evidence_id)
            await work.note_failure(describe(error), is_last=job.is_last_attempt)
        raise


async def _ingest(job: "JobRun", evidence_id: uuid.UUID) -> None:
    settings = SmeSettings.load()
    embedder = load_embedder(settings.embedder)
    async with job.transaction() as uow:
        wanted = await Ingestion(uow.session, evidence_id).begin()
    if wanted is None:
        return
    if not wanted.is_cut:
        content = job.layer.files.stream(wanted.file)
        cuts = await cut_file(content, wanted.content_type, embedder.window_characters)
        async with job.transaction() as uow:
            config = regconfig_for(settings.language)
            await Ingestion(uow.session, evidence_id).store_passages(cuts, config)
    while True:
        async with job.reading() as session:
            batch = await Ingestion(session, evidence_id).next_batch(embedder.name, BATCH)
        if batch is None:
            break
        vectors = await embedder.embed(batch.texts)
        await job.progress(min(batch.percent, 99))
        async with job.transaction() as uow:
            work = Ingestion(uow.session, evidence_id)
            if not await work.store_vectors(batch, vectors, embedder.name):
                return
    async with job.finishing() as uow:
        await Ingestion(uow.session, evidence_id).complete(embedder.name)


async def queue(uow: "UnitOfWork", evidence: Evidence, *, priority: int = 0) -> None:
    """Have a job ingest what is left of it."""
    # One at a time: a cancelled job is still running for a moment.
    group = f"sme.evidence:{evidence.id}"
    work = ingest.with_options(group_key=group, priority=priority)
    evidence.job_id = uow.enqueue(work, evidence.id)
    evidence.status = EvidenceStatus.PENDING
    evidence.error = None
    await uow.flush()


@task(every=timedelta(hours=1), name="sme.renew")
async def renew(job: "JobRun") -> None:
    """Have ingested again what another model has embedded. Nothing to do while there is one."""
    model = load_embedder(SmeSettings.load().embedder).name
    is_more = True
    while is_more:
        async with job.transaction() as uow:
            found = await EvidenceRepository(uow.session).lock_outdated(model, RENEWED_AT_ONCE)
            for evidence in found:
                await queue(uow, evidence, priority=RENEWAL)
        is_more = len(found) == RENEWED_AT_ONCE


@task(every=timedelta(hours=1), name="sme.purge")
async def purge(job: "JobRun") -> None:
    """Remove what has been deleted for longer than the retention: rows, passages and files."""
    retention = SmeSettings.load().retention
    is_more = True
    while is_more:
        async with job.transaction() as uow:
            gone = await soft_delete.purge(
                uow.session,
                Evidence,
                retention,
                returning=(Evidence.id, Evidence.file_id),
                limit=PURGED_AT_ONCE,
            )
            for row in gone:
                if row.file_id is not None:
                    await uow.delete_file(row.file_id)
        is_more = len(gone) == PURGED_AT_ONCE
