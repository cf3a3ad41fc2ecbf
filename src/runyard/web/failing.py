"""Why jobs of a run failed, in their logs' own words, so that nobody has to open five logs to see it. Called
by pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.engine.failing import BROKEN, Tail, broken_step, tail
from runyard.engine.ports import Blobs, Tx
from runyard.model.work import Attempt, Job
from runyard.syntax.stamps import joined
from runyard.syntax.telling import spoken, told
from runyard.web.ansi import plain

MOST_JOBS, MOST_LINES, LINE_CHARS = 5, 8, 300
TAIL_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Failure:
    """One job. `step` is the step that broke, "" where nobody noted steps."""

    job: Job
    attempt: Attempt
    step: str
    why: str
    lines: Sequence[str]


def failures(tx: Tx, blobs: Blobs, members: Sequence[tuple[Job, Attempt, str]]) -> list[Failure]:
    """Of the first failed jobs; those that may fail come last. `members`: (job, attempt, why)."""
    broken = sorted((m for m in members if m[1].outcome in BROKEN), key=lambda m: m[1].tolerated)
    found = []
    for job, attempt, why in broken[:MOST_JOBS]:
        step = broken_step(tx.steps(attempt.id))
        lines = _lines(tail(tx, blobs, attempt, step, TAIL_BYTES))
        if lines:
            found.append(Failure(job, attempt, step.name if step is not None else "", why, lines))
    return found


def _lines(end: Tail) -> list[str]:
    read = [plain(line.decode("utf-8", "replace")).rstrip() for _, line in joined(end.data.split(b"\n"))]
    found = [read[at] for at in spoken(read, is_whole=end.is_whole)]
    return [found[at].removeprefix("##[error]")[:LINE_CHARS] for at in told(found, MOST_LINES).shown]
