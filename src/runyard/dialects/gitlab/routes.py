"""Every route of the GitLab door as one table, mounted as an ASGI application under /api/v4. Called by app
through the Dialect value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import Request
from starlette.responses import Response

from runyard.dialects import Asgi
from runyard.dialects.gitlab.desk import Desk, Line
from runyard.dialects.gitlab.dispatching import Dispatcher
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.openapi import document
from runyard.dialects.gitlab.paths import SegmentPaths
from runyard.dialects.gitlab.refusals import answer_json
from runyard.dialects.gitlab.routes_artifacts import Artifacts
from runyard.dialects.gitlab.routes_edits import Edits
from runyard.dialects.gitlab.routes_environments import Environments
from runyard.dialects.gitlab.routes_fleet import Fleet
from runyard.dialects.gitlab.routes_groups import Groups
from runyard.dialects.gitlab.routes_identity import Discovery
from runyard.dialects.gitlab.routes_jobs import Jobs
from runyard.dialects.gitlab.routes_lint import Lint
from runyard.dialects.gitlab.routes_members import Members
from runyard.dialects.gitlab.routes_merge_requests import MergeRequests
from runyard.dialects.gitlab.routes_meta import Meta
from runyard.dialects.gitlab.routes_people import People
from runyard.dialects.gitlab.routes_pipelines import Pipelines
from runyard.dialects.gitlab.routes_projects import Projects
from runyard.dialects.gitlab.routes_protection import ProtectedRefs
from runyard.dialects.gitlab.routes_repository import Repository
from runyard.dialects.gitlab.routes_runner import RunnerProtocol
from runyard.dialects.gitlab.routes_schedules import Schedules
from runyard.dialects.gitlab.routes_scope import Scope
from runyard.dialects.gitlab.routes_statuses import Statuses
from runyard.dialects.gitlab.routes_transfer import Transfer
from runyard.dialects.gitlab.routes_triggers import Triggers
from runyard.dialects.gitlab.routes_variables import Variables
from runyard.dialects.gitlab.routes_visits import Visitors
from runyard.http.identity import Identity
from runyard.http.services import Services

PREFIX = "/api/v4"


def mount(services: Services) -> Asgi:
    """The ASGI application."""
    desk = Desk(services)
    lines = table(desk)

    async def openapi(request: Request) -> Response:
        return answer_json(document(lines, PREFIX, services.server.version))

    plain = {f"{PREFIX}/openapi.json": openapi, **Discovery(services, Identity(services.vault)).routes()}
    return SegmentPaths(Dispatcher(desk, PREFIX, lines, plain))


def table(desk: Desk) -> list[Line]:
    """All lines."""
    bodies = Bodies(desk.services)
    nouns: Sequence[Callable[[], list[Line]]] = [
        Jobs(desk, bodies).lines,
        Artifacts(desk, bodies).lines,
        Pipelines(desk, bodies).lines,
        Projects(desk).lines,
        ProtectedRefs(desk).lines,
        Repository(desk, bodies).lines,
        Variables(desk).lines,
        Triggers(desk, bodies).lines,
        Lint(desk).lines,
        Meta(desk, bodies).lines,
        People(desk).lines,
        Fleet(desk, bodies).lines,
        Edits(desk).lines,
        Environments(desk, bodies).lines,
        Groups(desk).lines,
        Members(desk).lines,
        MergeRequests(desk, bodies).lines,
        Schedules(desk).lines,
        Scope(desk, bodies).lines,
        Statuses(desk).lines,
        RunnerProtocol(desk, Identity(desk.services.vault)).lines,
        Transfer(desk).lines,
        Visitors(desk).lines,
    ]
    return [line for noun in nouns for line in noun()]
