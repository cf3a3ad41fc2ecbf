"""Protected branches and tags: whose pushes they take, and that protected variables and runners are for them.
Pure.

Rules live in `Project.extra["protected_refs"]` = {"branches": {name: {"push": level, "merge": level, "force":
bool}}, "tags": {name: {"push": level}}}; in a name `*` stands for any text (GitLab:
doc/user/project/repository/branches/protected.md). Where nothing was ever said of branches the default branch
is protected, open to developers. Of several rules that fit the most permissive counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from runyard.model.access import Role
from runyard.model.variants import stars_match
from runyard.model.work import Project

KEY = "protected_refs"
BRANCHES, TAGS = "branches", "tags"
NOBODY, ADMINISTRATORS = 0, 60
LEVELS = frozenset({NOBODY, Role.DEVELOPER, Role.MAINTAINER, ADMINISTRATORS})


@dataclass(frozen=True, slots=True)
class Protection:
    """One rule. `push` and `merge` are the least levels (of a tag `push`: to create it); 0 is nobody.
    `force`: history may be rewritten."""

    name: str
    push: int = Role.MAINTAINER
    merge: int = Role.MAINTAINER
    force: bool = False


def rules(project: Project, kind: str) -> tuple[Protection, ...]:
    """Of branches or of tags, by name."""
    told = project.extra.get(KEY, {}).get(kind)
    if told is None:
        if kind == TAGS:
            return ()
        return (Protection(project.default_branch, Role.DEVELOPER, Role.DEVELOPER, force=True),)
    return tuple(
        Protection(name, rule["push"], rule.get("merge", 0), rule.get("force", False))
        for name, rule in sorted(told.items())
    )


def with_rules(project: Project, kind: str, kept: Iterable[Protection]) -> Project:
    """The project with exactly these."""
    told: dict[str, Any] = {r.name: {"push": r.push, "merge": r.merge, "force": r.force} for r in kept}
    return replace(project, extra={**project.extra, KEY: {**project.extra.get(KEY, {}), kind: told}})


def fitting(project: Project, ref: str, tag: bool) -> list[Protection]:
    """The rules that hold for a branch or tag."""
    return [rule for rule in rules(project, TAGS if tag else BRANCHES) if stars_match(rule.name, ref)]


def is_protected(project: Project, ref: str, tag: bool = False) -> bool:
    """Whether protected variables and runners are for this branch or tag (short name)."""
    return bool(fitting(project, ref, tag))


def may_push(project: Project, ref: str, tag: bool, role: int, is_admin: bool) -> bool:
    """Whether a protected ref takes this person's push; what is not protected takes every developer's."""
    found = fitting(project, ref, tag)
    return not found or any(_reaches(rule.push, role, is_admin) for rule in found)


def may_run(project: Project, ref: str, tag: bool, role: int, is_admin: bool) -> bool:
    """Whether this person may start a run there: who pushes to it or merges into it."""
    found = fitting(project, ref, tag)
    return not found or any(
        _reaches(level, role, is_admin) for rule in found for level in (rule.push, rule.merge)
    )


def may_force(project: Project, ref: str) -> bool:
    """Whether the branch's history may be rewritten."""
    found = fitting(project, ref, False)
    return not found or any(rule.force for rule in found)


def _reaches(level: int, role: int, is_admin: bool) -> bool:
    return level != NOBODY and (role >= level or (is_admin and level <= ADMINISTRATORS))
