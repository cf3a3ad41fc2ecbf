"""Why jobs of a run failed, in their logs' own words, so that nobody has to open five logs to see it. Called by pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runyard.engine import views
from runyard.engine.ports import Blobs, Tx
from runyard.model.state import Outcome
from runyard.model.work import Attempt, Job, Step
from runyard.syntax.stamps import joined
from runyard.syntax.telling import told
from runyard.web.ansi import plain

MOST_JOBS, MOST_LINES, LINE_CHARS = 5, 8, 300
TAIL_BYTES = 64 << 10
BROKEN = (Outcome.FAILED, Outcome.ERRORED)
_ENDS = re.compile(
    r"##\[error\]Process completed with exit code|ERROR: Job failed|Cleaning up project directory"
)


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
        step = next((s for s in tx.steps(attempt.id) if s.outcome in BROKEN), None)
        lines = _lines(tx, blobs, attempt, step)
        if lines:
            found.append(Failure(job, attempt, step.name if step is not None else "", why, lines))
    return found


def _lines(tx: Tx, blobs: Blobs, attempt: Attempt, step: Step | None) -> list[str]:
    start = step.log_start if step is not None and step.log_start is not None else 0
    end = step.log_end if step is not None and step.log_end is not None else views.log_size(attempt)
    first = max(start, end - TAIL_BYTES)
    data = views.log_from(tx, blobs, attempt, first, end - first)[: end - first]
    if first > start:  # from the middle of a line
        data = data.partition(b"\n")[2]
    texts = [plain(line.decode("utf-8", "replace")).rstrip() for _, line in joined(data.split(b"\n"))]
    if first == start:
        texts = _after_header(texts)
    texts = [text for text in texts if text and not _ENDS.match(text)]
    return [texts[at].removeprefix("##[error]")[:LINE_CHARS] for at in told(texts, MOST_LINES).shown]


def _after_header(texts: list[str]) -> list[str]:
    """Without the group in which a step shows its own script: what a script says about errors is none."""
    if texts and texts[0].startswith("##[group]") and "##[endgroup]" in texts:
        return texts[texts.index("##[endgroup]") + 1 :]
    return texts
