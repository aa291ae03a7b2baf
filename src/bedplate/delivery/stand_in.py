"""The stand-in: a worker's own slow relay, for the time in which no relay runs.

It looks every few seconds whether something has been due for longer than a relay would ever leave
it, and only then makes one pass of a relay. Any number may run, beside any number of relays.
Called by the workers.
"""

import asyncio
import logging
import random
from datetime import timedelta

from sqlalchemy import text

from bedplate.delivery import outbox
from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.errors import BedplateError
from bedplate.jobs import ledger
from bedplate.layer import DataLayer
from bedplate.rows.driver import DriverConnection, fetch

log = logging.getLogger("bedplate.delivery.stand_in")

# A relay takes what is due within a second at the latest, and health is red after 30.
PATIENCE = timedelta(seconds=3)
INTERVAL = timedelta(seconds=2)

# Relays put these back, or say that they may wait longer, each second.
IS_OVERDUE = text("""
SELECT EXISTS (SELECT FROM bedplate.jobs
                WHERE state IN ('sent', 'running')
                  AND lease_until <= now() - CAST(:patience AS interval))
""")


class StandIn:
    """Delivers for one open layer when nobody else does."""

    def __init__(
        self,
        layer: DataLayer,
        broker: Broker | None,
        *,
        patience: timedelta = PATIENCE,
        interval: timedelta = INTERVAL,
    ) -> None:
        self._layer = layer
        self._relay = Relay(layer, broker)
        self._patience = patience
        self._interval = interval

    async def run(self) -> None:
        """Look and deliver until cancelled. Outlives every server that goes away."""
        while True:
            # Not all workers of a host in one moment.
            await asyncio.sleep(self._interval.total_seconds() * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            try:
                await self.look()
            except (BedplateError, OSError):
                log.debug("A look for what no relay takes failed", exc_info=True)

    async def look(self) -> bool:
        """Whether nobody delivers; then one pass was made. Raises what a relay's `drain` does."""
        connection = DriverConnection(self._layer.owner_database)
        try:
            is_needed = await self._is_needed(connection)
        finally:
            await connection.close()
        if is_needed:
            log.warning("No relay delivers; this worker does, slowly. Start `bedplate relay`.")
            await self._relay.drain()
        return is_needed

    async def _is_needed(self, connection: DriverConnection) -> bool:
        for lag in (await ledger.ready_lag(connection), await outbox.lag(connection)):
            if lag is not None and lag > self._patience:
                return True
        rows = await fetch(connection, IS_OVERDUE, patience=self._patience)
        return bool(rows[0][0])
