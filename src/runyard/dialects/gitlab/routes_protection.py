"""Protected branches and tags: list, one, protect, change, unprotect. GitLab's Protected branches API and
Protected tags API; `model.protection` obeys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import Parameters
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import BadParameter, answer_json, missing
from runyard.engine.access import standing
from runyard.engine.ports import Tx
from runyard.http.services import RunRequest, Services
from runyard.model import protection
from runyard.model.access import Role
from runyard.model.errors import Conflict, Invalid, NotFound
from runyard.model.protection import ADMINISTRATORS, BRANCHES, LEVELS, NOBODY, TAGS, Protection
from runyard.model.work import Project

MOST_RULES = 200
LONGEST_NAME = 255
SAID = {NOBODY: "No one", 30: "Developers + Maintainers", 40: "Maintainers", ADMINISTRATORS: "Administrators"}
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProtectedRefs:
    """Handlers. Developers look, maintainers protect."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        branches, tags = "/projects/{id}/protected_branches", "/projects/{id}/protected_tags"
        look, keep = Role.DEVELOPER, Role.MAINTAINER
        return [
            Line("GET", branches, Door.USER, self.branches, "List protected branches", role=look),
            Line("POST", branches, Door.USER, self.protect_branch, "Protect a branch or a wildcard", role=keep),
            Line("GET", f"{branches}/{{name}}", Door.USER, self.branch, "Get a protected branch", role=look),
            Line("PATCH", f"{branches}/{{name}}", Door.USER, self.change_branch, "Change a protected branch", role=keep),
            Line("DELETE", f"{branches}/{{name}}", Door.USER, self.unprotect_branch, "Unprotect a branch", role=keep),
            Line("GET", tags, Door.USER, self.tags, "List protected tags", role=look),
            Line("POST", tags, Door.USER, self.protect_tag, "Protect a tag or a wildcard", role=keep),
            Line("GET", f"{tags}/{{name}}", Door.USER, self.tag, "Get a protected tag", role=look),
            Line("DELETE", f"{tags}/{{name}}", Door.USER, self.unprotect_tag, "Unprotect a tag", role=keep),
        ]  # fmt: skip

    async def branches(self, entry: Entry) -> Response:
        """By name; `search` narrows."""
        return self._listed(entry, BRANCHES)

    async def tags(self, entry: Entry) -> Response:
        """By name."""
        return self._listed(entry, TAGS)

    def _listed(self, entry: Entry, kind: str) -> Response:
        search = entry.parameters.text("search") or ""
        kept = [rule for rule in protection.rules(entry.project, kind) if search in rule.name]
        return self.desk.sliced(entry, kept, lambda rule: _shape(entry.project, kind, rule))

    async def branch(self, entry: Entry) -> Response:
        """By its name or wildcard."""
        return answer_json(_shape(entry.project, BRANCHES, _named(entry.project, BRANCHES, entry)))

    async def tag(self, entry: Entry) -> Response:
        """By its name or wildcard."""
        return answer_json(_shape(entry.project, TAGS, _named(entry.project, TAGS, entry)))

    async def protect_branch(self, entry: Entry) -> Response:
        """`name`, `push_access_level`, `merge_access_level`, `allow_force_push`."""
        return await self._protect(entry, BRANCHES, _branch_rule(Protection(_name(entry)), entry.parameters))

    async def protect_tag(self, entry: Entry) -> Response:
        """`name`, `create_access_level`."""
        level = _level(entry.parameters, "create_access_level", Role.MAINTAINER)
        return await self._protect(entry, TAGS, Protection(_name(entry), level))

    async def _protect(self, entry: Entry, kind: str, rule: Protection) -> Response:
        def add(row: Project) -> Project:
            known = protection.rules(row, kind)
            if any(one.name == rule.name for one in known):
                thing = "branch" if kind == BRANCHES else "tag"
                raise Conflict(f"Protected {thing} '{rule.name}' already exists")
            if len(known) >= MOST_RULES:
                raise Invalid(f"A project has at most {MOST_RULES} protected {kind}")
            return protection.with_rules(row, kind, [*known, rule])

        await self._save(entry, add)
        return answer_json(_shape(entry.project, kind, rule), 201)

    async def change_branch(self, entry: Entry) -> Response:
        """`allow_force_push`, and the levels."""

        def edit(row: Project) -> Project:
            known = _named(row, BRANCHES, entry)
            fresh = _branch_rule(known, entry.parameters)
            rules = (fresh if one == known else one for one in protection.rules(row, BRANCHES))
            return protection.with_rules(row, BRANCHES, rules)

        project = await self._save(entry, edit)
        return answer_json(_shape(project, BRANCHES, _named(project, BRANCHES, entry)))

    async def unprotect_branch(self, entry: Entry) -> Response:
        """The default branch's protection can go too."""
        return await self._unprotect(entry, BRANCHES)

    async def unprotect_tag(self, entry: Entry) -> Response:
        """The tags stay."""
        return await self._unprotect(entry, TAGS)

    async def _unprotect(self, entry: Entry, kind: str) -> Response:
        def drop(row: Project) -> Project:
            known = _named(row, kind, entry)
            return protection.with_rules(row, kind, [r for r in protection.rules(row, kind) if r != known])

        await self._save(entry, drop)
        return Response(status_code=204)

    async def _save(self, entry: Entry, edit: Callable[[Project], Project]) -> Project:
        def save(tx: Tx) -> Project:
            row = tx.get(Project, entry.project.id)
            if row is None:
                raise missing("Project")
            fresh = edit(row)
            tx.save(fresh)
            return fresh

        return await self.desk.services.db.write(save)


async def may_start(services: Services, request: RunRequest) -> bool:
    """Whether the actor may start runs on the ref. A ref that is not there is for `start` to complain
    about."""
    project = request.project
    if not project.extra.get(protection.KEY):
        return True  # the default branch takes every developer's
    try:
        _, ref, tag = await asyncio.to_thread(
            services.source.resolve, project.id, request.ref or project.default_branch
        )
    except (NotFound, Invalid):
        return True
    who = await services.db.read(lambda tx: standing(tx, request.actor, services.now()))
    role = who.role_in(project) or Role.NONE
    return protection.may_run(project, ref, tag, role, request.actor.is_admin)


def refused_run(ref: str | None) -> str:
    """GitLab's words for a pipeline that one may not start there."""
    return (
        f"You do not have sufficient permission to run a pipeline on '{ref}'. Please select a different branch"
        " or contact your administrator for assistance."
    )


def _name(entry: Entry) -> str:
    name = entry.parameters.required("name")
    if not name or len(name) > LONGEST_NAME or any(not c.isprintable() for c in name):
        raise BadParameter(f"name should have 1 to {LONGEST_NAME} characters")
    return name


def _named(project: Project, kind: str, entry: Entry) -> Protection:
    name = entry.part("name")
    for rule in protection.rules(project, kind):
        if rule.name == name:
            return rule
    raise missing("Protected Branch" if kind == BRANCHES else "Protected Tag")


def _branch_rule(rule: Protection, given: Parameters) -> Protection:
    force = given.flag("allow_force_push")
    return replace(
        rule,
        push=_level(given, "push_access_level", rule.push),
        merge=_level(given, "merge_access_level", rule.merge),
        force=rule.force if force is None else force,
    )


def _level(given: Parameters, name: str, default: int) -> int:
    level = given.number(name)
    if level is None:
        return default
    if level not in LEVELS:
        raise BadParameter(f"{name} does not have a valid value")
    return level


def _shape(project: Project, kind: str, rule: Protection) -> Data:
    """ProtectedBranch or ProtectedTag."""
    if kind == TAGS:
        return {"name": rule.name, "create_access_levels": [_access(project, rule, rule.push, "create")]}
    return {
        "id": shapes.stable_id(project.id, f"{kind}/{rule.name}"),
        "name": rule.name,
        "push_access_levels": [_access(project, rule, rule.push, "push")],
        "merge_access_levels": [_access(project, rule, rule.merge, "merge")],
        "allow_force_push": rule.force,
        "unprotect_access_levels": [],
        "code_owner_approval_required": False,
        "inherited": False,
    }


def _access(project: Project, rule: Protection, level: int, what: str) -> Data:
    return {
        "id": shapes.stable_id(project.id, f"{what}/{rule.name}"),
        "access_level": level,
        "access_level_description": SAID[level],
        "deploy_key_id": None,
        "user_id": None,
        "group_id": None,
    }
