"""Starting pipelines with a trigger token, as webhooks and `glab ci run-trig` do. contracts/gitlab.md §1.3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.inputs import pipeline_variables
from runyard.dialects.gitlab.refusals import answer_json, missing
from runyard.dialects.gitlab.routes_pipelines import start
from runyard.engine.ports import Tx
from runyard.http.auth import hash_token, principal_in
from runyard.http.services import RunRequest
from runyard.model.errors import Invalid
from runyard.model.work import Token, User

MAP_EXPECTED = "variables needs to be a map of key-valued strings"


@dataclass(frozen=True, slots=True)
class Triggers:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table. The trigger routes check their own kind of token."""
        p = "/projects/{id}"
        return [
            Line("POST", f"{p}/triggers", Door.USER, self.create, "Create a trigger token"),
            Line("POST", f"{p}/trigger/pipeline", Door.OPEN, self.fire, "Trigger a pipeline with a token"),
            Line(
                "POST",
                f"{p}/ref/{{ref:path}}",
                Door.OPEN,
                self.fire_on_ref,
                "Trigger a pipeline with a token",
            ),
        ]

    async def create(self, entry: Entry) -> Response:
        """The token is shown this once."""
        services = self.desk.services
        text = services.new_token("glptt-")
        row = Token(
            id=0, kind="trigger", hash=hash_token(text), user_id=entry.who.user.id, project_id=entry.project.id,
            name=(entry.parameters.text("description") or "")[:255], created_at=services.now(),
        )  # fmt: skip
        stored = await services.db.write(lambda tx: tx.add(row))
        body = {
            "id": stored.id, "token": text, "description": stored.name, "created_at": shapes.when(stored.created_at),
            "updated_at": shapes.when(stored.created_at), "last_used": None, "expires_at": None,
            "owner": shapes.user(entry.who.user, services.server),
        }  # fmt: skip
        return answer_json(body, 201)

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
        actor, source = found
        variables = pipeline_variables(entry.parameters)
        request = RunRequest(entry.project, "gitlab", source, actor, ref, variables=variables)
        return answer_json(await self.bodies.pipeline(entry.project, await start(self.desk, request)), 201)

    def _caller(self, tx: Tx, text: str, entry: Entry) -> tuple[User, str] | None:
        """(whom the token acts for, the pipeline's source)."""
        if len(text) > 512:
            return None
        who: Any = principal_in(tx, text, self.desk.services.now()) if text.startswith("glcbt-") else None
        if who is not None:
            # Seeing a public project is not starting something in it (reliability.md §5 F4).
            is_own = who.attempt is not None and who.attempt.project_id == entry.project.id
            return (who.user, "pipeline") if is_own else None
        token = tx.token_by_hash(hash_token(text))
        if token is None or token.kind != "trigger" or token.revoked_at is not None:
            return None
        user = tx.get(User, token.user_id) if token.project_id == entry.project.id and token.user_id else None
        return (user, "trigger") if user else None
