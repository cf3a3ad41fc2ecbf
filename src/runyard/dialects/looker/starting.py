"""Every suite run begins here, whoever asks: API, schedule, push, pull request, dbt, an imported project.
Resolves once, pins everything.

Raises Unprocessable with Looker's field names, Conflict for a duplicate and Busy at the suite's own limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runyard.dialects.looker import imports, sessions
from runyard.dialects.looker.imports import Dependency
from runyard.dialects.looker.refusals import Detail, Unprocessable, invalid
from runyard.dialects.looker.suites import VALIDATORS, is_incremental, whole
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.http.services import RunRequest, Services
from runyard.model.errors import Busy, Conflict, Invalid, NotFound
from runyard.model.state import State
from runyard.model.work import Project, Record, Run, User

HOUR_MS = 3_600_000
RECENT = Page(limit=1000)


@dataclass(frozen=True, slots=True)
class Wish:
    """One suite on one commit. `ref` is the branch's short name; `branch` and `commit` are what the request
    said, None when it did not."""

    project: Project
    suite: Record
    actor: User
    ref: str
    sha: str
    source: str = "api"
    trigger: str = "manual"
    branch: str | None = None
    commit: str | None = None
    user_attributes: list[dict[str, str]] = field(default_factory=list)
    imports: Mapping[str, str] = field(default_factory=dict)
    target_branch: str = ""
    change_request: Mapping[str, Any] = field(default_factory=dict)
    dbt: Mapping[str, Any] = field(default_factory=dict)
    duplicate_of: int | None = None
    idempotency_key: str = ""


async def begin(services: Services, wish: Wish) -> Run:
    """The run."""
    data = whole(wish.suite.data)
    await services.db.read(lambda tx: _allow(tx, wish, data, services.now()))
    rows = await services.db.read(lambda tx: tx.connections())
    pinned = await _imports(services, wish)
    target = await asyncio.to_thread(_target, services, wish, data)
    target_imports = await _target_imports(services, wish, target.get("sha", ""))
    options: dict[str, Any] = {
        "suite": {"id": wish.suite.id, "data": data},
        "branch": wish.branch,
        "commit": wish.commit,
        "user_attributes": wish.user_attributes,
        "asked_imports": dict(wish.imports),
        "imports": [p.option() for p in pinned],
        "target": target,
        "target_imports": [p.option() for p in target_imports],
        "trigger": wish.trigger,
        "change_request": wish.change_request,
        "dbt": wish.dbt,
        "duplicate_of": wish.duplicate_of,
        "connections": {
            row.name: {"id": row.id, "settings": {**row.settings, "dialect": row.dialect}} for row in rows
        },
    }
    request = RunRequest(
        wish.project,
        "looker",
        wish.source,
        wish.actor,
        ref=wish.ref,
        sha=wish.sha,
        options=options,
        idempotency_key=wish.idempotency_key,
    )
    try:
        return await services.start(request)
    except Invalid as error:
        raise Unprocessable(Detail("suite_id", "invalid", error.message)) from None


def _allow(tx: Tx, wish: Wish, data: Mapping[str, Any], now: int) -> None:
    """The suite's own limits (ours, not Looker's): no twin of a run under way, and so many runs per hour."""
    limit, no_twin = int(data["runs_per_hour_limit"]), bool(data["refuse_duplicate_runs"])
    if not limit and not no_twin:
        return
    recent = [
        run
        for run in tx.runs(RunFilter(project_id=wish.project.id, dialect="looker"), RECENT)
        if (run.extra.get("looker") or {}).get("suite_id") == str(wish.suite.id)
    ]
    for run in recent:
        if no_twin and run.state is not State.DONE and run.sha == wish.sha:
            raise Conflict(f"Run {run.id} tests the same commit with this suite already.")
    late = [run.created_at for run in recent if run.created_at > now - HOUR_MS]
    if limit and len(late) >= limit:
        wait_ms = sorted(late)[len(late) - limit] + HOUR_MS - now
        raise Busy(
            f"This suite may run {limit} times per hour (runs_per_hour_limit).",
            retry_after_s=max(1, -(-wait_ms // 1000)),
        )


def _target(services: Services, wish: Wish, data: Mapping[str, Any]) -> dict[str, str]:
    """What incremental validators compare with, pinned now: the named branch, else production. Empty when no
    validator asks."""
    if not any(is_incremental(v, data) and data[f"{v}_validator_config_is_enabled"] for v in VALIDATORS):
        return {}
    branch = wish.target_branch or wish.project.default_branch
    try:
        commit, name, _ = services.source.resolve(wish.project.id, f"refs/heads/{branch}")
    except (NotFound, Invalid):
        raise invalid(
            "branch", f"there is no target branch {branch[:100]!r} to compare with incrementally."
        ) from None
    return {"branch": name, "sha": commit.sha}


async def _imports(services: Services, wish: Wish) -> list[imports.Pinned]:
    """Each import at the commit asked for, else the manifest's `ref`, else production. A pin for what is not
    imported is refused, not ignored."""

    def choose(one: Dependency, home: Project) -> str:
        ref = wish.imports.get(one.name) or one.ref or home.default_branch
        try:
            commit, _, _ = services.source.resolve(home.id, ref)
        except (NotFound, Invalid):
            said = f"project {one.name!r} has no commit or branch {ref[:100]!r}."
            raise invalid("project_imports", said) from None
        return commit.sha

    found = await imports.gather(services, wish.actor, wish.project, wish.sha, choose)
    strange = set(wish.imports) - {one.name for one in found}
    if strange:
        said = f"this project imports no project {min(strange)!r} that is on this server."
        raise invalid("project_imports", said)
    return found


async def _target_imports(services: Services, wish: Wish, sha: str) -> list[imports.Pinned]:
    """The target's imports as they are without this run's pins: a pinned commit must be told apart from what
    is there today."""
    if not sha:
        return []

    def choose(one: Dependency, home: Project) -> str:
        try:
            return services.source.resolve(home.id, one.ref or home.default_branch)[0].sha
        except (NotFound, Invalid):
            return sessions.head_of(services.source, home, home.default_branch)

    found = await imports.gather(services, wish.actor, wish.project, sha, choose)
    return [one for one in found if one.sha]


def again(wish: Wish, extra: Mapping[str, Any], run: Run) -> Wish:
    """The wish behind an earlier run, to be had once more: the same commit, attributes, imports and
    target."""
    return replace(
        wish,
        ref=run.ref,
        sha=run.sha,
        branch=extra.get("branch"),
        commit=extra.get("commit"),
        user_attributes=list(extra.get("user_attributes") or ()),
        imports=dict(extra.get("project_imports") or {}),
        target_branch=str((extra.get("target") or {}).get("branch") or ""),
        change_request=dict(extra.get("change_request") or {}),
        dbt=dict(extra.get("dbt") or {}),
        duplicate_of=run.id,
    )
