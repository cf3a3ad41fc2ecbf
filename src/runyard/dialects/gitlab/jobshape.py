"""How a job or bridge looks on GitLab's wire: a struct whose shared pieces are JSON already. Called by
gathering.

Pages of jobs are what clients ask most, so a page costs one pass over its rows and one encoding
(performance.md). Field names, nullability and order follow lib/api/entities/ci (contracts/gitlab.md §1.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from runyard.dialects.gitlab.managers import uncommitted
from runyard.dialects.gitlab.shapes import when
from runyard.dialects.gitlab.words import REASONS, say
from runyard.engine.views import log_size
from runyard.model.listing import Listed, ListedArtifact
from runyard.model.state import Outcome, State
from runyard.model.work import Run

encode = msgspec.json.Encoder().encode
NULL = Raw(b"null")
_PROJECT = Raw(b'{"ci_job_token_scope_enabled":false}')
_FAILED = frozenset({Outcome.FAILED, Outcome.ERRORED})


def raw(body: object) -> Raw:
    """A piece of JSON that many bodies share."""
    return Raw(encode(body))


class File(msgspec.Struct, gc=False):
    """JobArtifact."""

    file_type: str
    size: int
    filename: str
    file_format: str | None


class JobBody(msgspec.Struct, gc=False):
    """Job, or Bridge: a key that only the other has is left out. `failure_reason` and `artifacts_file` are
    left out where GitLab leaves them out."""

    id: int
    status: str
    stage: str
    name: str
    ref: str
    tag: bool
    coverage: float | None
    allow_failure: bool
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    erased_at: str | None
    duration: float | None
    queued_duration: float | None
    user: Raw
    commit: Raw
    pipeline: Raw
    failure_reason: str | UnsetType
    web_url: Raw
    project: Raw
    downstream_pipeline: Raw | UnsetType = UNSET
    artifacts_file: dict[str, Any] | UnsetType = UNSET
    artifacts: list[File] | UnsetType = UNSET
    runner: Raw | UnsetType = UNSET
    runner_manager: Raw | UnsetType = UNSET
    artifacts_expire_at: str | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET
    tag_list: list[str] | UnsetType = UNSET
    source: str | UnsetType = UNSET


class Others(NamedTuple):
    """JSON of what a job shows of others. `jobs_url`: how the text of its address begins, to which only the
    job's id is added (`url_start`)."""

    user: Raw
    commit: Raw
    pipeline: Raw
    jobs_url: bytes
    runner: Raw
    machine: Raw


def job_status(row: Listed) -> str:
    """A job's word; handed out but not yet begun (two-phase commit) it is pending still."""
    return "pending" if uncommitted(row) else say(row.state, row.outcome, row.hold)


def job_body(row: Listed, run: Run, now: int, others: Others) -> JobBody:
    """What jobs and bridges share (JobBasic)."""
    outline = row.outline
    reason: str | UnsetType = UNSET
    if row.outcome in _FAILED and row.state is State.DONE:
        reason = row.extra.get("failure_reason") or REASONS[row.reason]  # a word of its own (bridges) wins
    return JobBody(
        row.id, job_status(row), outline.stage or "test", outline.name, run.ref, run.tag, row.coverage,
        row.tolerated or outline.allow_failure, when(row.created_at), when(row.started_at), when(row.finished_at),
        when(row.erased_at), _span(row.started_at, row.finished_at, now), _span(row.queued_at, _left_queue(row), now),
        others.user, others.commit, others.pipeline, reason, Raw(b'%b%d"' % (others.jobs_url, row.id)), _PROJECT,
    )  # fmt: skip


def add_work(
    body: JobBody, row: Listed, run: Run, others: Others, artifacts: Sequence[ListedArtifact]
) -> None:
    """What a bridge has not."""
    files = [File(type, size, name, form) for _, type, form, name, size, _ in artifacts]
    expires_at = None
    for artifact in artifacts:
        if artifact.type == "archive":
            body.artifacts_file = {"filename": artifact.filename, "size": artifact.size_bytes}
            expires_at = artifact.expires_at
            break
    if trace_bytes := log_size(row):
        files.append(File("trace", trace_bytes, "job.log", None))
    body.artifacts = files
    body.runner, body.runner_manager = others.runner, others.machine
    body.artifacts_expire_at = when(expires_at)
    body.archived = False
    body.tag_list = sorted(row.outline.tags)
    body.source = run.source


def url_start(url: str) -> bytes:
    """The JSON of a text that begins so, without the closing quote."""
    return encode(url)[:-1]


def _left_queue(row: Listed) -> int | None:
    """Started, or ended without a start: nobody waits for a runner for ever."""
    return row.finished_at if row.started_at is None else row.started_at


def _span(start: int | None, end: int | None, now: int) -> float | None:
    """Seconds from start to end, or until now while it lasts."""
    if start is None:
        return None
    return max(0, (now if end is None else end) - start) / 1000
