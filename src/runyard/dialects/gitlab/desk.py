"""The desk of the GitLab door: who asks, for which project, and how an answer leaves. Routes are a table of
`Line`s; each names whom it serves.

A handler runs only after its line's door has opened, so a route cannot forget to ask (reliability.md §5 F6).
Strangers learn nothing: without a token 401, with one that may not see it the same 404 as for what does not
exist.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from runyard.dialects.gitlab.asking import (
    Parameters,
    Window,
    cursor_for,
    id_of,
    parameters_of,
    time_of,
    token_in,
    window_of,
)
from runyard.dialects.gitlab.refusals import BadParameter, Outdated, answer_json, missing
from runyard.engine.ports import Tx
from runyard.http.auth import is_live, principal_in
from runyard.http.recall import FLEETING, Moment, Recall
from runyard.http.services import Principal, Services
from runyard.model.access import OPEN_TO_ALL, Role
from runyard.model.errors import Forbidden, Unauthenticated
from runyard.model.work import Attempt, Job, Project, Run, User

T = TypeVar("T")
_INTEGER = re.compile(r"-?[0-9]+")
SLASH = "\x1f"  # how an encoded slash travels through matching (see `paths`)
COUNTED = 10_000


class Door(Enum):
    """Whom a route serves."""

    OPEN = "open"  # its handler checks a token of its own kind (runners, triggers)
    USER = "user"
    USER_OR_JOB = "user or job"
    READER = "user, and anyone where the project is public"
    JOB_READER = "user or job, and anyone where the project is public"
    ADMIN = "admin"


@dataclass(slots=True)
class Entry:
    """A request that has passed its door."""

    request: Request
    parameters: Parameters
    token: str
    who: Principal
    project: Project  # of `{id}`; a placeholder with id 0 where the path names none
    moment: Moment = FLEETING
    found: Any = None  # what the line's `look` found

    def part(self, name: str) -> str:
        """A piece of the path, decoded."""
        return str(self.request.path_params[name]).replace(SLASH, "/")

    def id(self, name: str, thing: str) -> int:
        """A numeric piece of the path. What is no number is refused, as where GitLab declares an Integer;
        a number that no row can have does not exist."""
        text = self.part(name)
        if not _INTEGER.fullmatch(text):
            raise BadParameter(f"{name} is invalid")
        number = id_of(text)
        if number is None:
            raise missing(thing)
        return number

    def check_unmodified(self, changed_at: int) -> None:
        """Raises Outdated where `If-Unmodified-Since` names a time before `changed_at` (milliseconds); what
        is no time is no condition (GitLab: check_unmodified_since!)."""
        said = self.request.headers.get("if-unmodified-since", "")
        since = time_of(said)
        if since is not None and changed_at > since:
            raise Outdated


Handler = Callable[[Entry], Awaitable[Response]]
Look = Callable[[Tx, Entry], Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One route: method, path below /api/v4, whom it serves, who answers.

    `look` reads what the handler needs in the same look at the store that opened the door; where `glance`
    says that it is short, it is done without a hop to a reader thread (`Database.glance`).
    """

    method: str
    path: str
    door: Door
    handler: Handler
    summary: str = ""
    whole_body: bool = True  # False: the handler streams the body itself
    look: Look | None = None
    glance: Callable[[Parameters], bool] | None = None
    is_kept: bool = False  # its answer is made of request line, who asks, database and second alone
    role: Role | None = None  # the least role in the project; None: who may see it reads, developers write

    @property
    def least_role(self) -> Role:
        """The role that the line asks for."""
        if self.role is not None:
            return self.role
        return Role.NONE if self.method == "GET" else Role.DEVELOPER


_READERS = frozenset({Door.READER, Door.JOB_READER})
_JOBS = frozenset({Door.USER_OR_JOB, Door.JOB_READER})
NOBODY = Project(0, "")
_NO_USER = User(0, "")


@dataclass(frozen=True, slots=True)
class Desk:
    """What handlers share."""

    services: Services
    recall: Recall = field(default_factory=Recall)

    async def enter(self, line: Line, request: Request) -> Entry:
        """Opens the line's door or raises."""
        if line.whole_body:
            parameters = await parameters_of(request, self.services.settings.body_limit_bytes)
        else:
            parameters = Parameters(dict(request.query_params))
        token, as_job = token_in(request, parameters)
        named = request.path_params.get("id") if line.path.startswith("/projects/{id}") else None
        if line.door is Door.OPEN and named is None:
            return Entry(request, parameters, token, Principal(_NO_USER), NOBODY)

        db, now, moment = self.services.db, self.services.now(), self.moment()

        def open_door(tx: Tx) -> Entry:
            who, project = moment.of(
                ("door", id(line), token, as_job, named),
                lambda: self._admitted(tx, line, token, as_job, named),
            )
            if who.token is not None and not is_live(who.token, now):
                raise Unauthenticated
            entry = Entry(request, parameters, token, who, project, moment)
            if line.look is not None:
                entry.found = line.look(tx, entry)
            return entry

        is_short = line.look is None or (line.glance is not None and line.glance(parameters))
        return await (db.glance(open_door) if is_short else db.read(open_door))

    def moment(self) -> Moment:
        """Of the request that begins now."""
        return self.recall.moment(self.services.db.version(), self.services.now())

    def _admitted(
        self, tx: Tx, line: Line, token: str, as_job: bool, named: str | None
    ) -> tuple[Principal, Project]:
        who, project = self._look_up(tx, token, named)
        if who is not None and who.is_job != as_job:
            who = None  # a personal token is no job token, nor the other way round
        return self._judge(line, token, who, project, named)

    def _look_up(self, tx: Tx, token: str, named: str | None) -> tuple[Principal | None, Project | None]:
        who = principal_in(tx, token, self.services.now()) if 0 < len(token) <= 512 else None
        if named is None:
            return who, None
        path = named.replace(SLASH, "/")
        number = id_of(path)
        return who, tx.get(Project, number) if number is not None else tx.project_by_path(path)

    def _judge(
        self, line: Line, token: str, who: Principal | None, project: Project | None, named: str | None
    ) -> tuple[Principal, Project]:
        if line.door is Door.OPEN:
            if project is None:
                raise missing("Project")
            return who or Principal(_NO_USER), project
        if who is None:
            if line.door in _READERS and project is not None and project.visibility == "public" and not token:
                return Principal(_NO_USER), project
            raise Unauthenticated
        if who.is_job and line.door not in _JOBS:
            raise Unauthenticated
        if line.door is Door.ADMIN and not who.user.is_admin:
            raise Forbidden
        if named is None:
            return who, NOBODY
        if project is None or not who.may_see(project):
            raise missing("Project")
        if not who.is_job:
            check_role(who, project, line)
        return who, project

    async def attempt(self, entry: Entry, name: str = "job_id") -> tuple[Run, Job, Attempt]:
        """The job that the path names, in the entry's project."""
        number = entry.id(name, "Job")

        def load(tx: Tx) -> tuple[Run, Job, Attempt] | None:
            attempt = tx.get(Attempt, number)
            if attempt is None or attempt.project_id != entry.project.id:
                return None
            run, job = tx.get(Run, attempt.run_id), tx.get(Job, attempt.job_id)
            return (run, job, attempt) if run and job else None

        found = await self.services.db.read(load)
        if found is None:
            raise missing("Job")
        return found

    async def owned_attempt(self, entry: Entry) -> tuple[Run, Job, Attempt]:
        """The same for who would change it: Forbidden on a protected ref that is not for this person
        (GitLab's BuildPolicy, `protected_ref`)."""
        found = await self.attempt(entry)
        if not entry.who.may_run_on(entry.project, found[0].ref, found[0].tag):
            raise Forbidden
        return found

    async def owned_run(self, entry: Entry) -> Run:
        """The same of a pipeline (PipelinePolicy, `protected_ref`)."""
        run = await self.run(entry)
        if not entry.who.may_run_on(entry.project, run.ref, run.tag):
            raise Forbidden
        return run

    async def run(self, entry: Entry, name: str = "pipeline_id") -> Run:
        """The pipeline that the path names, in the entry's project."""
        number = entry.id(name, "Pipeline")
        run = await self.services.db.read(lambda tx: tx.get(Run, number))
        if run is None or run.project_id != entry.project.id:
            raise missing("Pipeline")
        return run

    def sliced(self, entry: Entry, rows: Sequence[T], shape: Callable[[T], Any]) -> Response:
        """A page of a short list that is read whole, counted."""
        window = window_of(entry.parameters)
        start = (window.page - 1) * window.per_page
        shown = [shape(row) for row in rows[start : start + window.per_page]]
        plain = replace(window, by_key=False)
        return self.listed(entry, plain, shown, 0, len(rows) > start + window.per_page, len(rows))

    def listed(
        self,
        entry: Entry,
        window: Window,
        rows: Sequence[Any],
        last_id: int,
        has_next: bool,
        total: int | None = None,
    ) -> Response:
        """A page with GitLab's headers. `total` None: a list that is never counted (job lists)."""
        headers = (
            self._keyset_headers(entry, last_id, has_next)
            if window.by_key
            else self._offset_headers(entry, window, has_next, total)
        )
        return answer_json(rows, headers=headers)

    def _keyset_headers(self, entry: Entry, last_id: int, has_next: bool) -> dict[str, str]:
        return {"Link": f'<{self._link(entry, cursor=cursor_for(last_id))}>; rel="next"'} if has_next else {}

    def _offset_headers(
        self, entry: Entry, window: Window, has_next: bool, total: int | None
    ) -> dict[str, str]:
        page = window.page
        headers = {
            "X-Per-Page": str(window.per_page),
            "X-Page": str(page),
            "X-Next-Page": str(page + 1) if has_next else "",
            "X-Prev-Page": str(page - 1) if page > 1 else "",
        }
        links = [("prev", page - 1)] if page > 1 else []
        links += [("next", page + 1)] if has_next else []
        links.append(("first", 1))
        if total is not None and total <= COUNTED:
            pages = max(1, -(-total // window.per_page))
            headers |= {"X-Total": str(total), "X-Total-Pages": str(pages)}
            links.append(("last", pages))
        size = str(window.per_page)
        headers["Link"] = ", ".join(
            f'<{self._link(entry, page=str(n), per_page=size)}>; rel="{rel}"' for rel, n in links
        )
        return headers

    def _link(self, entry: Entry, **changes: str) -> str:
        """Absolute, on the configured address: python-gitlab refuses to follow links to another host."""
        path = entry.request.scope.get("runyard.path", "")
        text = entry.request.scope["query_string"].decode("latin-1")
        if _PLAIN.fullmatch(text):  # what needs no decoding is passed on as it came
            parts = [part for part in text.split("&") if part]
            asked = [p for p in parts if (k := p.partition("=")[0]) not in changes and k not in _SECRET]
            query = "&".join([*asked, urlencode(changes)])
        else:
            items = entry.request.query_params.multi_items()
            query = urlencode(
                [*((k, v) for k, v in items if k not in changes and k not in _SECRET), *changes.items()]
            )
        return f"{self.services.server.url}{path}?{query}"


def check_role(who: Principal, project: Project, line: Line) -> None:
    """Forbidden below the line's role. What readers may read of a private project, everyone who sees it may
    of another."""
    least = line.least_role
    if project.visibility in OPEN_TO_ALL and line.door in _READERS:
        least = Role.NONE
    if (who.role_in(project) or Role.NONE) < least:
        raise Forbidden


_PLAIN = re.compile(r"[A-Za-z0-9_.~&=-]*")
_SECRET = frozenset({"private_token", "access_token", "job_token", "id_after", "id_before"})
