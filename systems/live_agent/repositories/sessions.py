"""The live sessions of the transaction's organization, and the steps of their life."""

import uuid

from bedplate.errors import ConflictError
from bedplate.rows.repository import Repository
from systems.live_agent.models import Session, SessionStatus


class Sessions(Repository[Session]):
    """Rooms, whatever became of them."""

    model = Session

    async def start(self, session_id: uuid.UUID) -> Session:
        """pending becomes active. Raises `ConflictError` for any other."""
        return await self._step(session_id, SessionStatus.PENDING, SessionStatus.ACTIVE)

    async def end(self, session_id: uuid.UUID, status: SessionStatus) -> Session:
        """active becomes completed or error. Raises `ConflictError` for any other."""
        return await self._step(session_id, SessionStatus.ACTIVE, status)

    async def _step(
        self, session_id: uuid.UUID, before: SessionStatus, after: SessionStatus
    ) -> Session:
        # Locked: of two who take the same step at once, the second sees the first one's.
        session = await self.get(session_id, is_locked=True)
        if session.status != before:
            raise ConflictError(
                f"a session that is {session.status} cannot become {after}",
                status=session.status,
            )
        session.status = after
        await self._flush()
        return session
