"""Attempts as lists show them: narrow, because a page of jobs is asked for far more often than anything in a
plan is."""

from __future__ import annotations

from typing import NamedTuple

from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Job, Json


class Outline(NamedTuple):
    """What a list shows of a job and its plan."""

    name: str
    stage: str
    allow_failure: bool
    tags: tuple[str, ...]
    bridge: bool  # its work is another run


class Listed(NamedTuple):
    """An attempt without what only its runner and its own page need. Fields of `Attempt` mean the same
    here."""

    id: int
    job_id: int
    run_id: int
    project_id: int
    state: State
    outcome: Outcome | None
    reason: Reason
    hold: Hold | None
    tolerated: bool
    created_at: int
    queued_at: int | None
    started_at: int | None
    finished_at: int | None
    runner_id: int | None
    actor_id: int | None
    log_bytes: int
    coverage: float | None
    erased_at: int | None
    extra: Json
    outline: Outline


class Brief(NamedTuple):
    """An attempt as the status of a whole run shows it. Fields of `Attempt` mean the same here; `name` is its
    job's."""

    id: int
    job_id: int
    number: int
    state: State
    outcome: Outcome | None
    hold: Hold | None
    latest: bool
    name: str


class Card(NamedTuple):
    """An attempt by the piece of a list that a door has drawn of it once, when it had ended. Fields of
    `Attempt` mean the same here."""

    id: int
    run_id: int
    runner_id: int | None
    actor_id: int | None
    card: bytes | None  # None: not drawn (yet, or again: something that it shows has changed)


class ListedArtifact(NamedTuple):
    """An artifact as lists of jobs show it. Fields of `Artifact` mean the same here."""

    attempt_id: int
    type: str
    format: str
    filename: str
    size_bytes: int
    expires_at: int | None


def outline_of(job: Job) -> Outline:
    """The same for as long as the job is."""
    plan = job.plan
    return Outline(job.name, plan.stage, plan.allow_failure, plan.tags, plan.bridge is not None)
