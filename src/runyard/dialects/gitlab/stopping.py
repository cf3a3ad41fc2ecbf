"""Environments are stopped when their time has come (`auto_stop_in`) and when their branch has gone. Called
by the dialect's rounds and after pushes.

Finding and stopping are one transaction, so replicas stop each once.
"""

from __future__ import annotations

from runyard.engine import environments
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.trigger import Push
from runyard.model.work import Run

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


async def stop_abandoned(services: Services, push: Push) -> None:
    """After a branch was deleted (GitLab: Ci::StopEnvironmentsService); tags stop nothing."""
    project_id, actor_id, now = push.project.id, push.actor.id, services.now()

    def is_over(run: Run) -> bool:
        return run.ref == push.ref and not run.tag

    if not push.tag:
        await services.db.write(lambda tx: environments.abandon(tx, project_id, is_over, now, actor_id))
