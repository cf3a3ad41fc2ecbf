"""A workflow's executions: the first, and one more for every rerun (contracts/depot.md §2). Called by acting
(a rerun) and shapes.

The workflow's row is the one at hand; those before it are kept in its `extra` as they ended. Retries of
single jobs belong to the one at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from runyard.engine.views import WorkflowView
from runyard.model.work import Workflow

# in the extra of a workflow: {"past": [[state's word, created, started, finished]…], "since": when the one at
# hand began}
KEY = "executions"
MOST_PAST = 100


@dataclass(frozen=True, slots=True)
class Execution:
    """One of them; times are milliseconds."""

    number: int
    status: str
    created_at: int
    started_at: int | None
    finished_at: int | None


def executions(view: WorkflowView, status: str) -> list[Execution]:
    """All that are known, the first first; `status` is the word of the one at hand."""
    row, known = view.workflow, _known(view.workflow)
    first = int(known.get("dropped", 0)) + 1
    found = [Execution(n, *past) for n, past in enumerate(known.get("past", ()), first)]
    since = known.get("since")
    if since is None:
        return [Execution(1, status, row.created_at, row.started_at, row.finished_at)]
    begun = [
        one.started_at
        for job in view.jobs
        for one in job.attempts
        if one.created_at >= since and one.started_at is not None
    ]
    return [*found, Execution(first + len(found), status, since, min(begun, default=None), row.finished_at)]


def rerun(view: WorkflowView, status: str, now: int) -> Workflow:
    """The row with one more execution, which begins now."""
    told = executions(view, status)
    kept = told[-MOST_PAST:]
    past = [[one.status, one.created_at, one.started_at, one.finished_at] for one in kept]
    more = {KEY: {"past": past, "since": now, "dropped": kept[0].number - 1}}
    return replace(view.workflow, extra={**view.workflow.extra, **more})


def _known(row: Workflow) -> dict[str, Any]:
    return dict(row.extra.get(KEY) or {})
