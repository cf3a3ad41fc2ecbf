"""Who and where: projects, users, tokens, runners, connections, variables, records."""

from __future__ import annotations

from runyard.engine.ports import Page
from runyard.model.errors import NotFound
from runyard.model.work import Connection, Project, Record, Runner, SecretVariable, Token, User
from runyard.store.link import Link
from runyard.store.queries.access import seen_by
from runyard.store.queries.lists import Conditions, window
from runyard.store.rows import CONNECTION, PROJECT, RECORD, RUNNER, SECRET_VARIABLE, TOKEN, USER

_PROJECT_BY_PATH = f"{PROJECT.select} WHERE lower(path) = lower(?)"
_USER_BY_NAME = f"{USER.select} WHERE lower(username) = lower(?)"
_TOKEN_BY_HASH = f"{TOKEN.select} WHERE hash = ?"
_TOKENS_OF = f"{TOKEN.select} WHERE user_id = ? ORDER BY id"
_RUNNER_BY_HASH = f"{RUNNER.select} WHERE token_hash = ?"
_CONNECTIONS = f"{CONNECTION.select} ORDER BY id"
_VARIABLES = f"{SECRET_VARIABLE.select} WHERE project_id IS NULL AND group_id IS NULL ORDER BY id"
_PROJECT_VARIABLES = f"{SECRET_VARIABLE.select} WHERE project_id = ? ORDER BY id"
_GROUPS_ABOVE = """
    SELECT g.id FROM groups g JOIN projects p ON substr(lower(p.path), 1, length(g.path) + 1) = lower(g.path) || '/'
    WHERE p.id = ? AND EXISTS (SELECT 1 FROM secret_variables v WHERE v.group_id = g.id) ORDER BY length(g.path)"""
_GROUP_VARIABLES = f"{SECRET_VARIABLE.select} WHERE group_id = ? ORDER BY id"
_NEXT_NUMBER = "UPDATE projects SET last_number = last_number + 1 WHERE id = ? RETURNING last_number"
_RECORD_BLOB = "UPDATE records SET blob = ? WHERE id = ?"


def project_by_path(link: Link, path: str) -> Project | None:
    found = link.rows(_PROJECT_BY_PATH, (path,))
    return PROJECT.decode(found[0]) if found else None


def projects(link: Link, search: str, page: Page, person: User | None = None, now: int = 0) -> list[Project]:
    conditions = Conditions()
    if person is not None and not person.is_admin:
        seen_by(conditions, person.id, person.username, now)
    if search:
        escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        pattern = f"%{escaped}%"
        term = "lower(path) LIKE lower(?) ESCAPE '\\' OR lower(name) LIKE lower(?) ESCAPE '\\'"
        conditions.add(f"({term})", pattern, pattern)
    return [PROJECT.decode(r) for r in window(link, PROJECT.select, conditions, page)]


def next_number(link: Link, project_id: int) -> int:
    found = link.rows(_NEXT_NUMBER, (project_id,))
    if not found:
        raise NotFound(f"There is no project {project_id}.")
    return int(found[0][0])


def user_by_name(link: Link, username: str) -> User | None:
    found = link.rows(_USER_BY_NAME, (username,))
    return USER.decode(found[0]) if found else None


def token_by_hash(link: Link, hash: str) -> Token | None:
    found = link.rows(_TOKEN_BY_HASH, (hash,))
    return TOKEN.decode(found[0]) if found else None


def tokens_of(link: Link, user_id: int) -> list[Token]:
    return [TOKEN.decode(r) for r in link.rows(_TOKENS_OF, (user_id,))]


def runner_by_hash(link: Link, token_hash: str) -> Runner | None:
    found = link.rows(_RUNNER_BY_HASH, (token_hash,))
    return RUNNER.decode(found[0]) if found else None


def runners(link: Link, page: Page) -> list[Runner]:
    return [RUNNER.decode(r) for r in window(link, RUNNER.select, Conditions(), page)]


def connections(link: Link) -> list[Connection]:
    return [CONNECTION.decode(r) for r in link.rows(_CONNECTIONS)]


def secret_variables(link: Link, project_id: int | None) -> list[SecretVariable]:
    """Of the instance, then of the groups above the project, outermost first, then of the project: a later
    one of the same key wins."""
    found = link.rows(_VARIABLES)
    if project_id is not None:
        for row in link.rows(_GROUPS_ABOVE, (project_id,)):
            found += link.rows(_GROUP_VARIABLES, (row[0],))
        found += link.rows(_PROJECT_VARIABLES, (project_id,))
    return [SECRET_VARIABLE.decode(r) for r in found]


def records(link: Link, kind: str, project_id: int | None, key: str | None, page: Page) -> list[Record]:
    conditions = Conditions()
    conditions.equal("kind", kind)
    conditions.equal("project_id", project_id)
    conditions.equal("key", key)
    return [RECORD.decode(r) for r in window(link, RECORD.select, conditions, page)]


def note_record_blob(link: Link, record: Record) -> None:
    """An upload keeps its blob alive by naming it as `data["blob"]`."""
    link.run(_RECORD_BLOB, (record.data.get("blob") or None, record.id))
