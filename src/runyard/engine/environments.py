"""Environments and their deployments: what jobs with an `environment` leave behind. `note` is called by
moves.move, so every way to end counts.

note(tx, job, attempt, now)
    after each move of such a job
ensure(tx, project_id, name, now, tier="") -> Environment
expect(tx, project_id, uses, now)
    those of a new run's jobs
stop(tx, environment, now, actor_id=None, force=False) -> (Environment, Attempt | None)
    plays the on_stop job when there is one
abandon(tx, project_id, is_over, now, actor_id=None)
    what those runs were for has gone
report(tx, deployment, status, now) -> Deployment
    a deployment that someone outside made
newest(tx, environment_id, status="") -> Deployment | None
slug_of(name), tier_of(name) -> str
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from runyard.engine import control
from runyard.engine.ports import Page, Tx
from runyard.model.errors import Conflict
from runyard.model.plan import EnvironmentUse
from runyard.model.state import Hold, Outcome, State
from runyard.model.work import Attempt, Deployment, Environment, Job, Run
from runyard.syntax.variables import Value, expand_all

STATUS = {
    Outcome.PASSED: "success",
    Outcome.FAILED: "failed",
    Outcome.ERRORED: "failed",
    Outcome.CANCELED: "canceled",
    Outcome.SKIPPED: "canceled",
}
# GitLab guesses a tier from the name, in this order (doc/ci/environments: deployment tier).
_TIERS = (
    ("development", re.compile(r"dev|review|trunk", re.IGNORECASE)),
    ("testing", re.compile(r"test|tst|int|ac(ce|)pt|qa|qc|control|quality", re.IGNORECASE)),
    ("staging", re.compile(r"st(a|)g|mod(e|)l|pre|demo|non", re.IGNORECASE)),
    ("production", re.compile(r"pr(o|)d|live", re.IGNORECASE)),
)
_SLUG_MOST = 24
_FIRST = Page(limit=1)
MOST = 5_000  # environments of a project that are looked at


def slug_of(name: str) -> str:
    """For addresses and host names: at most 24 of [a-z0-9-], with a tail made from the name where anything
    was lost (GitLab's rule)."""
    slug = re.sub(r"[^a-z0-9]", "-", name.lower())
    if not slug[:1].isalpha():
        slug = f"env-{slug}"
    slug = re.sub("-+", "-", slug)
    if len(slug) <= _SLUG_MOST and slug == name:
        return slug
    short = slug[: _SLUG_MOST - 7]
    return f"{short}{'' if short.endswith('-') else '-'}{_tail(name)}"


def _tail(name: str) -> str:
    number, digits = int(hashlib.sha256(name.encode()).hexdigest(), 16), ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if len(digits) == 6:
            break
    return digits


def tier_of(name: str) -> str:
    """The tier of an environment whose configuration names none."""
    return next((tier for tier, pattern in _TIERS if pattern.search(name)), "other")


def ensure(tx: Tx, project_id: int, name: str, now: int, tier: str = "") -> Environment:
    """The environment of this name, made when it is new."""
    for known in tx.find(Environment, _FIRST, project_id=project_id, name=name):
        if tier and tier != known.tier:
            known = replace(known, tier=tier, updated_at=now)
            tx.save(known)
        return known
    made = Environment(
        0, project_id, name, slug_of(name), tier or tier_of(name), created_at=now, updated_at=now
    )
    return tx.add(made)


def expect(tx: Tx, project_id: int, uses: Iterable[EnvironmentUse], now: int) -> None:
    """The environments that a new run's jobs name are there with the run; those known already stay as they
    are until a job delivers (GitLab: Environments::CreateForJobService)."""
    first: dict[str, EnvironmentUse] = {}
    for use in uses:
        first.setdefault(use.name, use)
    for name, use in first.items():
        if tx.find(Environment, _FIRST, project_id=project_id, name=name):
            continue
        made = ensure(tx, project_id, name, now, use.tier)
        if use.auto_stop_s is not None:
            tx.save(replace(made, auto_stop_at=now + use.auto_stop_s * 1000))


def note(tx: Tx, job: Job, attempt: Attempt, now: int) -> None:
    """Keeps the environment and the deployment in step with a job's attempt."""
    use = job.plan.environment
    if use is None or attempt.state not in (State.RUNNING, State.DONE):
        return
    if attempt.state is State.DONE and attempt.started_at is None:
        return  # never ran: nothing was delivered
    environment = ensure(tx, job.project_id, use.name, now, use.tier)
    if attempt.state is State.RUNNING:
        _begun(tx, environment, use, attempt, now)
    else:
        _ended(tx, environment, use, job, attempt, now)


def _begun(tx: Tx, environment: Environment, use: EnvironmentUse, attempt: Attempt, now: int) -> None:
    if use.action == "stop":
        tx.save(replace(environment, state="stopping", updated_at=now))
    run = tx.get(Run, attempt.run_id)
    if use.action != "start" or run is None:
        return
    add(
        tx,
        Deployment(
            0, run.project_id, environment.id, 0, run.ref, run.sha, "running", run.tag, attempt.id,
            attempt.actor_id or run.actor_id, now, now,
        ),
    )  # fmt: skip


def add(tx: Tx, row: Deployment) -> Deployment:
    """Stores a deployment under the project's next number."""
    last = tx.find(Deployment, _FIRST, project_id=row.project_id)
    return tx.add(replace(row, number=last[0].number + 1 if last else 1))


def _ended(
    tx: Tx, environment: Environment, use: EnvironmentUse, job: Job, attempt: Attempt, now: int
) -> None:
    passed = attempt.outcome is Outcome.PASSED
    match use.action:
        case "start":
            for row in tx.find(Deployment, _FIRST, attempt_id=attempt.id):
                status = STATUS[attempt.outcome or Outcome.ERRORED]
                tx.save(replace(row, status=status, updated_at=now, finished_at=now))
            if passed:
                url = _url(tx, use, job, attempt, environment)
                stop_at = None if use.auto_stop_s is None else now + use.auto_stop_s * 1000
                tx.save(
                    replace(
                        environment,
                        state="available",
                        external_url=url or environment.external_url,
                        auto_stop_at=stop_at,
                        updated_at=now,
                    )
                )
        case "stop":
            state = "stopped" if passed else "available"
            tx.save(replace(environment, state=state, auto_stop_at=None, updated_at=now))
        case _:
            if passed and use.auto_stop_s is not None and environment.state == "available":
                tx.save(
                    replace(environment, auto_stop_at=now + use.auto_stop_s * 1000, updated_at=now)
                )  # prepare and access prolong a life


def _url(tx: Tx, use: EnvironmentUse, job: Job, attempt: Attempt, environment: Environment) -> str:
    """The address with what is known at the end: the job's variables and those of its dotenv report."""
    if "$" not in use.url:
        return use.url
    run = tx.get(Run, attempt.run_id)
    known = [
        *(v for v in job.plan.variables if not v.late),
        *(run.variables if run else ()),
        *attempt.variables,
    ]
    values = [Value(v.key, v.value, raw=v.raw, file=v.file) for v in known if not v.masked]
    values += [
        Value("CI_ENVIRONMENT_SLUG", environment.slug, raw=True),
        Value("CI_ENVIRONMENT_NAME", environment.name, raw=True),
    ]
    values += [Value(k, v, raw=True) for k, v in attempt.outputs.items()]
    expanded = expand_all([*values, Value("\0url", use.url)])
    return expanded.values.get("\0url", use.url)[:2048]


def stop(
    tx: Tx, environment: Environment, now: int, actor_id: int | None = None, *, force: bool = False
) -> tuple[Environment, Attempt | None]:
    """Plays the job that takes the last delivery down; without one, or by force, the environment is stopped
    at once."""
    played = None if force else _on_stop(tx, environment, now, actor_id)
    if environment.state != "stopped":
        state = "stopping" if played is not None else "stopped"
        environment = replace(environment, state=state, auto_stop_at=None, updated_at=now)
        tx.save(environment)
    return environment, played


def abandon(
    tx: Tx, project_id: int, is_over: Callable[[Run], bool], now: int, actor_id: int | None = None
) -> None:
    """When what some runs were for has gone: what they delivered last is taken down where a job does that;
    the rest stays."""
    for environment in tx.find(Environment, Page(limit=MOST), project_id=project_id, state="available"):
        deliverer = _deliverer(tx, environment)
        run = tx.get(Run, deliverer.run_id) if deliverer else None
        if run and is_over(run) and _on_stop(tx, environment, now, actor_id) is not None:
            tx.save(replace(environment, state="stopping", auto_stop_at=None, updated_at=now))


def _deliverer(tx: Tx, environment: Environment) -> Attempt | None:
    last = newest(tx, environment.id, "success")
    return tx.get(Attempt, last.attempt_id) if last and last.attempt_id else None


def _on_stop(tx: Tx, environment: Environment, now: int, actor_id: int | None) -> Attempt | None:
    deliverer = _deliverer(tx, environment)
    job = tx.get(Job, deliverer.job_id) if deliverer else None
    if job is None or job.plan.environment is None or not job.plan.environment.on_stop:
        return None
    wanted = job.plan.environment.on_stop
    for other, attempt in tx.graph(job.run_id):
        if other.workflow_id == job.workflow_id and other.name == wanted:
            return _played(tx, attempt, now, actor_id)
    return None


def _played(tx: Tx, attempt: Attempt, now: int, actor_id: int | None) -> Attempt | None:
    if attempt.state is State.HELD and attempt.hold is not Hold.CONCURRENCY:
        return control.play(tx, attempt.id, now, actor_id)
    if attempt.state is State.DONE and attempt.outcome is not Outcome.SKIPPED:
        try:
            return control.retry(tx, attempt.id, now, actor_id)  # it took an earlier delivery down
        except Conflict:
            return None
    return attempt if attempt.state is not State.DONE else None


def newest(tx: Tx, environment_id: int, status: str = "") -> Deployment | None:
    """The last deployment (of that status)."""
    more = {"status": status} if status else {}
    found = tx.find(Deployment, _FIRST, environment_id=environment_id, **more)
    return found[0] if found else None


def report(tx: Tx, row: Deployment, status: str, now: int) -> Deployment:
    """What someone outside says of a deployment that no job of ours makes."""
    ended = now if status in ("success", "failed", "canceled") else None
    fresh = replace(row, status=status, updated_at=now, finished_at=ended)
    tx.save(fresh)
    environment = tx.get(Environment, row.environment_id)
    if status == "success" and environment is not None and environment.state != "available":
        tx.save(replace(environment, state="available", updated_at=now))
    return fresh
