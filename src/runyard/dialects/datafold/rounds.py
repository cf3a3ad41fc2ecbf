"""What this door does without being asked: runs that nobody gave tables to end, and pushed dbt projects go on from build to diffs. Mounted through
`Dialect.rounds`; safe to repeat, to cut short and to run on several replicas at once (each act looks again inside its write transaction).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from runyard.dialects import Round
from runyard.dialects.datafold import building, runs
from runyard.engine.control import conclude
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.errors import NotFound, RunyardError
from runyard.model.work import Run

log = logging.getLogger("runyard.datafold")
EVERY_S = 10.0


def rounds(services: Services) -> Sequence[Round]:
    """One round, which comes whenever a run changed."""

    async def work() -> None:
        await look_after(services)

    return (Round("datafold runs", work, EVERY_S, topic="runs"),)


async def look_after(services: Services) -> None:
    """Every open CI run, once. One that cannot go on does not hold up the others."""
    for run in await services.db.read(runs.open_runs):
        try:
            if runs.about(run).get("build"):
                await building.go_on(services, run)
            elif runs.about(run).get("ci_config_id"):
                await _forget(services, run)
        except RunyardError as error:
            log.warning("run cannot go on", extra={"run": run.id, "error": error.message})


async def _forget(services: Services, run: Run) -> None:
    now = services.now()

    def forgotten(tx: Tx) -> bool:
        try:
            owner = runs.config(tx, int(runs.about(run)["ci_config_id"]))
        except NotFound:
            return not tx.graph(run.id)  # its configuration was removed
        return runs.is_forgotten(tx, owner, run, now)

    if await services.db.read(forgotten):
        await services.db.write(lambda tx: conclude(tx, run.id, now) if forgotten(tx) else None)
