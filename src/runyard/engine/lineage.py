"""Where a run comes from when a bridge of another run started it. Called by bridges, imports and trigger."""

from __future__ import annotations

from collections.abc import Iterator

from runyard.engine.board import UPSTREAM
from runyard.engine.ports import Tx
from runyard.model.work import Run

ANCESTORS = 100  # of any kind; more cannot be made


def lineage(tx: Tx, run: Run) -> Iterator[Run]:
    """The run and those that it descends from, nearest first."""
    current: Run | None = run
    for _ in range(ANCESTORS + 1):
        if current is None:
            return
        yield current
        above = current.extra.get(UPSTREAM)
        current = tx.get(Run, above["run_id"]) if above else None


def is_child(run: Run) -> bool:
    """Whether a bridge of the same project started it, as a part of its own run."""
    return bool(run.extra.get(UPSTREAM, {}).get("child"))


def eldest(tx: Tx, run: Run) -> Run:
    """The run at the top of its family: the first that is nobody's child."""
    found = run
    for found in lineage(tx, run):
        if not is_child(found):
            break
    return found
