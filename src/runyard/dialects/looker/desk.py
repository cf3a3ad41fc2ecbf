"""What every Looker route needs: the caller, the body as JSON whatever its Content-Type, the project, the
`fields` projection.

A Line is one endpoint; `mount` in `routes` makes the application of them. Paths are split at real slashes
before they are decoded, because the SDKs percent-encode the slash of `group/name`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from runyard.dialects.looker import imports, projection, sessions
from runyard.dialects.looker.errands import Errands
from runyard.dialects.looker.naming import find_project
from runyard.dialects.looker.reading import Reader
from runyard.dialects.looker.refusals import answer, invalid
from runyard.dialects.looker.sessions import Session
from runyard.engine.ports import Tx
from runyard.http.auth import scheme_token
from runyard.http.bodies import decode_json, whole
from runyard.http.services import Principal, Services
from runyard.model.access import Standing
from runyard.model.errors import Forbidden, Invalid, NotFound, TooLarge, Unauthenticated, Unavailable
from runyard.model.work import Project, User
from runyard.runner.sandbox.aside import Allowance, Aside, AsideError, AsideOverrun

ANSWERS = "runyard.tasks.lookml.answers"
ALLOWANCE = Allowance()
SLASH = "\x1f"
"""Stands for an encoded slash inside a path segment while the router looks at it."""


@dataclass(frozen=True, slots=True)
class Office:
    """What outlives a request: the services, LookML that was read, queries that run."""

    services: Services
    reader: Reader
    errands: Errands
    aside: Aside


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, read."""

    office: Office
    request: Request
    raw: bytes
    body: Mapping[str, Any]
    params: Mapping[str, str]
    query: Mapping[str, str]
    principal: Principal | None

    @property
    def services(self) -> Services:
        """The server's."""
        return self.office.services

    @property
    def user(self) -> User:
        """Who asks; Unauthenticated when nobody."""
        if self.principal is None:
            raise Unauthenticated
        return self.principal.user

    def admin(self) -> User:
        """Who asks, if an administrator."""
        if not self.user.is_admin or (self.principal and self.principal.is_job):
            raise Forbidden("Only an administrator may do this.")
        return self.user

    def writer(self) -> User:
        """Who asks, if a person: a job's token reads only."""
        if self.principal and self.principal.is_job:
            raise Forbidden("A job token only reads.")
        return self.user

    @property
    def session_key(self) -> str:
        """The name of this session's state."""
        return sessions.key_of(self.principal.token if self.principal else None, self.user)

    async def aside(self, question: str, **facts: Any) -> Any:
        """What the LookML task answers in a process of its own (tasks/lookml/answers.py); TooLarge when it
        takes too long, Unavailable without one."""
        try:
            return await self.office.aside.ask(ANSWERS, {"question": question, **facts}, ALLOWANCE)
        except AsideOverrun as problem:
            raise TooLarge(f"This cannot be answered at once ({problem}); run it as a suite.") from None
        except AsideError as problem:
            raise Unavailable(f"The answer was not found: {problem}. Try again shortly.") from None

    async def session(self) -> Session:
        """What this session sees."""
        key = self.session_key
        return await self.services.db.read(lambda tx: sessions.load(tx, key))

    async def change_session(self, change: Callable[[Session], Session]) -> Session:
        """Changes the session's state in one transaction."""
        key, now = self.session_key, self.services.now()

        def work(tx: Tx) -> Session:
            after = change(sessions.load(tx, key))
            sessions.store(tx, key, after, now)
            return after

        return await self.services.db.write(work)

    def answer(self, body: Any, status: int = 200) -> Response:
        """JSON under the request's `fields`."""
        return answer(projection.project(body, projection.parse(self.query.get("fields", ""))), status)

    async def project(self) -> Project:
        """The project of the path: a numeric id, `group/name`, or a name that only one project ends with."""
        wanted = self.params["project_id"]
        found = await self.services.db.read(lambda tx: find_project(tx, wanted))
        if found is None or self.principal is None or not self.principal.may_see(found):
            raise NotFound
        if self.request.method != "GET" and not self.principal.may_run(found):
            raise Forbidden("Developers of this project may do this.")
        return found

    def reads(self, project: Project) -> bool:
        """Whether the caller may read the project's files: reporters and above, and jobs that may see it."""
        who = self.principal
        if who is None or not who.may_see(project):
            return False
        return who.is_job or imports.reads(who.standing or Standing(who.user), project)

    async def repository(self) -> Project:
        """The project of the path, for those who may read its files."""
        found = await self.project()
        if not self.reads(found):
            raise Forbidden("Reporters of this project may read its repository.")
        return found

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number of the query within bounds."""
        text = self.query.get(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise invalid(name, f"{name} must be a whole number from {low} to {high}.")
        return int(text)


Endpoint = Callable[[Ask], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Line:
    """One endpoint; `public` ones need no token."""

    method: str
    path: str
    endpoint: Endpoint
    public: bool = False


async def enter(office: Office, line: Line, request: Request) -> Response:
    """Reads the request and asks the endpoint."""
    services = office.services
    token = scheme_token(request.headers.get("authorization", ""), "bearer", "token")
    principal = await services.principal(token) if token else None
    if principal is None and not line.public:
        raise Unauthenticated
    data = await whole(request, services.settings.body_limit_bytes)
    params = {k: str(v).replace(SLASH, "/") for k, v in request.path_params.items()}
    query = {k: v for k, v in request.query_params.items() if "\0" not in v}
    return await line.endpoint(Ask(office, request, data, read_body(data), params, query, principal))


def read_body(data: bytes) -> Mapping[str, Any]:
    """JSON when it looks like JSON, whatever the Content-Type says (the Python SDK mislabels its first body,
    looker.md §2.1); else a form."""
    start = data.lstrip()[:1]
    if not start:
        return {}
    if start not in (b"{", b"["):
        return form(data)
    found = decode_json(data)
    if not isinstance(found, dict):
        raise Invalid("The body must be a JSON object.")
    return found


def form(data: bytes) -> Mapping[str, str]:
    """`a=b&c=d`."""
    try:
        pairs = parse_qs(data.decode(), max_num_fields=100, strict_parsing=True)
    except ValueError:
        raise Invalid("The body is neither JSON nor a form.") from None
    return {name: values[-1] for name, values in pairs.items()}
