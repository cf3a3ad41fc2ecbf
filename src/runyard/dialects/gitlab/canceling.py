"""What becomes of a canceled job whose runner cannot stop gracefully: it ends at once (contracts/gitlab.md
§1.1, event `cancel`).

Called by routes_jobs and routes_pipelines inside the transaction that canceled. The runner hears 403 with
`Job-Status: canceled` at its next call.
"""

from __future__ import annotations

from runyard.dialects.gitlab.managers import features_of
from runyard.engine import control
from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.model.state import State
from runyard.model.work import Attempt, Run, Runner

_STOPPING = ((State.STOPPING, None),)
_MOST = Page(limit=1000, descending=False)


def end_unheard(tx: Tx, attempt: Attempt, now: int) -> Attempt:
    """The attempt, ended if it is stopping on a runner that never said `cancel_gracefully`. Our own runners
    all stop gracefully."""
    if attempt.state is not State.STOPPING or attempt.runner_id is None:
        return attempt
    runner = tx.get(Runner, attempt.runner_id)
    if runner is None or not runner.stock or "cancel_gracefully" in features_of(tx, attempt):
        return attempt
    return control.force_cancel(tx, attempt.id, now)


def end_all_unheard(tx: Tx, run: Run, now: int) -> Run:
    """The same for every job of a run."""
    found = tx.attempts(AttemptFilter(run_id=run.id, latest_only=True, wanted=_STOPPING), _MOST)
    for _, attempt in found:
        end_unheard(tx, attempt, now)
    return (tx.get(Run, run.id) or run) if found else run
