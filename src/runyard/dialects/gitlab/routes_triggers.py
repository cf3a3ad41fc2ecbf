"""Starting pipelines with a trigger token, as webhooks and `glab ci run-trig` do. contracts/gitlab.md
§1.3."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import TEXT_CHARS
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.inputs import pipeline_inputs, pipeline_variables
from runyard.dialects.gitlab.refusals import answer_json, missing
from runyard.dialects.gitlab.routes_pipelines import start
from runyard.engine.access import standing
from runyard.engine.ports import Page, Tx
from runyard.http.auth import hash_token, principal_in
from runyard.http.services import Principal, RunRequest
from runyard.model.access import Role
from runyard.model.errors import Invalid
from runyard.model.work import Project, Record, Run, Token, User

MOST = Page(limit=1_000, descending=False)
SHORT = 10  # "glptt-" and four characters: enough to tell tokens apart
NOTES = "gitlab.trigger_notes"
MAP_EXPECTED = "variables needs to be a map of key-valued strings"


@dataclass(frozen=True, slots=True)
class Triggers:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table. The trigger routes check their own kind of token."""
        p = "/projects/{id}"
        one = f"{p}/triggers/{{trigger_id}}"
        return [
            Line("GET", f"{p}/triggers", Door.USER, self.list, "List trigger tokens", role=Role.MAINTAINER),
            Line(
                "POST",
                f"{p}/triggers",
                Door.USER,
                self.create,
                "Create a trigger token",
                role=Role.MAINTAINER,
            ),
            Line("GET", one, Door.USER, self.one, "Get a trigger token", role=Role.MAINTAINER),
            Line("PUT", one, Door.USER, self.change, "Describe a trigger token", role=Role.MAINTAINER),
            Line("DELETE", one, Door.USER, self.delete, "Delete a trigger token", role=Role.MAINTAINER),
            Line("POST", f"{p}/trigger/pipeline", Door.OPEN, self.fire, "Trigger a pipeline with a token"),
            Line(
                "POST",
                f"{p}/ref/{{ref:path}}",
                Door.OPEN,
                self.fire_on_ref,
                "Trigger a pipeline with a token",
            ),
        ]

    async def list(self, entry: Entry) -> Response:
        """All of the project; of the token only its first four characters."""

        def load(tx: Tx) -> list[dict[str, Any]]:
            rows = tx.find(Token, MOST, project_id=entry.project.id)
            live = [row for row in rows if row.kind == "trigger" and row.revoked_at is None]
            return [self._body(tx, row) for row in live]

        return self.desk.sliced(entry, await self.desk.services.db.read(load), lambda body: body)

    async def create(self, entry: Entry) -> Response:
        """The token is shown this once."""
        services, description = self.desk.services, entry.parameters.required("description", TEXT_CHARS)
        text = services.new_token("glptt-")
        row = Token(
            id=0, kind="trigger", hash=hash_token(text), user_id=entry.who.user.id, project_id=entry.project.id,
            name=description, scopes=(text[:SHORT],), created_at=services.now(),
        )  # fmt: skip
        stored = await services.db.write(lambda tx: tx.add(row))
        return answer_json({**self._shape(stored, entry.who.user, {}), "token": text}, 201)

    async def one(self, entry: Entry) -> Response:
        """One."""
        return answer_json(await self.desk.services.db.read(lambda tx: self._body(tx, _trigger(tx, entry))))

    async def change(self, entry: Entry) -> Response:
        """Its description."""
        now = self.desk.services.now()

        def save(tx: Tx) -> dict[str, Any]:
            row = _trigger(tx, entry)
            row = replace(row, name=entry.parameters.limited("description") or row.name)
            tx.save(row)
            _note(tx, row.project_id, row.id, "changed_at", now)
            return self._body(tx, row)

        return answer_json(await self.desk.services.db.write(save))

    async def delete(self, entry: Entry) -> Response:
        """It opens nothing any more."""

        def remove(tx: Tx) -> None:
            row = _trigger(tx, entry)
            noted = _noted(tx, row.project_id, row.id)
            entry.check_unmodified(_changed_at(row, noted.data if noted else {}))
            if noted is not None:
                tx.remove(Record, noted.id)
            tx.remove(Token, row.id)

        await self.desk.services.db.write(remove)
        return Response(status_code=204)

    def _body(self, tx: Tx, row: Token) -> dict[str, Any]:
        noted = _noted(tx, row.project_id, row.id)
        return self._shape(row, tx.get(User, row.user_id or 0), noted.data if noted else {})

    def _shape(self, row: Token, owner: User | None, noted: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": row.id, "token": row.scopes[0] if row.scopes else "", "description": row.name,
            "created_at": shapes.when(row.created_at), "updated_at": shapes.when(_changed_at(row, noted)),
            "last_used": shapes.when(noted.get("used_at")), "expires_at": shapes.when(row.expires_at),
            "owner": shapes.user(owner, self.desk.services.server) if owner else None,
        }  # fmt: skip

    async def fire(self, entry: Entry) -> Response:
        """`ref`, `token`, `variables` as a map."""
        return await self._fire(entry, entry.parameters.required("ref"))

    async def fire_on_ref(self, entry: Entry) -> Response:
        """`/ref/<ref>/trigger/pipeline`."""
        ref = entry.part("ref")
        if not ref.endswith("/trigger/pipeline"):
            raise missing("Route")
        return await self._fire(entry, ref.removesuffix("/trigger/pipeline"))

    async def _fire(self, entry: Entry, ref: str) -> Response:
        given = entry.parameters.values.get("variables", {})
        if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
            raise Invalid(MAP_EXPECTED)
        text = entry.parameters.required("token")
        found = await self.desk.services.db.read(lambda tx: self._caller(tx, text, entry))
        if found is None:
            raise missing("Project")  # the same words for a wrong token and for no such project
        actor, source, told = found
        variables, inputs = pipeline_variables(entry.parameters), pipeline_inputs(entry.parameters)
        if told:
            payload = {k: v for k, v in entry.parameters.values.items() if k != "token"}
            told = {**told, "payload": json.dumps(payload, default=str)}
        request = RunRequest(
            entry.project, "gitlab", source, actor, ref, variables=variables, inputs=inputs,
            options={"trigger": told} if told else {},
        )  # fmt: skip
        run = await start(self.desk, request)
        if told:
            await self.desk.services.db.write(
                lambda tx: _note(tx, run.project_id, told["id"], "used_at", run.created_at)
            )
        return answer_json(await self.bodies.pipeline(entry.project, run), 201)

    def _caller(self, tx: Tx, text: str, entry: Entry) -> tuple[User, str, dict[str, Any]] | None:
        """(whom the token acts for, the pipeline's source, what the pipeline may know of the trigger)."""
        if len(text) > 512:
            return None
        now = self.desk.services.now()
        who = principal_in(tx, text, now) if text.startswith("glcbt-") else None
        if who is not None and who.attempt is not None:
            may = _lets_in(tx, who, entry.project) and _runs(who.role_in(entry.project))
            return (who.user, "pipeline", {}) if may else None
        token = tx.token_by_hash(hash_token(text))
        if token is None or token.kind != "trigger" or token.revoked_at is not None:
            return None
        user = tx.get(User, token.user_id) if token.project_id == entry.project.id and token.user_id else None
        if user is None or not _runs(standing(tx, user, now).role_in(entry.project)):
            return None  # its owner has left the project
        return user, "trigger", {"id": token.id, "short_token": token.scopes[0] if token.scopes else ""}


def _lets_in(tx: Tx, who: Principal, project: Project) -> bool:
    """Whether a job of these may start pipelines here at all. Seeing a public project is not starting
    something in it (reliability.md §5 F4): the job's own project, or one that lets its jobs in. A job whose
    dialect hands rights to each token (Actions' `permissions`) needs the one to steer runs."""
    assert who.attempt is not None  # noqa: S101 - the caller looked
    run = tx.get(Run, who.attempt.run_id)
    if run is None or not (run.dialect == "gitlab" or who.steers):
        return False
    return who.attempt.project_id == project.id or who.is_let_in(project)


def _runs(role: Role | None) -> bool:
    return role is not None and role >= Role.DEVELOPER


def _noted(tx: Tx, project_id: int | None, trigger_id: int) -> Record | None:
    """When a trigger token was changed and used, which its row does not tell."""
    found = tx.records(NOTES, project_id, str(trigger_id), Page(limit=1))
    return found[0] if found else None


def _changed_at(row: Token, noted: Mapping[str, Any]) -> int:
    return int(noted.get("changed_at", row.created_at))


def _note(tx: Tx, project_id: int | None, trigger_id: int, what: str, now: int) -> None:
    blank = Record(0, NOTES, project_id, str(trigger_id), {}, now, now)
    row = _noted(tx, project_id, trigger_id) or tx.add(blank)
    tx.save(replace(row, data={**row.data, what: now}, updated_at=now))


def _trigger(tx: Tx, entry: Entry) -> Token:
    row = tx.get(Token, entry.id("trigger_id", "Trigger"))
    if (
        row is None
        or row.kind != "trigger"
        or row.project_id != entry.project.id
        or row.revoked_at is not None
    ):
        raise missing("Trigger")
    return row
