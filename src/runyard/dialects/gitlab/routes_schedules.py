"""Pipeline schedules: cron lines with a time zone that start pipelines in their owner's name.
contracts/gitlab.md §1.3; `schedules` runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import Parameters
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.inputs import KEY, VALUE_BYTES
from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors, answer_json, missing
from runyard.dialects.gitlab.schedules import KIND, MOST, fire, next_run_at
from runyard.engine.ports import Page, Tx
from runyard.model.access import Role
from runyard.model.errors import Forbidden, Invalid
from runyard.model.work import Project, Record, Run, User
from runyard.sources.names import check_ref
from runyard.syntax import cron
from runyard.syntax.cron import CronError

TYPES = frozenset({"env_var", "file"})
SCOPES = frozenset({"active", "inactive"})
MOST_OF_PROJECT = 200
MOST_VARIABLES = 200
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schedules:
    """Handlers. Developers make them; owners and maintainers change them."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        path = "/projects/{id}/pipeline_schedules"
        one, variable = (
            f"{path}/{{pipeline_schedule_id}}",
            f"{path}/{{pipeline_schedule_id}}/variables/{{key}}",
        )
        return [
            Line("GET", path, Door.READER, self.list, "List pipeline schedules", role=Role.GUEST),
            Line("POST", path, Door.USER, self.create, "Create a pipeline schedule"),
            Line("GET", one, Door.READER, self.one, "Get a pipeline schedule", role=Role.GUEST),
            Line("PUT", one, Door.USER, self.change, "Change a pipeline schedule"),
            Line("DELETE", one, Door.USER, self.delete, "Delete a pipeline schedule"),
            Line("POST", f"{one}/take_ownership", Door.USER, self.take, "Own a pipeline schedule"),
            Line("POST", f"{one}/play", Door.USER, self.play, "Run a pipeline schedule now"),
            Line(
                "GET",
                f"{one}/pipelines",
                Door.READER,
                self.pipelines,
                "List a schedule's pipelines",
                role=Role.GUEST,
            ),
            Line("POST", f"{one}/variables", Door.USER, self.add_variable, "Add a variable to a schedule"),
            Line("GET", variable, Door.USER, self.variable, "Get a schedule's variable", role=Role.DEVELOPER),
            Line("PUT", variable, Door.USER, self.change_variable, "Change a schedule's variable"),
            Line("DELETE", variable, Door.USER, self.delete_variable, "Delete a schedule's variable"),
        ]

    async def list(self, entry: Entry) -> Response:
        """Oldest first; `scope` active or inactive."""
        scope = entry.parameters.choice("scope", SCOPES, "")

        def load(tx: Tx) -> list[Data]:
            rows = tx.records(KIND, entry.project.id, None, Page(limit=MOST, descending=False))
            wanted = [row for row in rows if not scope or row.data["active"] is (scope == "active")]
            return [self._shape(tx, row) for row in wanted]

        return self.desk.sliced(entry, await self.desk.services.db.read(load), lambda body: body)

    async def create(self, entry: Entry) -> Response:
        """`description`, `ref`, `cron`; `cron_timezone`, `active`, `inputs`."""
        given, now = entry.parameters, self.desk.services.now()
        for name in ("description", "ref", "cron"):
            given.required(name)
        blank: Data = {
            "description": "", "ref": "", "cron": "", "cron_timezone": "UTC", "active": True, "variables": [],
            "inputs": [], "runs": [], "trouble": "", "owner_id": entry.who.user.id,
        }  # fmt: skip
        data = _changed(blank, given, now)

        def add(tx: Tx) -> Data:
            held = tx.records(KIND, entry.project.id, None, Page(limit=MOST_OF_PROJECT))
            if len(held) >= MOST_OF_PROJECT:
                raise FieldErrors(
                    "base", [f"Maximum number of pipeline schedules ({MOST_OF_PROJECT}) exceeded"]
                )
            row = tx.add(Record(0, KIND, entry.project.id, "", data, now, now))
            return self._full(tx, row)

        return answer_json(await self.desk.services.db.write(add), 201)

    async def one(self, entry: Entry) -> Response:
        """With its last pipeline; variables only for its owner and maintainers."""

        def load(tx: Tx) -> Data:
            row = _schedule(tx, entry)
            return self._full(tx, row) if _may_change(entry, row) else self._shape(tx, row)

        return answer_json(await self.desk.services.db.read(load))

    async def change(self, entry: Entry) -> Response:
        """What is given; its next time follows."""
        now = self.desk.services.now()
        return await self._edit(entry, lambda data: _changed(data, entry.parameters, now))

    async def take(self, entry: Entry) -> Response:
        """From now on it runs in the name of who asks; maintainers and the owner may."""
        owner = entry.who.user.id
        return await self._edit(entry, lambda data: {**data, "owner_id": owner}, 201)

    async def delete(self, entry: Entry) -> Response:
        """Its pipelines stay."""

        def remove(tx: Tx) -> None:
            row = _changeable(tx, entry)
            entry.check_unmodified(row.updated_at)
            tx.remove(Record, row.id)

        await self.desk.services.db.write(remove)
        return Response(status_code=204)

    async def play(self, entry: Entry) -> Response:
        """At once, in the name of its owner's successor: who asks becomes the actor only of this pipeline."""
        services = self.desk.services
        row = await services.db.read(lambda tx: _schedule(tx, entry))
        acting = replace(row, data={**row.data, "owner_id": entry.who.user.id})
        run = await fire(services, acting, "")
        if run is None:
            fresh = await services.db.read(lambda tx: _schedule(tx, entry))
            raise Invalid(str(fresh.data.get("trouble") or "Unable to schedule pipeline run immediately"))
        return answer_json({"message": "201 Created"}, 201)

    async def pipelines(self, entry: Entry) -> Response:
        """What it has started, newest first (the last hundred)."""
        server = self.desk.services.server

        def load(tx: Tx) -> list[Data]:
            runs = (tx.get(Run, id) for id in _schedule(tx, entry).data.get("runs", ()))
            return [shapes.pipeline_basic(run, entry.project, server) for run in runs if run is not None]

        rows = await self.desk.services.db.read(load)
        if entry.parameters.text("sort") == "asc":
            rows.reverse()
        return self.desk.sliced(entry, rows, lambda body: body)

    async def add_variable(self, entry: Entry) -> Response:
        """`key`, `value`, `variable_type`."""
        given = entry.parameters
        key, value = given.required("key"), _value(given)

        def put(data: Data) -> Data:
            if any(v["key"] == key for v in data["variables"]):
                raise FieldErrors("key", [f"({key}) has already been taken"])
            if len(data["variables"]) >= MOST_VARIABLES:
                raise FieldErrors("base", [f"Maximum number of variables ({MOST_VARIABLES}) exceeded"])
            return {**data, "variables": [*data["variables"], self._sealed(given, key, value, {})]}

        return await self._edited_variable(entry, key, put, 201)

    async def variable(self, entry: Entry) -> Response:
        """One."""
        row = await self.desk.services.db.read(lambda tx: _changeable(tx, entry))
        return answer_json(self._variable(_named(row.data, entry.part("key"))))

    async def change_variable(self, entry: Entry) -> Response:
        """Value and type."""
        given, key = entry.parameters, entry.part("key")
        value = _value(given) if given.text("value") is not None else None

        def put(data: Data) -> Data:
            fresh = self._sealed(given, key, value, _named(data, key))
            return {**data, "variables": [fresh if v["key"] == key else v for v in data["variables"]]}

        return await self._edited_variable(entry, key, put, 200)

    async def delete_variable(self, entry: Entry) -> Response:
        """The variable as it was."""
        key = entry.part("key")

        def take(tx: Tx) -> Data:
            row = _changeable(tx, entry)
            found = _named(row.data, key)
            left = [v for v in row.data["variables"] if v["key"] != key]
            tx.save(replace(row, data={**row.data, "variables": left}))
            return self._variable(found)

        return answer_json(await self.desk.services.db.write(take), 202)

    async def _edit(self, entry: Entry, edit: Callable[[Data], Data], status: int = 200) -> Response:
        now = self.desk.services.now()

        def save(tx: Tx) -> Data:
            row = _changeable(tx, entry)
            row = replace(row, data=edit(dict(row.data)), updated_at=now)
            tx.save(row)
            return self._full(tx, row)

        return answer_json(await self.desk.services.db.write(save), status)

    async def _edited_variable(
        self, entry: Entry, key: str, edit: Callable[[Data], Data], status: int
    ) -> Response:
        def save(tx: Tx) -> Data:
            row = _changeable(tx, entry)
            data = edit(dict(row.data))
            tx.save(replace(row, data=data))
            return self._variable(_named(data, key))

        return answer_json(await self.desk.services.db.write(save), status)

    def _sealed(self, given: Parameters, key: str, value: str | None, before: Mapping[str, Any]) -> Data:
        if not KEY.fullmatch(key):
            raise FieldErrors("key", ["can contain only letters, digits and '_'."])
        sealed = before["value"] if value is None else self.desk.services.vault.seal(value)
        kind = given.choice("variable_type", TYPES, before.get("variable_type", "env_var"))
        raw = given.flag("raw")
        return {
            "key": key, "value": sealed, "variable_type": kind,
            "raw": before.get("raw", False) if raw is None else raw,
        }  # fmt: skip

    def _variable(self, item: Mapping[str, Any]) -> Data:
        value = self.desk.services.vault.open(item["value"])
        return {
            "variable_type": item["variable_type"],
            "key": item["key"],
            "value": value,
            "raw": item["raw"],
        }

    def _shape(self, tx: Tx, row: Record) -> Data:
        data, server = row.data, self.desk.services.server
        owner = tx.get(User, int(data["owner_id"]))
        return {
            "id": row.id, "description": data["description"], "ref": data["ref"], "cron": data["cron"],
            "cron_timezone": data["cron_timezone"], "next_run_at": shapes.when(data.get("next_run_at")),
            "active": data["active"], "created_at": shapes.when(row.created_at),
            "updated_at": shapes.when(row.updated_at), "owner": shapes.user(owner, server) if owner else None,
            "inputs": list(data.get("inputs", ())),
        }  # fmt: skip

    def _full(self, tx: Tx, row: Record) -> Data:
        runs, project = row.data.get("runs", ()), tx.get(Project, row.project_id or 0)
        last = tx.get(Run, runs[0]) if runs else None
        server = self.desk.services.server
        return {
            **self._shape(tx, row),
            "last_pipeline": shapes.pipeline_basic(last, project, server) if last and project else None,
            "variables": [self._variable(item) for item in row.data["variables"]],
        }


def _schedule(tx: Tx, entry: Entry) -> Record:
    row = tx.get(Record, entry.id("pipeline_schedule_id", "Pipeline Schedule"))
    if row is None or row.kind != KIND or row.project_id != entry.project.id:
        raise missing("Pipeline Schedule")
    return row


def _may_change(entry: Entry, row: Record) -> bool:
    """The owner while a developer, and maintainers."""
    role = entry.who.role_in(entry.project) or Role.NONE
    return role >= Role.MAINTAINER or (role >= Role.DEVELOPER and row.data["owner_id"] == entry.who.user.id)


def _changeable(tx: Tx, entry: Entry) -> Record:
    row = _schedule(tx, entry)
    if not _may_change(entry, row):
        raise Forbidden
    return row


def _named(data: Mapping[str, Any], key: str) -> Data:
    found = next((dict(v) for v in data["variables"] if v["key"] == key), None)
    if found is None:
        raise missing("Variable")
    return found


def _value(given: Parameters) -> str:
    value = given.text("value")
    if value is None:
        raise BadParameter("value is missing")
    if len(value.encode("utf-8", "surrogatepass")) > VALUE_BYTES or "\x00" in value:
        raise FieldErrors("value", ["is too long"])
    return value


def _changed(data: Data, given: Parameters, now: int) -> Data:
    """The schedule with what is given; a line or a zone that cannot be read is a field's error."""
    fresh = dict(data)
    for name, most in (("description", 255), ("ref", 1000), ("cron", 200), ("cron_timezone", 100)):
        if (text := given.text(name)) is not None:
            fresh[name] = text[:most]
    if (active := given.flag("active")) is not None:
        fresh["active"] = active
    check_ref(fresh["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/"))
    if given.values.get("inputs") is not None:
        fresh["inputs"] = _inputs(given)
    try:
        cron.check("* * * * *", fresh["cron_timezone"])
    except CronError:
        raise FieldErrors("cron_timezone", ["syntax is invalid"]) from None
    try:
        cron.check(fresh["cron"], fresh["cron_timezone"])
    except CronError:
        raise FieldErrors("cron", ["syntax is invalid"]) from None
    timed = any(given.text(name) is not None for name in ("cron", "cron_timezone", "active"))
    return {**fresh, "next_run_at": next_run_at(fresh, now)} if timed or "next_run_at" not in data else fresh


def _inputs(given: Parameters) -> list[Data]:
    """`inputs: [{name, value}]`, as GitLab's schedules take them."""
    items = given.values.get("inputs")
    if isinstance(items, Mapping):
        items = [{"name": name, "value": value} for name, value in items.items()]
    if not isinstance(items, list) or len(items) > 100:
        raise BadParameter("inputs is invalid")
    if not all(isinstance(i, Mapping) and isinstance(i.get("name"), str) for i in items):
        raise BadParameter("inputs is invalid")
    return [{"name": i["name"], "value": i.get("value")} for i in items if not i.get("destroy")]
