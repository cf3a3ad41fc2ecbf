"""Who may do what in a project: roles, and a person's standing made of memberships. Pure; `engine.access`
reads the rows.

Levels and their meaning are GitLab's (doc/user/permissions.md): guests see runs and logs, reporters the
repository too, developers run and stop, maintainers configure, owners delete. An administrator is an owner
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from runyard.model.work import Project, User


class Role(IntEnum):
    """GitLab's access levels. NONE: no member, but may see it because everybody may."""

    NONE = 0
    GUEST = 10
    PLANNER = 15
    REPORTER = 20
    DEVELOPER = 30
    MAINTAINER = 40
    OWNER = 50


NOBODY = 100  # more than any role
OPEN_TO_ALL = frozenset({"public", "internal"})


@dataclass(frozen=True, slots=True)
class Standing:
    """A person's roles: by project id, and by group path (lower case); a group's role reaches everything
    below it."""

    user: User
    projects: Mapping[int, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)

    def role_in(self, project: Project) -> Role | None:
        """The highest role; None where the person may not even know of the project."""
        role = max(self.role_under(project.path.rpartition("/")[0]), Role(self.projects.get(project.id, 0)))
        if role is Role.NONE and project.visibility not in OPEN_TO_ALL:
            return None
        return role

    def role_under(self, group_path: str) -> Role:
        """The role in a group, its ancestors' included. Everyone owns the namespace of their own name."""
        if self.user.is_admin:
            return Role.OWNER
        path = group_path.lower()
        if self.user.username and path.partition("/")[0] == self.user.username.lower():
            return Role.OWNER
        if not self.groups:
            return Role.NONE
        return Role(max((self.groups.get(p, 0) for p in lineage(path)), default=0))

    def may_see(self, project: Project) -> bool:
        """Whether the project exists for this person."""
        return self.role_in(project) is not None


def lineage(path: str) -> Iterator[str]:
    """A group's path and those of its ancestors, innermost first."""
    while path:
        yield path
        path = path.rpartition("/")[0]
