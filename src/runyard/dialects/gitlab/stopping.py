"""The round that stops environments whose time has come (`auto_stop_in`). Called by the dialect's rounds.

Finding and stopping are one transaction, so replicas stop each once.
"""

from __future__ import annotations

from runyard.engine import environments
from runyard.engine.ports import Tx
from runyard.http.services import Services

AT_ONCE = 100


async def stop_due(services: Services) -> None:
    """Plays the on_stop job of each, or stops it where there is none."""
    now = services.now()
    if not await services.db.read(lambda tx: tx.auto_stops(now, 1)):
        return

    def stop(tx: Tx) -> None:
        for row in tx.auto_stops(now, AT_ONCE):
            environments.stop(tx, row, now)

    await services.db.write(stop)
