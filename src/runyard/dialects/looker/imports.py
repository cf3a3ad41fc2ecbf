"""The projects that a LookML project imports, each pinned to one commit for the whole run. Called by
`starting` and by `reading`.

A `local_dependency` names a project here; a `remote_dependency` is found here by its address: our own, or the
one a project is mirrored from. A dependency that has no project here stays what the repository itself holds
under `imported_projects/`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runyard.dialects.looker.naming import find_project
from runyard.dialects.looker.refusals import invalid
from runyard.engine.access import standing
from runyard.engine.ports import Page, Tx
from runyard.http.services import Services
from runyard.model.access import OPEN_TO_ALL, Role, Standing
from runyard.model.trigger import Files
from runyard.model.work import Project, User
from runyard.tasks.lookml.language.project import from_texts

MANIFEST = "manifest.lkml"
MOST = 50
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")


@dataclass(frozen=True, slots=True)
class Dependency:
    """One dependency of a manifest. `url` and `ref` are a remote one's."""

    name: str
    url: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Pinned:
    """An import as the run sees it."""

    name: str
    project_id: int
    sha: str

    def option(self) -> dict[str, Any]:
        """As `compile` reads it."""
        return {"name": self.name, "project_id": self.project_id, "sha": self.sha}


def dependencies(files: Files) -> list[Dependency]:
    """What the manifest of a tree says it imports."""
    data = files.read(MANIFEST)
    if data is None:
        return []
    tree = from_texts([(MANIFEST, data)]).trees.get(MANIFEST)
    if tree is None:
        return []
    local = [Dependency(n.text("project")) for n in tree.all("local_dependency")]
    remote = [Dependency(n.value, n.text("url"), n.text("ref")) for n in tree.all("remote_dependency")]
    return [d for d in local + remote if NAME.fullmatch(d.name)][:MOST]


def asked(body: Mapping[str, Any]) -> dict[str, str]:
    """`project_imports` of a request: project → commit, branch or tag; an object may say it as `commit`,
    `ref` or `branch`."""
    given = body.get("project_imports")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > MOST:
        raise invalid("project_imports", f"project_imports must map at most {MOST} project names to commits.")
    found = {}
    for name, value in given.items():
        said = value
        if isinstance(value, dict):
            said = value.get("commit") or value.get("ref") or value.get("branch")
        if not isinstance(said, str) or not 0 < len(said) < 300 or not NAME.fullmatch(name):
            raise invalid("project_imports", f"project_imports: {name[:100]!r} must name a commit or branch.")
        found[name] = said
    return found


def home_of(tx: Tx, wanted: Dependency, server_url: str) -> Project | None:
    """The project here that a dependency means."""
    if not wanted.url:
        return find_project(tx, wanted.name)
    own = wanted.url.removeprefix(f"{server_url}/")
    if own != wanted.url:
        return tx.project_by_path(own.removesuffix(".git"))
    bare = wanted.url.removesuffix(".git")
    page = Page(limit=1000, descending=False)
    return next((p for p in tx.projects("", page) if p.import_url.removesuffix(".git") == bare), None)


Choose = Callable[[Dependency, Project], str]
"""The commit of an import, given its home, "" when it has none yet; or raises what the caller answers
then."""


async def gather(services: Services, actor: User, project: Project, sha: str, choose: Choose) -> list[Pinned]:
    """Every import of the commit that has a home here which the actor may read, also the imports of imports,
    each at one commit."""
    found: dict[str, Pinned] = {}
    todo = [(project.id, sha)]
    while todo and len(found) < MOST:
        files = await asyncio.to_thread(services.source.files, *todo.pop(0))
        wanted = [d for d in await asyncio.to_thread(dependencies, files) if d.name not in found]
        homes = await _homes(services, actor, wanted)
        for one, home in homes:
            chosen = await asyncio.to_thread(choose, one, home)
            found[one.name] = Pinned(one.name, home.id, chosen)
            todo += [(home.id, chosen)] if chosen else []
    return list(found.values())


async def _homes(
    services: Services, actor: User, wanted: list[Dependency]
) -> list[tuple[Dependency, Project]]:
    def work(tx: Tx) -> list[tuple[Dependency, Project]]:
        rights = standing(tx, actor, services.now())
        found = [(one, home_of(tx, one, services.server.url)) for one in wanted]
        return [(one, home) for one, home in found if home is not None and reads(rights, home)]

    return await services.db.read(work) if wanted else []


def reads(rights: Standing, project: Project) -> bool:
    """Whether someone may read a repository: reporters, and everyone where it is open."""
    role = rights.role_in(project)
    return role is not None and (project.visibility in OPEN_TO_ALL or role >= Role.REPORTER)
