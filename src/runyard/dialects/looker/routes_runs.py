"""Runs in both families: legacy `/projects/{id}/ci/run(s)` and `/projects/{id}/continuous_integration/runs`.
One engine run behind both."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker import results, shapes, starting
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.imports import asked
from runyard.dialects.looker.refusals import empty, invalid, missing_field
from runyard.dialects.looker.results import RunFacts, Validated
from runyard.dialects.looker.routes_suites import suite_in
from runyard.dialects.looker.starting import Wish, begin
from runyard.dialects.looker.words import HEAR, word
from runyard.engine.control import cancel_run
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.model.errors import Conflict, Invalid, NotFound
from runyard.model.state import State
from runyard.model.work import Project, Record, Run, User

_SHA = re.compile(r"[0-9a-fA-F]{7,64}")
MAX_ATTRIBUTES = 100
FIRST_SDK = "PY SDK 25.6"
"""Its `result` is a list of {validator, status}; it cannot read what every later SDK expects there (PyPI
looker-sdk 25.6.0, CIRunResult)."""


def _optional_text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > 1024 or "\0" in value:
        raise invalid(name, f"{name} must be a text.")
    return value


def _attributes(body: Mapping[str, Any]) -> list[dict[str, str]]:
    given = body.get("user_attributes")
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MAX_ATTRIBUTES:
        raise invalid("user_attributes", "user_attributes must be a list of name and value.")
    found = []
    for item in given:
        if isinstance(item, str):  # 25.6 has a list of texts here
            item = dict(zip(("name", "value"), item.split("=", 1), strict=False))
        name = item.get("name") if isinstance(item, dict) else None
        value = item.get("value") if isinstance(item, dict) else None
        if (
            not isinstance(name, str)
            or not re.fullmatch(r"\w{1,200}", name)
            or not isinstance(value, str | None)
        ):
            raise invalid(
                "user_attributes",
                "Each user attribute needs a name of letters, digits and _ and a text as value.",
            )
        if value is not None and (len(value) > 4096 or "\0" in value):
            raise invalid("user_attributes", f"The value of {name} is too long.")
        found.append({"name": name, "value": value or ""})
    return found


async def _suite_of(ask: Ask, project: Project) -> Record:
    given = ask.body.get("suite_id")
    if given is None or not str(given).strip():
        raise missing_field("suite_id")
    wanted = str(given).strip()
    found = await ask.services.db.read(lambda tx: suite_in(tx, project, wanted))
    if found is None:
        raise NotFound(f"Suite {wanted[:100]!r} does not exist in this project.")
    return found


async def _commit(ask: Ask, project: Project, branch: str | None, commit: str | None) -> tuple[str, str]:
    """(ref, sha) now: a run tests the commit that the branch had when it was asked for."""
    if commit is not None and not _SHA.fullmatch(commit):
        raise invalid("commit", "commit must be a commit SHA.")
    ref = branch or project.default_branch
    try:
        found, name, _ = await asyncio.to_thread(
            ask.services.source.resolve, project.id, ref if branch else commit or ref
        )
    except (NotFound, Invalid):
        wrong = "branch" if branch or not commit else "commit"
        raise invalid(wrong, f"{wrong} {(branch or commit or ref)[:100]!r} does not exist.") from None
    if branch and commit:
        try:
            found, _, _ = await asyncio.to_thread(ask.services.source.resolve, project.id, commit)
        except (NotFound, Invalid):
            raise invalid("commit", f"commit {commit!r} does not exist.") from None
    return (name if branch else project.default_branch), found.sha


async def _start(ask: Ask) -> Run:
    """The run of a create body."""
    user, project = ask.writer(), await ask.project()
    suite = await _suite_of(ask, project)
    branch, commit = _optional_text(ask.body, "branch"), _optional_text(ask.body, "commit")
    attributes, pins = _attributes(ask.body), asked(ask.body)
    ref, sha = await _commit(ask, project, branch, commit)
    wish = Wish(
        project,
        suite,
        user,
        ref,
        sha,
        branch=branch,
        commit=commit,
        user_attributes=attributes,
        imports=pins,
        target_branch=_optional_text(ask.body, "target") or "",  # 25.6 may name it
    )
    return await begin(ask.services, wish)


async def _found(ask: Ask) -> tuple[Project, Run]:
    """The run of the path; of this project and this dialect, else Not found."""
    project, wanted = await ask.project(), ask.params["run_id"]
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 19):
        raise NotFound
    run = await ask.services.db.read(lambda tx: tx.get(Run, int(wanted)))
    if run is None or run.project_id != project.id or run.dialect != "looker":
        raise NotFound
    return project, run


async def _facts(ask: Ask, project: Project, run: Run) -> tuple[RunFacts, list[Validated]]:
    def work(tx: Tx) -> RunFacts:
        fresh = tx.get(Run, run.id) or run
        actor = tx.get(User, fresh.actor_id) if fresh.actor_id else None
        return results.facts(tx, fresh, (actor.name or actor.username) if actor else "", project.path)

    known = await ask.services.db.read(work)
    return known, await asyncio.to_thread(results.validated, known, ask.services.blobs)


async def create_legacy(ask: Ask) -> Response:
    """POST /projects/{id}/ci/run → CreateCIRunResponse."""
    run = await _start(ask)
    return ask.answer({"run_id": str(run.id), "status": word(run.state, run.outcome, run.hold)})


async def get_legacy(ask: Ask) -> Response:
    """GET /projects/{id}/ci/runs/{run_id} → ProjectRun."""
    known, found = await _facts(ask, *await _found(ask))
    shaped = shapes.legacy_run(known, found, ask.services.server.url)
    if ask.request.headers.get("x-looker-appid") == FIRST_SDK:
        shaped["run"]["result"] = [{"validator": v.validator, "status": v.status} for v in found]
    return ask.answer(shaped)


async def _ci_run(ask: Ask, project: Project, run: Run) -> dict[str, Any]:
    known, found = await _facts(ask, project, run)
    return shapes.ci_run(known, found, ask.services.server.url)


async def create(ask: Ask) -> Response:
    """POST …/continuous_integration/runs → CIRun."""
    run = await _start(ask)
    return ask.answer(await _ci_run(ask, await ask.project(), run))


async def get(ask: Ask) -> Response:
    """GET …/continuous_integration/runs/{run_id} → CIRun."""
    return ask.answer(await _ci_run(ask, *await _found(ask)))


SORTS = ("suite_id", "status", "user_id", "trigger_type", "created_at")
MOST_SORTED = 1000


async def search(ask: Ask) -> Response:
    """GET …/runs/search: filters are comma lists; newest first, unless `sorts` says otherwise."""
    project = await ask.project()
    limit, offset = ask.number("limit", 50, 1, 100), ask.number("offset", 0, 0, 1_000_000)
    statuses = _listed(ask.query, "status")
    for status in statuses:
        if status not in HEAR:
            raise invalid("status", f"status must be one of {', '.join(sorted(HEAR))}.")
    sorts = _sorts(ask.query.get("sorts", ""))
    wanted = tuple(pair for s in statuses for pair in HEAR[s])
    if statuses and not wanted:
        return ask.answer([])
    filter = RunFilter(project_id=project.id, dialect="looker", wanted=wanted)
    streamed = sorts in ([("created_at", True)], [("created_at", False)])
    kept: list[dict[str, Any]] = []
    page = Page(limit=100, descending=not streamed or sorts[0][1])
    enough = offset + limit if streamed else MOST_SORTED
    while len(kept) < enough:
        rows = await ask.services.db.read(lambda tx, page=page: tx.runs(filter, page))  # type: ignore[misc]
        for run in rows:
            if not _of_suite(run, ask.query) or not _of_person(run, ask.query):
                continue
            shaped = await _ci_run(ask, project, run)
            if not statuses or shaped["status"] in statuses:
                kept.append(shaped)
        if len(rows) < page.limit:
            break
        page = Page(limit=100, after_id=rows[-1].id, descending=page.descending)
    for name, is_descending in reversed([] if streamed else sorts):
        kept.sort(key=partial(_sort_key, name), reverse=is_descending)
    return ask.answer(kept[offset : offset + limit])


def _sort_key(name: str, run: Mapping[str, Any]) -> tuple[int, str]:
    """Numbers by value, texts by letter; null first. Runs are numbered as they are created."""
    value = run[{"suite_id": "ci_suite_id", "created_at": "id"}.get(name, name)]
    text = "" if value is None else str(value)
    return (int(text), "") if text.isdigit() else (-1, text)


def _sorts(text: str) -> list[tuple[str, bool]]:
    """(field, is_descending) of a comma list like `status, created_at desc`."""
    found = []
    for part in text.split(","):
        words = part.split()
        if not words:
            continue
        if words[0] not in SORTS or len(words) > 2 or words[-1].lower() not in ("asc", "desc", words[0]):
            raise invalid("sorts", f"sorts can be {', '.join(SORTS)}, each with asc or desc.")
        found.append((words[0], words[-1].lower() == "desc"))
    return found or [("created_at", True)]


def _listed(query: Mapping[str, str], name: str) -> list[str]:
    return [s.strip() for s in query.get(name, "").split(",") if s.strip()]


def _of_suite(run: Run, query: Mapping[str, str]) -> bool:
    wanted = _listed(query, "suite_id")
    return not wanted or str(results.extra_of(run).get("suite_id")) in wanted


def _of_person(run: Run, query: Mapping[str, str]) -> bool:
    users, kinds = _listed(query, "user_id"), _listed(query, "trigger_type")
    kind = results.extra_of(run).get("trigger") or shapes.TRIGGERS.get(run.source, "unknown")
    return (not users or str(run.actor_id) in users) and (not kinds or kind in kinds)


async def duplicate(ask: Ask) -> Response:
    """POST …/runs/{run_id}/duplicate: the same suite, ref, commit and attributes again, with the suite as it
    is now."""
    user = ask.writer()
    project, run = await _found(ask)
    extra = results.extra_of(run)
    suite = await ask.services.db.read(lambda tx: suite_in(tx, project, str(extra.get("suite_id", ""))))
    if suite is None:
        raise NotFound("The run's suite does not exist any more.")
    wish = starting.again(Wish(project, suite, user, run.ref, run.sha), extra, run)
    return ask.answer(await _ci_run(ask, project, await begin(ask.services, wish)))


async def cancel(ask: Ask) -> Response:
    """DELETE …/runs/{run_id}: 204; 409 once it has ended."""
    user = ask.writer()
    _, run = await _found(ask)
    now = ask.services.now()

    def work(tx: Tx) -> None:
        fresh = tx.get(Run, run.id)
        if fresh is None or fresh.state is State.DONE:
            raise Conflict("The run has already finished.")
        cancel_run(tx, run.id, now, user.id)

    await ask.services.db.write(work)
    return empty()


_LEGACY = "/projects/{project_id}/ci"
_RUNS = "/projects/{project_id}/continuous_integration/runs"
LINES = [
    Line("POST", _LEGACY + "/run", create_legacy),
    Line("GET", _LEGACY + "/runs/{run_id}", get_legacy),
    Line("POST", _RUNS, create),
    Line("GET", _RUNS + "/search", search),
    Line("GET", _RUNS + "/{run_id}", get),
    Line("DELETE", _RUNS + "/{run_id}", cancel),
    Line("POST", _RUNS + "/{run_id}/duplicate", duplicate),
]
