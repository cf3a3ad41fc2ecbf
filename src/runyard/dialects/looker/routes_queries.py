"""Queries and query tasks on an explore: what spectacles sends to bind an explore's SQL. A task asks the
model's own connection, read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker import queries
from runyard.dialects.looker.connections import dialects_of, settings_named
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.errands import QUERY_TIMEOUT_S
from runyard.dialects.looker.queries import FORMATS, KIND, Statement
from runyard.dialects.looker.reading import Reading
from runyard.dialects.looker.refusals import empty, invalid, missing_field
from runyard.dialects.looker.workspace import with_model
from runyard.engine.ports import Tx
from runyard.model.errors import Conflict, Forbidden, NotFound
from runyard.model.work import Record
from runyard.tasks.lookml.databases import Rows

TASK = "looker.query_task"
MAX_RESULT_BYTES = 4 << 20
GRACE_MS = 30_000
MANY = 250


def _mine(ask: Ask, record: Record | None, kind: str) -> Record:
    """The record, if it is of that kind and the caller's own."""
    if record is None or record.kind != kind or record.data.get("user_id") != ask.user.id:
        raise NotFound
    return record


async def _query(ask: Ask, wanted: str) -> Record:
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 19):
        raise NotFound
    return _mine(ask, await ask.services.db.read(lambda tx: tx.get(Record, int(wanted))), KIND)


async def create(ask: Ask) -> Response:
    """POST /queries."""
    user = ask.writer()
    data = {**queries.written(ask.body), "user_id": user.id}
    now, slug = ask.services.now(), ask.services.new_token("")[:22]
    row = await ask.services.db.write(lambda tx: tx.add(Record(0, KIND, None, slug, data, now, now)))
    return ask.answer(queries.shape(str(row.id), slug, data, ask.services.server.url))


async def get(ask: Ask) -> Response:
    """GET /queries/{query_id}."""
    row = await _query(ask, ask.params["query_id"])
    return ask.answer(queries.shape(str(row.id), row.key, row.data, ask.services.server.url))


async def _compiled(ask: Ask, data: Mapping[str, Any]) -> tuple[Statement, Mapping[str, Any] | None]:
    """The query as SQL where this session stands, and its connection's settings. Developers may, for it costs
    their database."""
    model, name = str(data["model"]), str(data["view"])
    work = await with_model(ask, model)
    if ask.principal is None or not ask.principal.may_run(work.project):
        raise Forbidden("Developers of this project may query its explores.")
    found = work.reading.model(model)
    settings = await settings_named(ask.services, found.connection if found else "")
    spoken, source = dialects_of(settings or {})

    def look(reading: Reading) -> Statement:
        explore = reading.explore(model, name)
        if explore is None:
            raise NotFound(f"Model {model!r} has no explore {name!r}.")
        return queries.compiled(explore, data, spoken, source)

    return await work.reading.ask(look), settings


async def _run(ask: Ask, data: Mapping[str, Any], id: str) -> Response:
    """The query's answer in the path's format, now."""
    format = ask.params["result_format"]
    if format not in FORMATS:
        raise invalid("result_format", f"result_format must be one of {', '.join(sorted(FORMATS))}.")
    asked, settings = await _compiled(ask, data)
    if format == "sql":
        if asked.problem:
            raise NotFound(
                asked.problem
            )  # the answer that spectacles takes for "this has no SQL" (looker.md §9)
        return Response(asked.sql, media_type="text/plain")
    answer, seconds = await ask.office.errands.ask_now(asked, settings)
    shaped = queries.rendered(answer, asked, "json" if format == "csv" else format, id, seconds)
    if format == "csv":
        return Response(queries.as_csv(shaped), media_type="text/csv")
    return ask.answer(shaped)


async def run(ask: Ask) -> Response:
    """GET /queries/{query_id}/run/{result_format}."""
    row = await _query(ask, ask.params["query_id"])
    return await _run(ask, row.data, str(row.id))


async def run_inline(ask: Ask) -> Response:
    """POST /queries/run/{result_format}: without keeping the query."""
    ask.writer()
    return await _run(ask, queries.written(ask.body), "")


async def create_task(ask: Ask) -> Response:
    """POST /query_tasks: runs a query in the background."""
    user = ask.writer()
    wanted, format = str(ask.body.get("query_id") or ""), str(ask.body.get("result_format") or "json_bi")
    if not wanted:
        raise missing_field("query_id")
    if format not in FORMATS - {"sql", "csv"}:
        raise invalid("result_format", "result_format must be json, json_bi or json_detail.")
    row = await _query(ask, wanted)
    asked, settings = await _compiled(ask, row.data)
    services, key = ask.services, ask.services.new_token("")
    now = services.now()
    data = {
        "user_id": user.id,
        "query_id": wanted,
        "result_format": format,
        "status": "running",
        "deadline_at": now + int(QUERY_TIMEOUT_S * 1000) + GRACE_MS,
    }
    task = await services.db.write(lambda tx: tx.add(Record(0, TASK, None, key, data, now, now)))
    errands = ask.office.errands

    def work() -> None:
        answer, seconds = errands.ask(asked, settings)
        status = "complete" if isinstance(answer, Rows) else "error"
        shaped = queries.rendered(answer, asked, format, _id(task), seconds)
        if len(str(shaped)) > MAX_RESULT_BYTES:
            status, said = "error", "The result is too large; ask for fewer rows or fields."
            shaped = queries.rendered(said, asked, format, _id(task), seconds)
        services.db.submit_write(lambda tx: _end(tx, task.id, status, shaped, services.now())).result()

    errands.send(work)
    return ask.answer(_task(task))


def _end(tx: Tx, id: int, status: str, data: Any, now: int) -> None:
    """A task that was killed meanwhile stays killed."""
    task = tx.get(Record, id)
    if task is not None and task.data.get("status") == "running":
        tx.save(replace(task, data={**task.data, "status": status, "data": data}, updated_at=now))


def _task(task: Record) -> dict[str, Any]:
    data = task.data
    return {
        "can": {"show": True},
        "id": _id(task),
        "query_id": data["query_id"],
        "result_format": data["result_format"],
        "status": data["status"],
        "runtime": None,
        "result_source": "query",
    }


def _result(task: Record, now: int) -> dict[str, Any]:
    """What multi_results says of one task."""
    status = str(task.data["status"])
    if status == "running" and now > int(task.data["deadline_at"]):
        status = "expired"
    if status in ("complete", "error"):
        return {"status": status, "data": task.data.get("data")}
    return {"status": status}


async def _tasks(ask: Ask, ids: list[str]) -> dict[str, Record]:
    """The caller's own tasks among these ids, found by primary key: there are many, and they are asked for
    again and again."""

    def work(tx: Tx) -> dict[str, Record]:
        found = {}
        for id in ids:
            number, _, key = id.partition("-")
            row = (
                tx.get(Record, int(number))
                if number.isascii() and number.isdigit() and len(number) < 19
                else None
            )
            if row and row.kind == TASK and row.key == key and row.data.get("user_id") == ask.user.id:
                found[id] = row
        return found

    return await ask.services.db.read(work)


def _id(task: Record) -> str:
    return f"{task.id}-{task.key}"


async def _task_of(ask: Ask) -> Record:
    wanted = ask.params["query_task_id"]
    found = (await _tasks(ask, [wanted])).get(wanted) if wanted else None
    if found is None:
        raise NotFound
    return found


async def multi_results(ask: Ask) -> Response:
    """GET /query_tasks/multi_results: what each of the named tasks has."""
    keys = [k for k in ask.query.get("query_task_ids", "").split(",") if k]
    if not keys or len(keys) > MANY:
        raise invalid("query_task_ids", f"query_task_ids must name 1 to {MANY} tasks.")
    found, now = await _tasks(ask, keys), ask.services.now()
    return ask.answer({key: _result(found[key], now) for key in keys if key in found})


async def get_task(ask: Ask) -> Response:
    """GET /query_tasks/{query_task_id}."""
    task = await _task_of(ask)
    return ask.answer({**_task(task), "status": _result(task, ask.services.now())["status"]})


async def task_results(ask: Ask) -> Response:
    """GET /query_tasks/{query_task_id}/results: 409 until it is over."""
    found = _result(await _task_of(ask), ask.services.now())
    if "data" not in found:
        raise Conflict(f"The query task is {found['status']}.")
    return ask.answer(found["data"])


async def kill(ask: Ask) -> Response:
    """DELETE /running_queries/{query_task_id}: its result will not be kept; the database ends it at the time
    limit. 404 once it is over."""
    ask.writer()
    task, now = await _task_of(ask), ask.services.now()

    def work(tx: Tx) -> bool:
        fresh = tx.get(Record, task.id)
        if fresh is None or fresh.data.get("status") != "running":
            return False
        tx.save(replace(fresh, data={**fresh.data, "status": "killed"}, updated_at=now))
        return True

    if not await ask.services.db.write(work):
        raise NotFound("The query is not running.")
    return empty()


LINES = [
    Line("POST", "/queries", create),
    Line("GET", "/queries/{query_id}", get),
    Line("GET", "/queries/{query_id}/run/{result_format}", run),
    Line("POST", "/queries/run/{result_format}", run_inline),
    Line("POST", "/query_tasks", create_task),
    Line("GET", "/query_tasks/multi_results", multi_results),
    Line("GET", "/query_tasks/{query_task_id}", get_task),
    Line("GET", "/query_tasks/{query_task_id}/results", task_results),
    Line("DELETE", "/running_queries/{query_task_id}", kill),
]
