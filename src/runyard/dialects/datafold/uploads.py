"""Stored digests of dbt manifests, as functions of one transaction: kept by configuration, commit and
low-drift run id; found again by the configuration's branch commit selection strategy. Called by life and
routes_dbt.

An upload is two records: a small one that lists are made of, and its nodes, which may be megabytes and are
read only when they are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runyard.dialects.datafold import manifests
from runyard.dialects.datafold.runs import MANIFEST, UPLOAD
from runyard.engine.ports import Page, Tx
from runyard.model.work import Record

PRODUCTION, PULL_REQUEST = "production", "pull_request"
KEPT = 500  # uploads of a configuration and kind; older ones are removed
Nodes = Mapping[str, Any]


def keep(tx: Tx, owner: Record, run_type: str, sha: str, shared: str, nodes: Nodes, now: int) -> None:
    """Replaces an earlier upload of the same; the new row is the newest."""
    key = _key(owner, sha, shared)
    for old in tx.records(_kind(run_type), owner.project_id, key, Page(limit=1)):
        _remove(tx, old)
    held = tx.add(
        Record(0, MANIFEST, owner.project_id, "", {"ci_config_id": owner.id, "nodes": nodes}, now, now)
    )
    data = {"ci_config_id": owner.id, "version": manifests.DIGEST_VERSION, "manifest": held.id}
    tx.add(Record(0, _kind(run_type), owner.project_id, key, data, now, now))
    for record in list(of(tx, owner, run_type))[KEPT:]:
        _remove(tx, record)


def _kind(run_type: str) -> str:
    return f"{UPLOAD}.{run_type}"


def _key(owner: Record, sha: str, shared: str) -> str:
    return f"{owner.id}:{sha}:{shared}"


def _remove(tx: Tx, record: Record) -> None:
    tx.remove(Record, int(record.data.get("manifest") or 0))
    tx.remove(Record, record.id)


def of(tx: Tx, owner: Record, run_type: str) -> Iterator[Record]:
    """Every upload of a configuration, newest first."""
    last: int | None = None
    while True:
        page = tx.records(_kind(run_type), owner.project_id, None, Page(limit=200, after_id=last))
        yield from (record for record in page if record.data.get("ci_config_id") == owner.id)
        if len(page) < 200:
            return
        last = page[-1].id


def remove_all(tx: Tx, owner: Record) -> None:
    """Every upload of a configuration."""
    for run_type in (PRODUCTION, PULL_REQUEST):
        for record in list(of(tx, owner, run_type)):
            _remove(tx, record)


def exact(tx: Tx, owner: Record, run_type: str, sha: str, shared: str) -> Nodes | None:
    """The digest of one upload."""
    found = tx.records(_kind(run_type), owner.project_id, _key(owner, sha, shared), Page(limit=1))
    return _nodes(tx, found[0]) if found else None


def shared_ids(tx: Tx, owner: Record, run_type: str, sha: str) -> list[str]:
    """Low-drift run ids under which a commit was uploaded, newest first; "" where none was told."""
    prefix = f"{owner.id}:{sha}:"
    return [r.key.removeprefix(prefix) for r in of(tx, owner, run_type) if r.key.startswith(prefix)]


def production(tx: Tx, owner: Record, shared: str, commits: Iterable[str] | None) -> tuple[str, Nodes] | None:
    """(sha, digest) of production's side: of the same low-drift run; else of the first of `commits` that was
    uploaded; else (None) the newest."""
    known: dict[str, Record] = {}
    for record in of(tx, owner, PRODUCTION):
        _, sha, run_id = record.key.split(":", 2)
        if (not shared or run_id == shared) and record.data.get("version") == manifests.DIGEST_VERSION:
            known.setdefault(sha, record)
    wanted = known if shared or commits is None else commits
    chosen = next((sha for sha in wanted if sha in known), None)
    nodes = _nodes(tx, known[chosen]) if chosen else None
    return None if chosen is None or nodes is None else (chosen, nodes)


def _nodes(tx: Tx, record: Record) -> Nodes | None:
    """A digest that an earlier version stored cannot be compared with today's; it counts as not there."""
    if record.data.get("version") != manifests.DIGEST_VERSION:
        return None
    held = tx.get(Record, int(record.data["manifest"]))
    nodes: Nodes | None = held.data["nodes"] if held else None
    return nodes
