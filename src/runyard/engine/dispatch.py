"""The runner protocol, spoken in-process by the built-in runner and by the GitLab runner API for all others.
Every verb may be repeated.

claim(tx, runner, mint, now, terms, vault, sign=None) -> Assignment | None
    mint(attempt_id) makes a fresh job token (`http.auth.job_token`), sign identity tokens (`http.identity`)
beat(tx, attempt_id, token, now, terms) -> Reply
    keeps the lease
commit(tx, attempt_id, token, now, terms) -> Reply
    a runner that was handed it in two phases begins now
log(tx, attempt_id, token, offset, data, now, terms) -> LogReply
    accepted=False: send again from `size`
step(tx, attempt_id, token, row: Step, now, terms) -> Reply
    upsert by position
usage(tx, attempt_id, token, samples) -> Reply
    what it used of the machine; the same batch again changes nothing
artifact(tx, attempt_id, token, row: Artifact, now, outputs={}) -> Artifact
    blob first; ids and created_at are filled in here
finish(tx, attempt_id, token, end: Finish, now) -> Reply
    the first one counts, a repeat answers as before
give_back(tx, attempt_id, token, now, terms) -> Reply
    a runner that shuts down returns its attempt unharmed

Reply.verdict: GO on · STOP gracefully (run after-steps, upload, finish) · ABORT now (the attempt is no longer
yours). A wrong token is Forbidden, an unknown attempt NotFound. `token` is the text, not its hash.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from runyard.engine.assign import Place, Undeliverable, assemble, flow_of, looks_at_others, timeout_of
from runyard.engine.board import load
from runyard.engine.ending import GIVEN_BACK, UNCOMMITTED, end, lose, stopped_as
from runyard.engine.identity import with_identity
from runyard.engine.moves import move
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page, Sign, Tx, Vault
from runyard.engine.settle import show_running
from runyard.engine.terms import Terms
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.model.plan import Assignment, InputArtifact
from runyard.model.state import LEASED, Outcome, Reason, State
from runyard.model.usage import MOST_AT_ONCE, Sample, packed
from runyard.model.work import Artifact, Attempt, Job, Project, Run, Runner, Step, Workflow

CANDIDATES = (
    45  # GitLab looks at no more queue entries per request, so that a bad plan cannot make one claim long
)
DEADLINE_SLACK_S = (
    15  # the runner stops at the time limit by itself; the server's deadline is the second belt
)
OUTPUT_LIMIT_BYTES = 1 << 20
MESSAGE_LIMIT = 4096
_ALL = Page(limit=10_000, descending=False)


class Verdict(StrEnum):
    """What the runner should do now."""

    GO = "go"
    STOP = "stop"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to a runner."""

    verdict: Verdict
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class LogReply:
    """Answer to log bytes. `size` is how many the server has; on a gap (`accepted` false) the runner goes on
    from there."""

    verdict: Verdict
    attempt: Attempt
    accepted: bool
    size: int


@dataclass(frozen=True, slots=True)
class Finish:
    """How a runner says its attempt ended. `log_bytes` and `log_crc` (CRC-32) describe the whole log as sent;
    None: not said."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    exit_code: int | None = None
    message: str = ""
    log_bytes: int | None = None
    log_crc: int | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    coverage: float | None = None


def token_hash(token: str) -> str:
    """What the row keeps of a job token (as `http.auth.hash_token`)."""
    return hashlib.sha256(token.encode()).hexdigest()


def claim(
    tx: Tx,
    runner: Runner,
    mint: Callable[[int], str],
    now: int,
    terms: Terms,
    vault: Vault,
    sign: Sign | None = None,
) -> Assignment | None:
    """The oldest queued attempt that this runner may take, leased to it; None when there is none."""
    if runner.paused:
        return None
    for _ in range(CANDIDATES):
        attempt_id = tx.next_queued(runner)
        if attempt_id is None:
            return None
        attempt = tx.get(Attempt, attempt_id)
        job = tx.get(Job, attempt.job_id) if attempt else None
        if attempt is None or job is None or attempt.state is not State.QUEUED:
            tx.dequeue(attempt_id)
            continue
        try:
            return _hand_out(tx, job, attempt, runner, mint(attempt_id), now, terms, vault, sign)
        except Undeliverable as error:
            end(tx, attempt, Outcome.ERRORED, error.reason, now, message=str(error))
    return None


def _hand_out(
    tx: Tx,
    job: Job,
    attempt: Attempt,
    runner: Runner,
    token: str,
    now: int,
    terms: Terms,
    vault: Vault,
    sign: Sign | None,
) -> Assignment:
    run, project = tx.get(Run, attempt.run_id), tx.get(Project, attempt.project_id)
    workflow = tx.get(Workflow, job.workflow_id)
    if run is None or project is None or workflow is None:
        raise Undeliverable(Reason.BAD_PLAN, "Its run or project was removed.")
    flow = flow_of(load(tx, run.id, now), job) if looks_at_others(job.plan) else None
    assignment = assemble(tx, Place(project, run, workflow, job, attempt, flow), runner, token, vault, terms)
    if job.plan.identity_tokens:
        assignment = with_identity(tx, assignment, sign, now, terms)
    limit_s = timeout_of(job.plan, runner, terms) + DEADLINE_SLACK_S + job.plan.after_limit_s
    move(
        tx,
        job,
        attempt,
        State.RUNNING,
        now,
        runner_id=runner.id or None,
        token_hash=token_hash(token),
        lease_until_at=now + terms.lease_s * 1000,
        deadline_at=now + limit_s * 1000,
    )
    show_running(tx, run, workflow, now)
    return assignment


def leased(tx: Tx, attempt_id: int, token: str) -> Attempt | None:
    """The attempt while this token holds it; None when it has ended. NotFound and Forbidden as said above."""
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None:
        raise NotFound(f"Attempt {attempt_id} does not exist.")
    if attempt.state is State.DONE:
        return None
    if attempt.state not in LEASED or not hmac.compare_digest(attempt.token_hash, token_hash(token)):
        raise Forbidden("This token does not hold the attempt.")
    return attempt


def beat(tx: Tx, attempt_id: int, token: str, now: int, terms: Terms) -> Reply:
    """Keeps the lease; a stopping attempt is kept too, until its stop deadline."""
    attempt = leased(tx, attempt_id, token)
    if attempt is None:
        return _aborted(tx, attempt_id)
    attempt = replace(attempt, lease_until_at=_longer(attempt, now, terms))
    tx.save(attempt)
    return _reply(attempt)


def commit(tx: Tx, attempt_id: int, token: str, now: int, terms: Terms) -> Reply:
    """The runner begins to execute: from now its time counts. For an attempt that was not claimed in two
    phases it is a beat."""
    attempt = leased(tx, attempt_id, token)
    if attempt is not None and UNCOMMITTED in attempt.extra:
        waited = now - (attempt.started_at or now)
        deadline = None if attempt.deadline_at is None else attempt.deadline_at + waited
        extra = {key: value for key, value in attempt.extra.items() if key != UNCOMMITTED}
        tx.save(replace(attempt, started_at=now, deadline_at=deadline, extra=extra))
        tx.ring(f"attempt:{attempt_id}")
    return beat(tx, attempt_id, token, now, terms)


def log(tx: Tx, attempt_id: int, token: str, offset: int, data: bytes, now: int, terms: Terms) -> LogReply:
    """Appends what lies beyond the bytes we have: a repeat changes nothing, a gap is refused with our
    size."""
    attempt = leased(tx, attempt_id, token)
    if attempt is None:
        reply = _aborted(tx, attempt_id)
        return LogReply(reply.verdict, reply.attempt, False, reply.attempt.log_bytes)
    if offset < 0:
        raise Invalid("A log offset is not negative.")
    size = attempt.log_bytes
    if offset > size:
        return LogReply(_verdict(attempt), attempt, False, size)
    fresh = data[size - offset :]
    if size + len(fresh) > terms.log_limit_bytes:
        return _too_big(tx, attempt, fresh, now, terms)
    if fresh:
        tx.append_log(attempt_id, size, fresh, now)
    attempt = replace(attempt, log_bytes=size + len(fresh), lease_until_at=_longer(attempt, now, terms))
    tx.save(attempt)
    tx.ring(f"attempt:{attempt_id}")
    return LogReply(_verdict(attempt), attempt, True, attempt.log_bytes)


def _too_big(tx: Tx, attempt: Attempt, fresh: bytes, now: int, terms: Terms) -> LogReply:
    kept = fresh[: max(0, terms.log_limit_bytes - attempt.log_bytes)]
    note = f"\nThe log reached its limit of {terms.log_limit_bytes} bytes; the job was stopped.\n".encode()
    tx.append_log(attempt.id, attempt.log_bytes, kept + note, now)
    attempt = replace(attempt, log_bytes=attempt.log_bytes + len(kept) + len(note))
    outcome, reason = (
        stopped_as(attempt) if attempt.state is State.STOPPING else (Outcome.FAILED, Reason.LOG_TOO_BIG)
    )
    ended = end(tx, attempt, outcome, reason, now)
    return LogReply(Verdict.ABORT, ended, False, ended.log_bytes)


def steps(tx: Tx, attempt_id: int, token: str, rows: Sequence[Step], now: int, terms: Terms) -> Reply:
    """Notes how steps go."""
    attempt = leased(tx, attempt_id, token)
    if attempt is None:
        return _aborted(tx, attempt_id)
    for row in rows:
        if (row.state is State.DONE) != (row.outcome is not None):
            raise Invalid("A step has an outcome exactly when it is done.")
        ended = row.finished_at
        if ended is not None and row.started_at is not None:
            ended = max(ended, row.started_at)
        tx.save(replace(row, attempt_id=attempt_id, finished_at=ended, exit_code=_clamped(row.exit_code)))
    attempt = replace(attempt, lease_until_at=_longer(attempt, now, terms))
    tx.save(attempt)
    tx.ring(f"attempt:{attempt_id}")
    return _reply(attempt)


def usage(tx: Tx, attempt_id: int, token: str, samples: Sequence[Sample]) -> Reply:
    """Keeps samples. They renew no lease and ring no bell: nobody waits for them."""
    attempt = leased(tx, attempt_id, token)
    if attempt is None:
        return _aborted(tx, attempt_id)
    if len(samples) > MOST_AT_ONCE or any(
        not 0 <= one.at < 1 << 62
        or not 0 <= (one.cpu or 0) <= 1
        or not 0 <= (one.memory_bytes or 0) < 1 << 62
        or not 0 <= (one.limit_bytes or 0) < 1 << 62
        for one in samples
    ):
        raise Invalid(
            f"At most {MOST_AT_ONCE} samples at once, with shares from 0 to 1 and sizes that are not negative."
        )
    if samples:
        tx.append_samples(attempt_id, samples[0].at, packed(samples))
    return _reply(attempt)


def artifact(
    tx: Tx, attempt_id: int, token: str, row: Artifact, now: int, outputs: Mapping[str, str] | None = None
) -> Artifact:
    """Notes an artifact whose blob is stored. The same content again is the same artifact, other content
    under its name is a Conflict.

    `outputs` are handed on to dependants as variables when the type is `dotenv`.
    """
    attempt = leased(tx, attempt_id, token)
    if attempt is None:
        raise Conflict(f"Attempt {attempt_id} has ended.")
    for known in tx.artifacts(ArtifactFilter(attempt_id=attempt_id, type=row.type, name=row.name), _ALL):
        if known.sha256 != row.sha256:
            raise Conflict("another artifact of the same type already exists")
        return known
    stored = tx.add(
        replace(
            row,
            id=0,
            attempt_id=attempt_id,
            run_id=attempt.run_id,
            project_id=attempt.project_id,
            created_at=now,
        )
    )
    if outputs:
        tx.save(replace(attempt, outputs={**attempt.outputs, **outputs}))
    tx.ring(f"attempt:{attempt_id}")
    return stored


def artifacts(tx: Tx, attempt_id: int, token: str) -> tuple[InputArtifact, ...]:
    """What the attempt's run has left so far, by number. Forbidden with another token, Conflict once the
    attempt has ended."""
    attempt = leased(tx, attempt_id, token)
    if attempt is None:
        raise Conflict(f"Attempt {attempt_id} has ended.")
    jobs = {a.id: job for job, a in tx.attempts(AttemptFilter(run_id=attempt.run_id), _ALL)}
    rows = tx.artifacts(ArtifactFilter(run_id=attempt.run_id), _ALL)
    return tuple(
        InputArtifact(
            r.id, r.attempt_id, jobs[r.attempt_id].key, jobs[r.attempt_id].name, r.name, r.filename, r.size_bytes, r.blob, False
        )
        for r in rows
        if r.attempt_id in jobs
    )  # fmt: skip


def finish(tx: Tx, attempt_id: int, token: str, end_: Finish, now: int) -> Reply:
    """Ends the attempt and settles. An attempt that the server took away (lost lease, forced cancel) is a
    Conflict."""
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None:
        raise NotFound(f"Attempt {attempt_id} does not exist.")
    mine = hmac.compare_digest(attempt.token_hash, token_hash(token))
    if attempt.state is State.DONE:
        if mine:
            return Reply(Verdict.GO, attempt)
        raise Conflict(f"Attempt {attempt_id} has ended without this runner: {attempt.outcome}.")
    if attempt.state not in LEASED:
        raise Conflict(f"Attempt {attempt_id} is {attempt.state}; nobody may finish it.")
    if not mine:
        raise Forbidden("This token does not hold the attempt.")
    outcome, reason = _told(attempt, end_)
    outputs = {**attempt.outputs, **end_.outputs}
    if sum(len(k) + len(v) for k, v in outputs.items()) > OUTPUT_LIMIT_BYTES:
        outputs = dict(attempt.outputs)
    ended = end(
        tx,
        attempt,
        outcome,
        reason,
        now,
        exit_code=_clamped(end_.exit_code),
        message=attempt.message or _message(attempt, end_),
        log_crc=end_.log_crc,
        outputs=outputs,
        coverage=end_.coverage,
        token_hash=attempt.token_hash,
    )
    return Reply(Verdict.GO, ended)


def give_back(tx: Tx, attempt_id: int, token: str, now: int, terms: Terms) -> Reply:
    """The runner cannot go on through no fault of the job."""
    attempt = leased(tx, attempt_id, token)
    if attempt is None:
        return _aborted(tx, attempt_id)
    given = replace(attempt, extra={**attempt.extra, GIVEN_BACK: True})
    return Reply(
        Verdict.ABORT,
        lose(
            tx,
            given,
            now,
            terms,
            "The runner gave the job back: it was shut down, or could not reach the server.",
        ),
    )


def default_expiry(terms: Terms, now: int, expire_in_s: int | None = None) -> int:
    """When an artifact that names no life, or this one, expires."""
    return now + (terms.artifact_expiry_s if expire_in_s is None else expire_in_s) * 1000


def _told(attempt: Attempt, end_: Finish) -> tuple[Outcome, Reason]:
    if attempt.state is State.STOPPING:
        return stopped_as(attempt)
    match end_.outcome:
        case Outcome.PASSED:
            return Outcome.PASSED, Reason.NONE
        case Outcome.FAILED | Outcome.ERRORED:
            return end_.outcome, end_.reason
        case Outcome.CANCELED:
            return Outcome.CANCELED, end_.reason or Reason.BY_USER
        case Outcome.SKIPPED:
            raise Invalid("A runner cannot skip an attempt that it has started.")


def _message(attempt: Attempt, end_: Finish) -> str:
    if end_.message:
        return end_.message[:MESSAGE_LIMIT]
    if end_.log_bytes is not None and end_.log_bytes != attempt.log_bytes:
        return f"The log is incomplete: {attempt.log_bytes} of {end_.log_bytes} bytes arrived."
    return ""


def _clamped(exit_code: int | None) -> int | None:
    return None if exit_code is None else max(-32768, min(32767, exit_code))


def _longer(attempt: Attempt, now: int, terms: Terms) -> int:
    """A lease only grows, so that a clock that went back takes nothing from a live runner."""
    return max(attempt.lease_until_at or 0, now + terms.lease_s * 1000)


def _verdict(attempt: Attempt) -> Verdict:
    return Verdict.STOP if attempt.state is State.STOPPING else Verdict.GO


def _reply(attempt: Attempt) -> Reply:
    return Reply(_verdict(attempt), attempt)


def _aborted(tx: Tx, attempt_id: int) -> Reply:
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None:
        raise NotFound(f"Attempt {attempt_id} does not exist.")
    return Reply(Verdict.ABORT, attempt)
