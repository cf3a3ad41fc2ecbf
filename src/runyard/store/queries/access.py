"""Groups, memberships, what a person may see, and small nouns found by equal columns. Called by
transaction.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from runyard.engine.ports import Page, Row
from runyard.model.work import Environment, Group
from runyard.store.link import Link
from runyard.store.queries.lists import Conditions, window
from runyard.store.rows import ENVIRONMENT, GROUP, Shape

R = TypeVar("R", bound=Row)

_GROUP_BY_PATH = f"{GROUP.select} WHERE lower(path) = lower(?)"
_MEMBERSHIPS = """
    SELECT m.project_id, lower(g.path), m.level FROM members m LEFT JOIN groups g ON g.id = m.group_id
    WHERE m.user_id = ? AND (m.expires_at IS NULL OR m.expires_at > ?)"""
# A group's role reaches every project below it; everyone owns the namespace of their own name (model.access).
_SEEN = """(visibility IN ('public', 'internal')
    OR substr(lower(path), 1, length(?) + 1) = lower(?) || '/'
    OR id IN (SELECT project_id FROM members WHERE user_id = ? AND project_id IS NOT NULL AND (expires_at IS NULL OR expires_at > ?))
    OR EXISTS (SELECT 1 FROM members m JOIN groups g ON g.id = m.group_id
        WHERE m.user_id = ? AND (m.expires_at IS NULL OR m.expires_at > ?)
        AND substr(lower(projects.path), 1, length(g.path) + 1) = lower(g.path) || '/'))"""
_AUTO_STOPS = (
    f"{ENVIRONMENT.select} WHERE auto_stop_at IS NOT NULL AND auto_stop_at <= ? ORDER BY auto_stop_at LIMIT ?"
)


def find(link: Link, shape: Shape[R], page: Page, equal: Mapping[str, Any]) -> list[R]:
    conditions = Conditions()
    for name, value in equal.items():
        if name not in shape.names:
            raise KeyError(name)
        if value is None:
            conditions.add(f"{name} IS NULL")
        else:
            conditions.add(f"{name} = ?", value)
    return [shape.decode(r) for r in window(link, shape.select, conditions, page)]


def group_by_path(link: Link, path: str) -> Group | None:
    found = link.rows(_GROUP_BY_PATH, (path,))
    return GROUP.decode(found[0]) if found else None


def memberships(link: Link, user_id: int, now: int) -> list[tuple[int | None, str | None, int]]:
    return [(p, g, level) for p, g, level in link.rows(_MEMBERSHIPS, (user_id, now))]


def seen_by(conditions: Conditions, user_id: int, username: str, now: int) -> None:
    """Narrows a list of projects to what `model.access.Standing.may_see` answers for this person."""
    conditions.add(_SEEN, username, username, user_id, now, user_id, now)


def auto_stops(link: Link, now: int, limit: int) -> list[Environment]:
    return [ENVIRONMENT.decode(r) for r in link.rows(_AUTO_STOPS, (now, limit))]
