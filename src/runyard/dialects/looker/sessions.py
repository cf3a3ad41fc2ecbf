"""What a session sees: production, or its own development branches. State per session in Records; verbs over
one transaction. Used by routes_git, `reading`.

Looker keeps development state per user, so two checks by one API user disturb each other; here each login has
its own. A branch that the session has not moved follows the repository. The session that a client opens when
its token is about to end takes over the older one's state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runyard.engine.ports import Page, Source, Tx
from runyard.model.errors import Invalid, NotFound
from runyard.model.work import Project, Record, Token, User

KIND = "looker.session"
LIFE_S = 3600
HEIRS_MS = ((LIFE_S - 120) * 1000, (LIFE_S + 600) * 1000)
"""A new session of this age difference is the same client's next one: the SDKs log in again 10 s before the
end, spectacles 60 s."""
_ONE = Page(limit=1)
HEADS = "refs/heads/"


@dataclass(frozen=True, slots=True)
class Branches:
    """One project's development state: the branch that is checked out ("" the personal one), and branches
    that were moved to a commit."""

    current: str = ""
    moved: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    """`last_project` is the one that was named last: model names need not be unique on a server."""

    workspace: str = "production"
    last_project: int | None = None
    branches: Mapping[str, Branches] = field(default_factory=dict)  # by project id, as JSON has it

    def of(self, project: Project) -> Branches:
        """The project's development state."""
        return self.branches.get(str(project.id)) or Branches()

    def with_branches(self, project: Project, branches: Branches) -> Session:
        """After a change of a project's development state."""
        merged = {**self.branches, str(project.id): branches}
        return replace(self, branches=merged, last_project=project.id)


def key_of(token: Token | None, user: User) -> str:
    """Sessions are keyed by their token."""
    return str(token.id) if token else f"user-{user.id}"


def load(tx: Tx, key: str) -> Session:
    """The session's state; production when it has none."""
    found = tx.records(KIND, None, key, _ONE)
    return _read(found[0].data) if found else Session()


def _read(data: Mapping[str, Any]) -> Session:
    branches = {
        project: Branches(str(b.get("current", "")), dict(b.get("moved") or {}))
        for project, b in (data.get("branches") or {}).items()
    }
    return Session(str(data.get("workspace_id", "production")), data.get("last_project"), branches)


def store(tx: Tx, key: str, session: Session, now: int) -> None:
    """Keeps the state."""
    data = {
        "workspace_id": session.workspace,
        "last_project": session.last_project,
        "branches": {p: {"current": b.current, "moved": dict(b.moved)} for p, b in session.branches.items()},
    }
    found = tx.records(KIND, None, key, _ONE)
    if found:
        tx.save(replace(found[0], data=data, updated_at=now))
    else:
        tx.add(Record(0, KIND, None, key, data, now, now))


def inherit(tx: Tx, user: User, fresh: Token, now: int) -> None:
    """Hands the state of the session that is about to end to the one that its client has just opened."""
    low, high = HEIRS_MS
    old = [
        t
        for t in tx.tokens_of(user.id)
        if t.kind == "session"
        and t.name == "looker"
        and t.revoked_at is None
        and low <= now - t.created_at <= high
    ]
    for token in sorted(old, key=lambda t: t.created_at):
        found = tx.records(KIND, None, str(token.id), _ONE)
        if found:
            tx.save(replace(found[0], key=str(fresh.id), updated_at=now))
            return


def personal_branch(user: User) -> str:
    """The name of someone's own branch: it exists from the start, at production's commit, and only in
    sessions."""
    clean = "-".join("".join(c if c.isalnum() else " " for c in user.username.lower()).split()) or "user"
    return f"dev-{clean}-{hashlib.sha256(str(user.id).encode()).hexdigest()[:4]}"


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a session stands in a project. `sha` "" means that nothing was pushed yet."""

    branch: str
    sha: str
    is_production: bool
    is_personal: bool = False


def stand(source: Source, session: Session, user: User, project: Project) -> Stand:
    """The branch and commit that the session sees of a project."""
    if session.workspace != "dev":
        return Stand(project.default_branch, head_of(source, project, project.default_branch), True)
    branches, own = session.of(project), personal_branch(user)
    name = branches.current or own
    sha = branches.moved.get(name, "") or head_of(source, project, name)
    if not sha and name == own:
        sha = head_of(source, project, project.default_branch)
    return Stand(name, sha, False, name == own)


def head_of(source: Source, project: Project, branch: str) -> str:
    """The commit of a repository's branch; "" when there is no such branch."""
    try:
        commit, _, _ = source.resolve(project.id, HEADS + branch)
    except (NotFound, Invalid):
        return ""
    return commit.sha


def commit_of(source: Source, session: Session, project: Project, ref: str) -> str:
    """The commit that someone names: a branch of the session, `origin/branch`, a branch, tag or sha. NotFound
    when it is none."""
    moved = session.of(project).moved
    if ref in moved:
        return moved[ref]
    name = ref.removeprefix("refs/remotes/").removeprefix("origin/")
    try:
        commit, _, _ = source.resolve(project.id, name)
    except (NotFound, Invalid):
        raise NotFound(f"There is no branch or commit {ref[:100]!r} in this project.") from None
    return commit.sha
