"""Suites: create, list, get, update, delete under `/projects/{project_id}/continuous_integration/suites`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from starlette.responses import Response

from runyard.dialects.looker import suites, triggers
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.refusals import empty, invalid
from runyard.dialects.looker.shapes import time
from runyard.engine.ports import Page, Tx
from runyard.model.errors import NotFound
from runyard.model.work import Project, Record


def suite_in(tx: Tx, project: Project, wanted: str) -> Record | None:
    """The project's suite of this id."""
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 19):
        return None
    found = tx.get(Record, int(wanted))
    return (
        found if found is not None and found.kind == suites.KIND and found.project_id == project.id else None
    )


async def _suite(ask: Ask) -> Record:
    project, wanted = await ask.project(), ask.params["suite_id"]
    found = await ask.services.db.read(lambda tx: suite_in(tx, project, wanted))
    if found is None:
        raise NotFound
    return found


async def create(ask: Ask) -> Response:
    """POST."""
    user = ask.writer()
    project, now = await ask.project(), ask.services.now()
    data = suites.written(ask.body, seal=ask.services.vault.seal)
    data = triggers.scheduled({**data, triggers.OWNER: user.id}, now)
    record = Record(0, suites.KIND, project.id, "", data, now, now)
    made = await ask.services.db.write(lambda tx: tx.add(record))
    return ask.answer(suites.shape(made, time))


async def listed(ask: Ask) -> Response:
    """GET, newest first; with `created_at`, those that were there at that time."""
    project, until = await ask.project(), _moment(ask.query.get("created_at", ""))
    limit, offset = ask.number("limit", 50, 1, 100), ask.number("offset", 0, 0, 1_000_000)

    def work(tx: Tx) -> list[Record]:
        if until is None:
            return tx.records(suites.KIND, project.id, None, Page(limit=limit, offset=offset))
        found = [s for s in triggers.all_suites(tx, project.id) if s.created_at <= until]
        return found[::-1][offset : offset + limit]

    return ask.answer([suites.shape(r, time) for r in await ask.services.db.read(work)])


def _moment(text: str) -> int | None:
    """Milliseconds of an ISO 8601 time; a time without a zone is UTC."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise invalid(
            "created_at", "created_at must be an ISO 8601 time, like 2026-11-20T10:00:00Z."
        ) from None


async def get(ask: Ask) -> Response:
    """GET one."""
    return ask.answer(suites.shape(await _suite(ask), time))


async def update(ask: Ask) -> Response:
    """PATCH: only the given fields change; runs that were started keep the suite as it was."""
    ask.writer()
    before, now = await _suite(ask), ask.services.now()

    def work(tx: Tx) -> Record:
        fresh = tx.get(Record, before.id)
        if fresh is None:
            raise NotFound
        data = suites.written(ask.body, dict(fresh.data), ask.services.vault.seal)
        after = replace(fresh, data=triggers.scheduled(data, now), updated_at=now)
        tx.save(after)
        return after

    return ask.answer(suites.shape(await ask.services.db.write(work), time))


async def delete(ask: Ask) -> Response:
    """DELETE; its runs stay."""
    ask.writer()
    before = await _suite(ask)
    await ask.services.db.write(lambda tx: tx.remove(Record, before.id))
    return empty()


_ALL = "/projects/{project_id}/continuous_integration/suites"
_ONE = _ALL + "/{suite_id}"
LINES = [
    Line("POST", _ALL, create),
    Line("GET", _ALL, listed),
    Line("GET", _ONE, get),
    Line("PATCH", _ONE, update),
    Line("DELETE", _ONE, delete),
]
