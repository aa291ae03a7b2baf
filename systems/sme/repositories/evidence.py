"""The store of evidence: found by content, deleted with its job, shown as its job stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from bedplate.jobs import ledger
from bedplate.jobs.table import JobState, jobs
from bedplate.rows.repository import Repository
from systems.sme.models import Evidence, EvidenceStatus


@dataclass(frozen=True)
class Standing:
    """Where a piece of evidence stands: `progress` in whole percents, `error` when it failed."""

    status: EvidenceStatus
    progress: int
    error: str | None


class EvidenceRepository(Repository[Evidence]):
    """All evidence that is not deleted."""

    model = Evidence

    async def find_same(self, content_hash: bytes) -> Evidence | None:
        """The evidence with this content, or None."""
        statement = self.visible().where(Evidence.content_hash == content_hash)
        return (await self.session.scalars(statement)).one_or_none()

    async def lock_outdated(self, model: str, limit: int) -> Sequence[Evidence]:
        """Some that are ready by another model than this one, the oldest first.

        What somebody else has locked is left out.
        """
        statement = (
            self.visible()
            .where(
                Evidence.status == EvidenceStatus.READY,
                Evidence.embedding_model.is_distinct_from(model),
            )
            .order_by(Evidence.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return (await self.session.scalars(statement)).all()

    async def remove(self, evidence: Evidence) -> None:
        """Delete it with its passages, and cancel its job. The caller has locked it."""
        if evidence.job_id is not None:
            await ledger.cancel(self.session, [evidence.job_id])
        await self.delete(evidence)

    async def standing(self, evidence: Evidence) -> Standing:
        """How it stands."""
        return (await self.standings([evidence]))[0]

    async def standings(self, several: Sequence[Evidence]) -> list[Standing]:
        """How each of them stands, in their order.

        A job whose worker was killed too often is buried by the relay, and cannot say so itself.
        """
        waited_for = [
            each.job_id for each in several if not _is_final(each) and each.job_id is not None
        ]
        statement = select(jobs.c.id, jobs.c.state, jobs.c.progress, jobs.c.last_error)
        found = (
            await self.session.execute(statement.where(jobs.c.id.in_(waited_for)))
            if waited_for
            else ()
        )
        by_id = {row.id: row for row in found}
        return [_standing(each, by_id.get(each.job_id)) for each in several]


def _standing(evidence: Evidence, job: Any) -> Standing:
    status = EvidenceStatus(evidence.status)
    if _is_final(evidence):
        progress = 100 if status is EvidenceStatus.READY else 0
        return Standing(status, progress, evidence.error)
    if job is None:
        return Standing(EvidenceStatus.FAILED, 0, "its job is gone")
    if job.state in {JobState.DEAD, JobState.CANCELLED}:
        error = job.last_error or f"the job is {job.state}"
        return Standing(EvidenceStatus.FAILED, job.progress, error)
    return Standing(status, job.progress, None)


def _is_final(evidence: Evidence) -> bool:
    return evidence.status in {EvidenceStatus.READY, EvidenceStatus.FAILED}
