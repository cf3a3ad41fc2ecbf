"""Which models of a pull request are diffed: those that dbt calls modified, and what depends on them. Pure,
over two digests of manifests.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Digest = Mapping[str, Any]
DOWNSTREAM = "downstream"
MOST_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class Selection:
    """What is diffed and why, and what cannot be. `reasons`: parts of the node that changed (body, config,
    macros, …), or `downstream`."""

    reasons: Mapping[str, Sequence[str]]
    new: Sequence[str]  # names of tables that production does not have
    removed: Sequence[str]  # names of tables that only production has
    left_out: Sequence[str]  # names of changed tables that `never_diff` keeps out


def why(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[str]:
    """Parts of a node that differ; ["new"] when there was none."""
    if before is None:
        return ["new"]
    old, now = before["prints"], after["prints"]
    return sorted(part for part in old.keys() | now.keys() if old.get(part) != now.get(part))


def select(production: Digest, proposed: Digest, *, slim: bool) -> Selection:
    """Nodes of both manifests that changed, and (unless `slim`) all downstream of a change; new and ephemeral
    nodes change what follows them."""
    touched = {id: parts for id, node in proposed.items() if (parts := why(production.get(id), node))}
    after = _downstream(proposed, set(touched))
    wanted = {id: parts for id, parts in touched.items() if parts != ["new"]}
    wanted |= {
        id: [DOWNSTREAM]
        for id in after - touched.keys()
        if not slim or proposed[id].get("options", {}).get("downstream")
    }
    tables = [id for id in wanted if proposed[id]["table"] and production.get(id, {}).get("table")]
    kept_out = {id for id in tables if proposed[id]["options"]["never_diff"]}
    return Selection(
        {id: wanted[id] for id in sorted(tables) if id not in kept_out},
        _names(proposed, [id for id, node in proposed.items() if node["table"] and not _had(production, id)]),
        _names(
            production, [id for id, node in production.items() if node["table"] and not _had(proposed, id)]
        ),
        _names(proposed, kept_out),
    )


def dependents(digest: Digest, ids: Iterable[str], most: int) -> dict[str, list[str]]:
    """Per node, ids of at most so many tables that depend on it, directly or not; near ones first."""
    children = _children(digest)
    return {id: _tables_after(digest, children, id, most) for id in ids}


def _tables_after(digest: Digest, children: Mapping[str, list[str]], id: str, most: int) -> list[str]:
    found: list[str] = []
    reached, waiting = {id}, deque([id])
    while waiting and len(found) < most and len(reached) < MOST_LOOKED_AT:
        for child in children.get(waiting.popleft(), ()):
            if child not in reached:
                reached.add(child)
                waiting.append(child)
                if digest[child]["table"]:
                    found.append(child)
    return found[:most]


def _had(digest: Digest, id: str) -> bool:
    return bool(digest.get(id, {}).get("table"))


def _names(digest: Digest, ids: Sequence[str] | set[str]) -> list[str]:
    return sorted(str(digest[id]["name"]) for id in ids)


def _downstream(digest: Digest, start: set[str]) -> set[str]:
    """The nodes and all that depend on them."""
    children = _children(digest)
    reached, waiting = set(start), list(start)
    while waiting:
        fresh = [child for child in children.get(waiting.pop(), ()) if child not in reached]
        reached.update(fresh)
        waiting += fresh
    return reached


def _children(digest: Digest) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for id, node in digest.items():
        for parent in node["parents"]:
            children.setdefault(parent, []).append(id)
    return children
