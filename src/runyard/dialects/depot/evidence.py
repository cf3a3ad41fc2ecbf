"""Why an attempt failed, from what it left: annotations, the failing step's last lines, its reason. Called by
diagnosis.

Deterministic and bounded: the same attempt always tells the same. Nothing is guessed that the log or the rows
do not say.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from runyard.dialects.depot.loglines import Cursor, Line, lines
from runyard.engine import views
from runyard.engine.failing import broken_step, tail
from runyard.engine.ports import Blobs, Tx
from runyard.model.state import Reason
from runyard.model.work import Attempt, Step
from runyard.syntax.telling import spoken, told

TAIL_BYTES = 128 << 10
COUNTED_BYTES = 4 << 20  # beyond this a step's lines are not counted from its start
RELEVANT_LINES = 10
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CHANGING = re.compile(
    r"/tmp/\S+|0x[0-9a-f]+|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{7,64}\b|\d+",  # noqa: S108 - of a message
    re.IGNORECASE,
)

HINTS: dict[Reason, tuple[str, str]] = {
    Reason.TIMEOUT: ("The time limit was reached.", "Raise `timeout-minutes` or make the step faster."),
    Reason.OUT_OF_MEMORY: ("More memory was used than a job may use.", "Use less memory, or raise RUNYARD_JOB_MEMORY_BYTES on the server."),
    Reason.IMAGE_UNAVAILABLE: ("The container image could not be used.", "Check its name, and whether the runner's machine has it or may pull it."),
    Reason.RUNNER_LOST: ("The runner fell silent.", "Retry the job; look at the runner's machine when it happens again."),
    Reason.RUNNER_SYSTEM: ("The runner could not do the work.", "Retry the job; the message says what the runner lacked."),
    Reason.LOG_TOO_BIG: ("The log reached its limit.", "Print less, or raise RUNYARD_LOG_LIMIT_BYTES on the server."),
    Reason.STUCK: ("No runner took the job.", "Start a runner whose labels match `runs-on`."),
    Reason.BAD_PLAN: ("The job could not be made ready.", "Correct the expression that the message names."),
}  # fmt: skip
EXITS: dict[int, tuple[str, str]] = {
    126: ("A program was found but could not be run.", "Make the file executable, and check its first line."),
    127: ("A program was not found.", "Install it in an earlier step, or use an image that has it."),
    134: (
        "A program gave up (SIGABRT).",
        "Look at what it says just before; often an assertion or a lack of memory.",
    ),
    137: ("A process was killed.", "Look for what kills it; often the memory is not enough."),
    139: (
        "A program crashed (SIGSEGV).",
        "Run it under a debugger, or with a build that says where it crashes.",
    ),
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an attempt tells of its failure. `relevant`: the failing step's lines that tell most, in their
    order."""

    message: str
    relevant: tuple[Line, ...] = ()
    diagnosis: str = ""
    possible_fix: str = ""
    has_summary: bool = False

    @property
    def fingerprint(self) -> str:
        """Equal for failures that differ in numbers and ids only."""
        plain = " ".join(_CHANGING.sub("#", self.message.lower()).split())
        return f"attempt_error:{hashlib.sha256(plain.encode()).hexdigest()[:16]}"


def evidence(tx: Tx, blobs: Blobs, attempt: Attempt, *, look_at_log: bool = True) -> Evidence:
    """Of a failed attempt. Without a look at the log only what the rows say."""
    steps = tx.steps(attempt.id)
    broken = broken_step(steps)
    cause, relevant = _relevant(tx, blobs, attempt, steps, broken) if look_at_log else ("", ())
    said = _said(attempt, broken, cause)
    diagnosis, fix = HINTS.get(attempt.reason) or EXITS.get(_code(attempt, broken), ("", ""))
    return Evidence(said, relevant, diagnosis, fix, any(step.extra.get("summary") for step in steps))


def _code(attempt: Attempt, broken: Step | None) -> int:
    code = broken.exit_code if broken is not None and broken.exit_code is not None else attempt.exit_code
    return -1 if code is None else code


def _said(attempt: Attempt, broken: Step | None, cause: str) -> str:
    """An annotation first, then the runner's own word, then the log's, then the exit code."""
    if broken is not None:
        for note in broken.extra.get("annotations") or ():
            if note.get("level") == "error" and note.get("message"):
                return str(note["message"])
    if attempt.message:
        return attempt.message
    if cause:
        return cause
    ended = f"Process completed with exit code {_code(attempt, broken)}."
    return f"Step '{broken.name}': {ended}" if broken is not None else ended


def _relevant(
    tx: Tx, blobs: Blobs, attempt: Attempt, steps: list[Step], broken: Step | None
) -> tuple[str, tuple[Line, ...]]:
    """(the line that names the cause, those to show)."""
    end = tail(tx, blobs, attempt, broken, TAIL_BYTES)
    is_near = end.start - end.begins <= COUNTED_BYTES
    before = _lines_between(tx, blobs, attempt, end.begins, end.start) if is_near else 0
    read = [_plain(line) for line in lines(end.data, Cursor(end.start, before), attempt, steps, last=True)]
    found = [read[at] for at in spoken([line.body for line in read], is_whole=end.is_whole)]
    said = told([line.body for line in found], RELEVANT_LINES)
    cause = "" if said.cause is None else found[said.cause].body.strip().removeprefix("##[error]")
    return cause, tuple(found[at] for at in said.shown)


def _lines_between(tx: Tx, blobs: Blobs, attempt: Attempt, start: int, end: int) -> int:
    count = 0
    while start < end:
        piece = views.log_from(tx, blobs, attempt, start, end - start)[: end - start]
        if not piece:
            break
        count += piece.count(b"\n")
        start += len(piece)
    return count


def _plain(line: Line) -> Line:
    body = _COLOUR.sub("", line.body)
    return Line(body, line.number, line.step_key, line.step_id, line.step_name, line.at, line.next)
