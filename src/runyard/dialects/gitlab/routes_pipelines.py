"""Pipelines: list, create, one, latest, variables, reports, cancel, retry, delete. contracts/gitlab.md
§1.2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import TEXT_CHARS, Parameters, Window, window_of
from runyard.dialects.gitlab.canceling import end_all_unheard
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies, words_of
from runyard.dialects.gitlab.inputs import pipeline_inputs, pipeline_variables
from runyard.dialects.gitlab.refusals import FieldErrors, NoSuchPage, answer_json, missing
from runyard.dialects.gitlab.reports import report, summary
from runyard.dialects.gitlab.routes_protection import may_start, refused_run
from runyard.dialects.gitlab.words import CHILD, HEAR, HELD_WORDS, SOURCES, say
from runyard.engine import control
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.http.services import RunRequest
from runyard.model.access import Role
from runyard.model.errors import Invalid, NotFound, NothingToRun
from runyard.model.state import Outcome, State
from runyard.model.work import Run

NOTHING = "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs from being added to the pipeline."
MISSING_CONFIG = "Missing CI config file"  # as the compiler says it
SCOPES: dict[str, tuple[tuple[State, Outcome | None], ...]] = {
    "running": ((State.RUNNING, None),),
    "pending": ((State.QUEUED, None), (State.WAITING, None)),
    "finished": tuple((State.DONE, outcome) for outcome in Outcome if outcome is not Outcome.SKIPPED),
    "branches": (),
    "tags": (),
}
COLUMNS: Mapping[str, Callable[[Run], Any]] = {
    "status": lambda run: say(run.state, run.outcome, run.hold),
    "ref": lambda run: run.ref,
    "updated_at": lambda run: run.updated_at,
    "user_id": lambda run: run.actor_id or 0,
}
ORDERS = frozenset({"id", *COLUMNS})
MOST_SCANNED = 5_000
NEWEST_OF_REF = frozenset({"branches", "tags"})
Found = tuple[list[Run], bool, int | None, Window]


@dataclass(frozen=True, slots=True)
class Pipelines:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        p, one = "/projects/{id}", "/projects/{id}/pipelines/{pipeline_id}"
        return [
            Line("GET", f"{p}/pipelines", Door.READER, self.list, "List pipelines", look=_find),
            Line("POST", f"{p}/pipeline", Door.USER, self.create, "Create a pipeline"),
            Line(
                "GET", f"{p}/pipelines/latest", Door.READER, self.latest, "Get the latest pipeline of a ref"
            ),
            Line("GET", one, Door.JOB_READER, self.one, "Get a pipeline"),
            Line("DELETE", one, Door.USER, self.delete, "Delete a pipeline", role=Role.OWNER),
            Line(
                "GET",
                f"{one}/variables",
                Door.USER,
                self.variables,
                "List a pipeline's variables",
                role=Role.DEVELOPER,
            ),
            Line("GET", f"{one}/test_report", Door.READER, self.test_report, "Get a pipeline's test report"),
            Line(
                "GET",
                f"{one}/test_report_summary",
                Door.READER,
                self.test_summary,
                "Get a pipeline's test summary",
            ),
            Line("PUT", f"{one}/metadata", Door.USER, self.rename, "Name a pipeline"),
            Line("POST", f"{one}/retry", Door.USER, self.retry, "Retry a pipeline's failed jobs"),
            Line("POST", f"{one}/cancel", Door.USER, self.cancel, "Cancel a pipeline's jobs"),
        ]

    async def list(self, entry: Entry) -> Response:
        """Newest first. Counted up to 10,000, as GitLab does."""
        runs, more, total, window = entry.found
        server = self.desk.services.server
        rows = [shapes.pipeline_basic(run, entry.project, server) for run in runs]
        return self.desk.listed(entry, window, rows, runs[-1].id if runs else 0, more, total)

    async def create(self, entry: Entry) -> Response:
        """Compiles and starts; `ref` is required."""
        ref = entry.parameters.required("ref")
        variables, inputs = pipeline_variables(entry.parameters), pipeline_inputs(entry.parameters)
        request = RunRequest(
            entry.project, "gitlab", "api", entry.who.user, ref, variables=variables, inputs=inputs
        )
        run = await start(self.desk, request)
        return answer_json(await self.bodies.pipeline(entry.project, run), 201)

    async def latest(self, entry: Entry) -> Response:
        """The newest pipeline of the ref's newest commit, else of the ref."""
        ref = entry.parameters.text("ref") or entry.project.default_branch
        filter = RunFilter(project_id=entry.project.id, ref=ref, not_source=CHILD)
        found = await self.desk.services.db.read(lambda tx: tx.runs(filter, Page(limit=1)))
        if not found:
            raise missing("Pipeline")
        return answer_json(await self.bodies.pipeline(entry.project, found[0]))

    async def one(self, entry: Entry) -> Response:
        """One pipeline."""
        return answer_json(await self.bodies.pipeline(entry.project, await self.desk.run(entry)))

    async def variables(self, entry: Entry) -> Response:
        """The variables it was triggered with."""
        run = await self.desk.run(entry)
        return answer_json([shapes.variable(row) for row in run.variables])

    async def test_report(self, entry: Entry) -> Response:
        """All JUnit reports of the latest jobs, by job."""
        run = await self.desk.run(entry)
        return answer_json(await report(self.desk.services, run))

    async def test_summary(self, entry: Entry) -> Response:
        """The same, counted."""
        run = await self.desk.run(entry)
        return answer_json(await summary(self.desk.services, run))

    async def rename(self, entry: Entry) -> Response:
        """Its display name."""
        run = await self.desk.run(entry)
        name = entry.parameters.required("name", TEXT_CHARS)

        def save(tx: Tx) -> Run | None:
            fresh = tx.get(Run, run.id)
            if fresh is not None:
                fresh = replace(fresh, name=name)
                tx.save(fresh)
            return fresh

        return await self._shown(entry, await self.desk.services.db.write(save))

    async def retry(self, entry: Entry) -> Response:
        """Every failed or canceled job again."""
        run = await self.desk.owned_run(entry)
        now, actor = self.desk.services.now(), entry.who.user.id
        fresh = await self.desk.services.db.write(lambda tx: control.retry_run(tx, run.id, now, actor))
        return await self._shown(entry, fresh, 201)

    async def cancel(self, entry: Entry) -> Response:
        """All that is open. Nothing to cancel is no error."""
        run = await self.desk.owned_run(entry)
        now, actor = self.desk.services.now(), entry.who.user.id
        fresh = await self.desk.services.db.write(
            lambda tx: end_all_unheard(tx, control.cancel_run(tx, run.id, now, actor), now)
        )
        return await self._shown(entry, fresh)

    async def delete(self, entry: Entry) -> Response:
        """The pipeline with its jobs, logs and artifacts."""
        run = await self.desk.run(entry)
        entry.check_unmodified(run.updated_at)
        now = self.desk.services.now()
        await self.desk.services.db.write(lambda tx: control.delete_run(tx, run.id, now))
        await asyncio.to_thread(self.desk.services.source.unkeep, entry.project.id, run.id)
        return Response(status_code=204)

    async def _shown(self, entry: Entry, run: Run | None, status: int = 200) -> Response:
        if run is None:
            raise missing("Pipeline")
        return answer_json(await self.bodies.pipeline(entry.project, run), status)


async def start(desk: Desk, request: RunRequest) -> Run:
    """Starts a pipeline; what the compiler or git refuses becomes GitLab's `base` errors."""
    if not await may_start(desk.services, request):
        raise FieldErrors("base", [refused_run(request.ref)])
    try:
        return await desk.services.start(request)
    except NothingToRun as error:
        said = error.message if error.message == MISSING_CONFIG else NOTHING
        raise FieldErrors("base", [said]) from None
    except NotFound:
        raise FieldErrors("base", ["Reference not found"]) from None
    except Invalid as error:
        raise FieldErrors("base", [str(p) for p in error.problems] or [error.message]) from None


def _find(tx: Tx, entry: Entry) -> Found:
    window, given = window_of(entry.parameters), entry.parameters
    order = given.choice("order_by", ORDERS, "id")
    filter, empty = _filter(given, entry.project.id)
    username, name = given.text("username"), given.text("name")
    actor = tx.user_by_name(username) if username else None
    if empty or (username and actor is None):
        return [], False, 0, window
    checks: list[Callable[[Run], bool]] = []
    if actor is not None:
        checks.append(lambda run: run.actor_id == actor.id)
    if name:
        checks.append(lambda run: run.name == name)
    if (hold := HELD_WORDS.get(given.text("status") or "")) is not None:
        checks.append(lambda run: run.hold is hold)
    if (yaml_errors := given.flag("yaml_errors")) is not None:
        checks.append(lambda run: bool(run.error) is yaml_errors)
    if given.text("scope") in NEWEST_OF_REF:
        checks.append(_is_newest_of_ref(tx, filter))
    if order != "id":
        if window.by_key:
            raise NoSuchPage("Keyset pagination is not yet available for this type of request")
        return *_sorted(tx, filter, window, checks, order), window
    if checks:
        return *_scan(tx, filter, window, checks), window
    found = tx.runs(filter, window.page_of(1))
    total = None if window.by_key else tx.count_runs(filter)
    return found[: window.per_page], len(found) > window.per_page, total, window


def _is_newest_of_ref(tx: Tx, filter: RunFilter) -> Callable[[Run], bool]:
    """GitLab's scopes `branches` and `tags`: of each ref the newest pipeline alone."""
    newest: dict[str, int] = {}
    for run in tx.runs(
        RunFilter(filter.project_id, tag=filter.tag, not_source=CHILD), Page(limit=MOST_SCANNED)
    ):
        newest.setdefault(run.ref, run.id)
    return lambda run: newest.get(run.ref) == run.id


def _filter(parameters: Parameters, project_id: int) -> tuple[RunFilter, bool]:
    """The store's filter, and whether nothing can match it."""
    scope = parameters.choice("scope", frozenset(SCOPES), "")
    status = parameters.choice("status", frozenset(HEAR), "")
    words = words_of([status] if status else [], "status")
    wanted = words.wanted or (SCOPES[scope] if scope else ())
    tag = {"branches": False, "tags": True}.get(scope)
    sha, source = parameters.text("sha"), parameters.choice("source", SOURCES, "")
    filter = RunFilter(
        project_id=project_id,
        wanted=wanted,
        ref=parameters.text("ref"),
        sha_prefix=sha,
        source=source or None,
        not_source=None if source == CHILD else CHILD,  # GitLab lists children with their parent only
        tag=tag,
        updated_after_at=parameters.time("updated_after"),
        updated_before_at=parameters.time("updated_before"),
        created_after_at=parameters.time("created_after"),
        created_before_at=parameters.time("created_before"),
    )
    return filter, words.none


def _sorted(
    tx: Tx, filter: RunFilter, window: Window, checks: list[Callable[[Run], bool]], order: str
) -> tuple[list[Run], bool, int | None]:
    """By another column, of the newest rows only; of equal ones the id decides."""
    rows = tx.runs(filter, Page(limit=MOST_SCANNED))
    kept = [run for run in rows if all(check(run) for check in checks)]
    key = COLUMNS[order]
    kept.sort(key=lambda run: (key(run), run.id), reverse=window.descending)
    skip = (window.page - 1) * window.per_page
    total = len(kept) if len(rows) < MOST_SCANNED else None
    return kept[skip : skip + window.per_page], len(kept) > skip + window.per_page, total


def _scan(
    tx: Tx, filter: RunFilter, window: Window, checks: list[Callable[[Run], bool]]
) -> tuple[list[Run], bool, int | None]:
    """Filters that no index answers look at the newest rows only, one batch after the other."""
    skip, after = (0 if window.by_key else (window.page - 1) * window.per_page), window.after_id
    kept: list[Run] = []
    for _ in range(MOST_SCANNED // 500):
        batch = tx.runs(filter, Page(limit=500, after_id=after, descending=window.descending))
        kept += [run for run in batch if all(check(run) for check in checks)]
        if len(batch) < 500 or len(kept) > skip + window.per_page:
            break
        after = batch[-1].id
    return kept[skip : skip + window.per_page], len(kept) > skip + window.per_page, None
