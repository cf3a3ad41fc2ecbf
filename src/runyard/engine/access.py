"""Who may do what, from the rows; and the rows that making a project brings along.

standing(tx, user, now) -> Standing
ensure_groups(tx, path, now) -> Group
may_create(standing, tx, path) -> bool
settle_in(tx, project, owner, now)
    the creator's membership

Called by http (tokens, making projects) and by dialects that let a run reach into another project (include,
trigger).
"""

from __future__ import annotations

from dataclasses import replace

from runyard.engine.ports import Page, Tx
from runyard.model.access import Role, Standing, lineage
from runyard.model.work import Group, Member, Project, User

PERSONAL = "user_id"  # in the extra of a group that is a person's own namespace


def standing(tx: Tx, user: User, now: int) -> Standing:
    """One query; none for administrators and for nobody."""
    if user.is_admin or not user.id:
        return Standing(user)
    projects: dict[int, int] = {}
    groups: dict[str, int] = {}
    for project_id, group, level in tx.memberships(user.id, now):
        if project_id is not None:
            projects[project_id] = level
        elif group is not None:
            groups[group] = level
    return Standing(user, projects, groups)


def may_create(tx: Tx, who: Standing, group_path: str) -> bool:
    """Whether this person may put a project (or a group) there: in a group as a developer, below one as a
    maintainer, and a new group of one's own."""
    if tx.group_by_path(group_path) is not None:
        return who.role_under(group_path) >= Role.DEVELOPER
    for path in lineage(group_path.rpartition("/")[0]):
        if tx.group_by_path(path) is not None:
            return who.role_under(path) >= Role.MAINTAINER
    taken = tx.user_by_name(group_path.partition("/")[0])
    return taken is None or taken.id == who.user.id or who.user.is_admin


def ensure_groups(tx: Tx, path: str, owner: User | None, now: int) -> Group:
    """The group of this path and those above it; a new outermost one belongs to its maker."""
    found: Group | None = None
    for part in reversed(list(lineage(path))):
        known = tx.group_by_path(part)
        if known is None:
            person = tx.user_by_name(part) if "/" not in part else None
            extra = {PERSONAL: person.id} if person else {"parent_id": found.id} if found else {}
            known = tx.add(Group(0, part, part.rpartition("/")[2], created_at=now, extra=extra))
            if owner is not None and owner.id and found is None:
                add_member(tx, Member(0, owner.id, Role.OWNER, group_id=known.id, created_at=now))
        found = known
    assert found is not None, "a project's path has a group"  # noqa: S101 - check_path has refused others
    return found


def settle_in(tx: Tx, project: Project, owner: User | None, now: int) -> None:
    """Groups for the project's path, and its maker as owner unless the groups say so already."""
    ensure_groups(tx, project.path.rpartition("/")[0], owner, now)
    if owner is None or not owner.id:
        return
    role = standing(tx, owner, now).role_in(project) or Role.NONE
    if role < Role.OWNER:
        add_member(tx, Member(0, owner.id, Role.OWNER, project.id, created_at=now))


def add_member(tx: Tx, row: Member) -> Member:
    """The stored membership; who is a member already stays one, at the new level."""
    for known in tx.find(
        Member, Page(limit=1), user_id=row.user_id, project_id=row.project_id, group_id=row.group_id
    ):
        fresh = replace(known, level=row.level, expires_at=row.expires_at)
        tx.save(fresh)
        return fresh
    return tx.add(row)
