"""What this door does without being asked: runs that nobody gave tables to end, and pushed dbt projects go on
from build to diffs. Mounted through `Dialect.rounds`; safe to repeat, to cut short and to run on several
replicas at once (each act looks again inside its write transaction).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from runyard.dialects import Round
from runyard.dialects.datafold import building, runs
from runyard.engine.control import conclude
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.errors import RunyardError
from runyard.model.work import Record, Run

log = logging.getLogger("runyard.datafold")
EVERY_S = 10.0


def rounds(services: Services) -> Sequence[Round]:
    """One round, which comes whenever a run changed."""

    async def work() -> None:
        await look_after(services)

    return (Round("datafold runs", work, EVERY_S, topic="runs"),)


async def look_after(services: Services) -> None:
    """Every open CI run, once. One that cannot go on does not hold up the others."""
    now = services.now()
    found = await services.db.read(runs.open_runs)
    for run in found:
        if runs.about(run).get("build"):
            try:
                await building.go_on(services, run)
            except RunyardError as error:
                log.warning("run cannot go on", extra={"run": run.id, "error": error.message})
    if await services.db.read(lambda tx: _forgotten(tx, found, now)):
        await services.db.write(lambda tx: _forget(tx, found, now))


def _forgotten(tx: Tx, found: Sequence[Run], now: int) -> list[Run]:
    """Runs whose time for tables is over, or whose configuration was removed."""
    owners = {id: tx.get(Record, id) for id in {_config_of(run) for run in found} if id}
    patience = {
        id: runs.options(owner).submit_timeout_s * 1000 if owner else 0 for id, owner in owners.items()
    }
    late = [run for run in found if run.created_at + patience.get(_config_of(run), now) < now]
    return [run for run in late if not tx.graph(run.id)]


def _config_of(run: Run) -> int:
    told = runs.about(run)
    return 0 if told.get("build") else int(told.get("ci_config_id") or 0)


def _forget(tx: Tx, found: Sequence[Run], now: int) -> None:
    for run in _forgotten(tx, found, now):
        conclude(tx, run.id, now)
