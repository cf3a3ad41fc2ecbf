"""The front desk of the Datafold door: who asks, what the body says. Every route goes through here; bodies
are read under a budget.

`Authorization: Key X` is the documented header; the bare key appears in the vendor's own examples, Bearer in
everybody's scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Path, Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from runyard.dialects.datafold import runs
from runyard.dialects.datafold.refusals import SchemaRefused
from runyard.engine.ports import Tx
from runyard.http.auth import scheme_token
from runyard.http.bodies import decode_json, whole
from runyard.http.services import Principal, Services
from runyard.model.errors import Forbidden, Invalid, NotFound, Unauthenticated
from runyard.model.work import Project, Record

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Desk:
    """Shared by all routes of the door."""

    services: Services

    async def person(self, request: Request) -> Principal:
        """Who asks. Job tokens open nothing here: a Datafold job needs no API."""
        header = request.headers.get("authorization", "")
        text = scheme_token(header, "key", "bearer", "token") or header.strip()
        found = await self.services.principal(text) if text and " " not in text else None
        if found is None or found.is_job:
            raise Unauthenticated("A valid API key is required: Authorization: Key <api-key>.")
        return found

    async def administrator(self, request: Request) -> Principal:
        """Connections and configurations reach into databases, so they are the operator's."""
        found = await self.person(request)
        if not found.user.is_admin:
            raise Forbidden("Only administrators may do this.")
        return found

    async def config(self, request: Request, id: int) -> Record:
        """The CI configuration that a URL names, for those who may see its repository."""
        return (await self._config(await self.person(request), id))[0]

    async def developer(self, request: Request, id: int) -> tuple[Principal, Record]:
        """The same for those who may start and stop there."""
        person = await self.person(request)
        owner, project = await self._config(person, id)
        if not person.may_run(project):
            raise Forbidden("Developers of the configuration's repository may do this.")
        return person, owner

    async def _config(self, person: Principal, id: int) -> tuple[Record, Project]:
        def look(tx: Tx) -> tuple[Record, Project]:
            owner = runs.config(tx, id)
            return owner, runs.repository(tx, owner)

        owner, project = await self.services.db.read(look)
        if not person.may_see(project):
            raise NotFound(f"There is no CI configuration {id}.")
        return owner, project

    async def json(self, request: Request) -> Any:
        """The body as strict JSON; 422 in FastAPI's shape when it is not."""
        data = await whole(request, self.services.settings.body_limit_bytes)
        if b"\\u0000" in data:  # databases refuse it late and badly
            raise SchemaRefused([{"loc": ["body"], "msg": "text may not contain NUL", "type": "value_error"}])
        try:
            return decode_json(data)
        except Invalid as error:
            raise SchemaRefused([{"loc": ["body"], "msg": error.message, "type": "json_invalid"}]) from None

    async def body(self, request: Request, model: type[M]) -> M:
        """The body as a model."""
        return validated(TypeAdapter(model), await self.json(request))

    async def bodies(self, request: Request, model: type[M], most: int) -> list[M]:
        """The body as a list of models."""
        value = await self.json(request)
        if isinstance(value, list) and len(value) > most:
            raise SchemaRefused([{"loc": ["body"], "msg": f"at most {most} items", "type": "too_long"}])
        return validated(TypeAdapter(list[model]), value)  # type: ignore[valid-type]


def validated(adapter: TypeAdapter[T], value: Any) -> T:
    """The value, or FastAPI's list of what is wrong with it."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        details = [
            {"loc": ["body", *e["loc"]], "msg": e["msg"], "type": e["type"]}
            for e in error.errors(include_url=False, include_context=False, include_input=False)[:100]
        ]
        raise SchemaRefused(details) from None
    except RecursionError:
        raise SchemaRefused([{"loc": ["body"], "msg": "nested too deeply", "type": "recursion"}]) from None
