"""Runs that belong to no pull request: diffs of the API, and questions to a data source (test, query,
columns, keys), which run as steps in the sandbox like everything else: the server itself never opens a user's
database. Called by routes_diffs and routes_sources.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from runyard.dialects.datafold import runs, sources
from runyard.dialects.datafold.compile import NoFiles, kept, program, reach, shown
from runyard.engine.control import cancel_run
from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.http.services import RunRequest, Services
from runyard.model.errors import Conflict, NotFound, RunyardError, Unavailable
from runyard.model.plan import JobPlan, StepPlan
from runyard.model.state import State
from runyard.model.trigger import ZERO_SHA
from runyard.model.work import Artifact, Attempt, Connection, Project, Run, User

DIFFS, QUESTIONS = "datafold/data-diffs", "datafold/questions"
ANSWER, ANSWER_FILE = "datafold_answer", "answer.json"
KEPT_S = 3600  # an answer may hold rows
MOST_ANSWER_BYTES = 64 << 20
TIMEOUT_S = 120
Json = dict[str, Any]


async def start(
    services: Services, home: str, actor: User, job: JobPlan, about: Mapping[str, Any] | None = None
) -> Run:
    """A run of one job in a project that is made when the first one comes; everybody with a key may see it,
    as in the vendor's organisation."""
    return await services.start(
        RunRequest(
            project=await _project(services, home),
            dialect=runs.DIALECT,
            source="api",
            actor=actor,
            ref="main",
            sha=ZERO_SHA,
            options={"jobs": (job,), "name": job.name, "ci": about or {}},
            files=NoFiles(),
        )
    )


async def _project(services: Services, path: str) -> Project:
    def make(tx: Tx) -> tuple[Project, bool]:
        known = tx.project_by_path(path)
        if known is not None:
            return known, False
        name, made = path.split("/")[-1], services.now()
        return tx.add(Project(0, path, name, visibility="internal", created_at=made)), True

    known = await services.db.read(lambda tx: tx.project_by_path(path))
    if known is not None:
        return known
    try:
        project, fresh = await services.db.write(make)
    except Conflict:
        raise Unavailable(retry_after_s=1) from None
    if fresh:
        services.source.create(project.id, project.default_branch)
    return project


async def ask(services: Services, actor: User, connection: Connection, what: str, **spec: Any) -> Run:
    """Starts a question; `about["question"]` says what was asked of which data source."""
    use = sources.for_job(connection)
    script = json.dumps({"do": what, "connection": use.name, **spec}, indent=1)
    job = JobPlan(
        key="question",
        name=f"{what} {connection.name}"[:200],
        steps=(
            StepPlan("ask", "Ask", argv=program("runyard.tasks.datadiff.ask"), script=script),
            kept("answer", "Keep the answer", ANSWER_FILE, ANSWER, expire_in_s=KEPT_S),
        ),
        connections=(use,),
        network=reach([use]),
        binds=shown([use]),
        timeout_s=TIMEOUT_S,
    )
    about = {"question": what, "data_source_id": connection.id}
    return await start(services, QUESTIONS, actor, job, about)


async def attempt_of(services: Services, run_id: int) -> Attempt:
    """The question's attempt."""

    def look(tx: Tx) -> Attempt:
        graph = tx.graph(run_id)
        if not graph:
            raise NotFound(f"There is no task {run_id}.")
        return graph[0][1]

    return await services.db.read(look)


async def answered(services: Services, attempt: Attempt) -> Json:
    """What an ended question left: its answer, or {"error": …}."""

    def look(tx: Tx) -> list[Artifact]:
        return tx.artifacts(ArtifactFilter(attempt_id=attempt.id, type=ANSWER), Page(limit=1))

    found = await services.db.read(look)
    if not found:
        return {
            "error": attempt.message
            or f"The question left no answer ({attempt.reason.value or 'it has expired'})."
        }
    return await asyncio.to_thread(_read, services, found[0])


def _read(services: Services, artifact: Artifact) -> Json:
    if artifact.size_bytes > MOST_ANSWER_BYTES:
        return {"error": "The answer is too large."}
    try:
        found = json.loads(b"".join(services.blobs.open(artifact.blob)))
    except (ValueError, RecursionError, RunyardError):
        return {"error": "The answer cannot be read."}
    return found if isinstance(found, dict) else {"error": "The answer cannot be read."}


async def wait(services: Services, run: Run, patience_s: float, actor: User) -> Json:
    """The answer, for callers that wait for it; Unavailable when it does not come in time, and then nobody
    goes on looking for it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience_s
    topic = f"run:{run.id}"
    while True:
        seen = services.bell.version(topic)
        attempt = await attempt_of(services, run.id)
        if attempt.state is State.DONE:
            return await answered(services, attempt)
        left = end - loop.time()
        if left <= 0:
            await _give_up(services, run, actor)
            raise Unavailable(
                "The data source did not answer in time, or no runner is free.", retry_after_s=5
            )
        await services.bell.changed(topic, seen, min(left, 5.0))


async def _give_up(services: Services, run: Run, actor: User) -> None:
    now = services.now()
    await services.db.write(lambda tx: cancel_run(tx, run.id, now, actor.id or None))
