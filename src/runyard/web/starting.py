"""The page that starts a run by hand, and what its form does. Mounted by routes; `offered` says what a branch
offers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from runyard.http.bodies import form
from runyard.http.problems import status_of
from runyard.http.services import Principal, Services
from runyard.http.session import same_origin, who
from runyard.model.errors import Forbidden, Invalid, NotFound, RunyardError, Unauthenticated
from runyard.model.work import Project
from runyard.web import offered, pages
from runyard.web.render import Templates

FORM_BYTES, MOST_REFS = 1 << 20, 1000


@dataclass(frozen=True, slots=True)
class Starting:
    """The two handlers."""

    services: Services
    templates: Templates
    makers: offered.Makers

    async def form(self, request: Request) -> Response:
        """What can be started by hand on a branch."""
        person = await who(self.services, request)
        project = await self._project(request, person)
        if person is None:
            return RedirectResponse("/sign-in?" + urlencode({"next": request.url.path}), 303)
        check(person, project)
        ref = request.query_params.get("ref", "").strip() or project.default_branch
        try:
            there = await offered.branch(self.services, self.makers, project, person, ref)
        except (NotFound, Invalid):
            missing = NotFound(f"There is no branch or tag {ref}. Push it first, or choose another.")
            return await self._page(request, person, project, ref, None, missing)
        return await self._page(request, person, project, ref, there)

    async def start(self, request: Request) -> Response:
        """Starts it; what is wrong with it is said above the form as it was filled in."""
        same_origin(request)
        person = await who(self.services, request)
        if person is None:
            raise Unauthenticated("Sign in to do this.")
        project = await self._project(request, person)
        check(person, project)
        given = await form(request, FORM_BYTES)
        ref = given.get("ref", "") or project.default_branch
        there = await offered.branch(self.services, self.makers, project, person, ref)
        try:
            run = await self.services.start(offered.request(project, person, there, given, ref))
        except Invalid as error:
            return await self._page(request, person, project, ref, there, error, given)
        return RedirectResponse(f"/{project.path}/-/pipelines/{run.id}", 303)

    async def _project(self, request: Request, person: Principal | None) -> Project:
        path = request.path_params["path"]
        return await self.services.db.read(lambda tx: pages.find_project(tx, person, path))

    async def _page(
        self,
        request: Request,
        person: Principal,
        project: Project,
        ref: str,
        there: offered.Branch | None,
        error: RunyardError | None = None,
        given: Mapping[str, str] | None = None,
    ) -> Response:
        source = self.services.source
        named = await asyncio.to_thread(lambda: [*source.branches(project.id), *source.tags(project.id)])
        problems = error.problems if isinstance(error, Invalid) else ()
        told = "\n".join(map(str, problems)) or (error.message if error is not None else "")
        facts: dict[str, Any] = {
            "project": project,
            "here": f"/{project.path}/-/pipelines",
            "refs": [name for name, _ in named[:MOST_REFS]],
            "ref": ref,
            "there": there,
            "problem": told,
            "given": given or {},
        }
        status = 200 if error is None else status_of(error)
        return self.templates.page(request, "start.html", person, status=status, **facts)


def check(person: Principal, project: Project) -> None:
    """Forbidden for those who see the project but run nothing in it."""
    if not pages.may_change(person, project):
        raise Forbidden(pages.NOT_YOURS)
