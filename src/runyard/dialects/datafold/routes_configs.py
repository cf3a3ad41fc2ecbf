"""`/api/v1/ci`: CI configurations, our addition, since Datafold makes them in its web app. Administrators
write, everyone with a token reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter
from starlette.responses import Response

from runyard.dialects.datafold import runs, sources, uploads
from runyard.dialects.datafold.answers import CiConfigAnswer, Empty
from runyard.dialects.datafold.desk import Desk, Id, validated
from runyard.dialects.datafold.openapi import described
from runyard.dialects.datafold.refusals import UnknownReference, answer, refused_field
from runyard.dialects.datafold.results import moment
from runyard.dialects.datafold.shapes import CiConfig
from runyard.engine.control import cancel_run
from runyard.engine.ports import Page, Tx
from runyard.model.errors import Invalid
from runyard.model.work import Project, Record
from runyard.syntax.ignores import Ignores
from runyard.syntax.patterns import PatternError


def router(desk: Desk) -> APIRouter:
    """All routes."""
    configs = Configs(desk)
    table = APIRouter(prefix="/api/v1/ci")
    one = "/{ci_config_id}"
    for path, handler, method, facts in (
        ("", configs.create, "POST", described(CiConfigAnswer, body=CiConfig, errors=(403,))),
        ("", configs.listed, "GET", described(list[CiConfigAnswer])),
        (one, configs.get, "GET", described(CiConfigAnswer)),
        (one, configs.replace, "PUT", described(CiConfigAnswer, body=CiConfig, errors=(403,))),
        (one, configs.update, "PATCH", described(CiConfigAnswer, body=CiConfig, errors=(403,))),
        (one, configs.delete, "DELETE", described(Empty, errors=(403,))),
    ):
        table.add_api_route(path, handler, methods=[method], **facts)
    return table


class Configs:
    """The routes."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.services = desk.services

    async def create(self, request: Request) -> Response:
        """Makes a CI configuration (ours)."""
        await self.desk.administrator(request)
        given = await self.desk.body(request, CiConfig)
        _readable(given)
        now = self.services.now()

        def make(tx: Tx) -> Record:
            project, data = _checked(tx, given)
            return tx.add(Record(0, runs.CONFIG, project.id, "", data, now, now))

        return answer(shape(await self.services.db.write(make)))

    async def listed(self, request: Request) -> Response:
        """Lists configurations (ours)."""
        person = await self.desk.person(request)
        page = Page(limit=1000, descending=False)

        def look(tx: Tx) -> list[Record]:
            found = [
                (r, tx.get(Project, r.project_id or 0)) for r in tx.records(runs.CONFIG, None, None, page)
            ]
            return [record for record, project in found if project is not None and person.may_see(project)]

        return answer([shape(record) for record in await self.services.db.read(look)])

    async def get(self, request: Request, ci_config_id: Id) -> Response:
        """Shows a configuration (ours)."""
        return answer(shape(await self.desk.config(request, ci_config_id)))

    async def replace(self, request: Request, ci_config_id: Id) -> Response:
        """Replaces a configuration: what is not given gets its default (ours)."""
        await self.desk.administrator(request)
        return await self._save(ci_config_id, await self.desk.body(request, CiConfig))

    async def update(self, request: Request, ci_config_id: Id) -> Response:
        """Changes the given fields of a configuration (ours)."""
        await self.desk.administrator(request)
        fields = await self.desk.json(request)
        owner = await self.services.db.read(lambda tx: runs.config(tx, ci_config_id))
        if not isinstance(fields, dict):
            raise refused_field(("body",), "Input should be an object", "model_type")
        return await self._save(ci_config_id, validated(TypeAdapter(CiConfig), {**owner.data, **fields}))

    async def _save(self, ci_config_id: int, given: CiConfig) -> Response:
        _readable(given)
        now = self.services.now()

        def save(tx: Tx) -> Record:
            owner = runs.config(tx, ci_config_id)
            project, data = _checked(tx, given)
            if project.id != owner.project_id:
                raise Invalid("A configuration stays with its repository: make another one.")
            changed = replace(owner, data=data, updated_at=now)
            tx.save(changed)
            return changed

        return answer(shape(await self.services.db.write(save)))

    async def delete(self, request: Request, ci_config_id: Id) -> Response:
        """Removes a configuration and its uploads; open runs are cancelled, ended ones stay (ours)."""
        person = await self.desk.administrator(request)
        now = self.services.now()

        def remove(tx: Tx) -> None:
            owner = runs.config(tx, ci_config_id)
            for run in list(runs.runs(tx, owner, open_only=True)):
                cancel_run(tx, run.id, now, person.user.id or None)
            uploads.remove_all(tx, owner)
            tx.remove(Record, owner.id)

        await self.services.db.write(remove)
        return answer({})


def _readable(given: CiConfig) -> None:
    """Patterns are compiled when they are given, so that no run fails of them."""
    for name in ("ignore_columns", "files_to_ignore"):
        try:
            Ignores(getattr(given, name))
        except PatternError as error:
            raise refused_field(("body", name), str(error)) from None


def _checked(tx: Tx, given: CiConfig) -> tuple[Project, dict[str, Any]]:
    """What the payload names must be there."""
    project = _project(tx, given.repository)
    sources.find(tx, given.data_source_id)
    return project, given.model_dump(mode="json") | {"repository": project.path}


def _project(tx: Tx, repository: str | int) -> Project:
    """By path, or by id (a number or its digits)."""
    text = str(repository)
    found = tx.project_by_path(text)
    if found is None and text.isascii() and text.isdigit() and len(text) < 19:
        found = tx.get(Project, int(text))
    if found is None:
        raise UnknownReference(
            f"There is no repository {text[:200]!r}: push to it, or make a project of that path (POST /api/v4/projects)."
        )
    return found


def shape(record: Record) -> dict[str, Any]:
    """A configuration with every option."""
    return {
        "id": record.id,
        **runs.options(record).model_dump(mode="json"),
        "created_at": moment(record.created_at),
        "updated_at": moment(record.updated_at),
    }
