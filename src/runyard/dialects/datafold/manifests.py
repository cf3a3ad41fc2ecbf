"""dbt manifests: what of a stranger's manifest.json a data diff needs, and which models of a pull request differ from production's. Pure.

Read leniently (any dbt version, any field may be missing or odd), kept small: only this digest of an upload is stored. Keys are inferred in the
order of contracts/datafold.md §8.3; a change is a different checksum, configuration or relation of a node, and everything downstream of one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PRIMARY_KEY_TAG = "primary-key"
DIFFED = frozenset({"model", "seed", "snapshot"})
MOST_NODES = 20_000
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """A node's key and where it stands: meta_table, meta, tags, uniqueness, unique_key, column_name, constraint or none."""

    source: str
    columns: tuple[str, ...] = ()


def _map(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def nodes(manifest: Any) -> Iterator[tuple[str, Json]]:
    """The nodes that make tables."""
    for id, node in list(_map(_map(manifest).get("nodes")).items())[:MOST_NODES]:
        config = _map(_map(node).get("config"))
        if _map(node).get("resource_type") in DIFFED and config.get("materialized") != "ephemeral":
            yield str(id), node


def digest(manifest: Any) -> dict[str, Any]:
    """What is kept of an upload: per node its table, fingerprint, parents, key and diff options."""
    tests = uniqueness(manifest)
    return {
        id: {
            "table": list(table(node)),
            "print": _fingerprint(node),
            "parents": list(_texts(_map(node.get("depends_on")).get("nodes"))),
            "key": list(key(id, node, tests).columns),
            "options": _options(node),
        }
        for id, node in nodes(manifest)
    }


def table(node: Json) -> tuple[str, ...]:
    """database, schema, name; parts that a database does not have are missing."""
    name = _text(node.get("alias")) or _text(node.get("name"))
    return tuple(part for part in (_text(node.get("database")), _text(node.get("schema")), name) if part)


def _fingerprint(node: Json) -> str:
    """Of the text and the configuration, but not of where it is built: that differs by design."""
    config = {
        k: v
        for k, v in _map(node.get("config")).items()
        if k not in ("schema", "database", "meta", "docs", "tags")
    }
    what = [_map(node.get("checksum")).get("checksum"), config, node.get("alias")]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _options(node: Json) -> dict[str, Any]:
    """meta.datafold.datadiff (§8.4)."""
    found = _map(_map(_meta(node).get("datafold")).get("datadiff"))
    return {
        "filter": _text(found.get("filter")),
        "include_columns": list(_texts(found.get("include_columns"))),
        "exclude_columns": list(_texts(found.get("exclude_columns"))),
        "never_diff": found.get("never_diff") is True,
        "downstream": found.get("slim_diff") == "diff_when_downstream",
    }


def _meta(part: Json) -> Json:
    return {**_map(_map(part.get("config")).get("meta")), **_map(part.get("meta"))}


def key(id: str, node: Json, tests: Mapping[str, tuple[str, ...]]) -> Key:
    """The key of a node, first match wins."""
    columns = {
        _text(_map(c).get("name")) or str(name): _map(c) for name, c in _map(node.get("columns")).items()
    }
    named = _texts(_meta(node).get(PRIMARY_KEY_TAG))
    if named:
        return Key("meta_table", named)
    by_meta = tuple(n for n, c in columns.items() if _meta(c).get(PRIMARY_KEY_TAG))
    by_tag = tuple(n for n, c in columns.items() if PRIMARY_KEY_TAG in _texts(c.get("tags")))
    if by_meta or by_tag:
        return Key("meta", by_meta) if by_meta else Key("tags", by_tag)
    if id in tests:
        return Key("uniqueness", tests[id])
    unique = _texts(_map(node.get("config")).get("unique_key"))
    if unique:
        return Key("unique_key", unique)
    folded = {n.lower(): n for n in columns}
    for wish in ("id", "pk", "pkey", f"{_text(node.get('name')).lower()}_id"):
        if wish in folded:
            return Key("column_name", (folded[wish],))
    return _constraint(node, columns)


def _constraint(node: Json, columns: Mapping[str, Json]) -> Key:
    for rule in _primary(node):
        if _texts(rule.get("columns")):
            return Key("constraint", _texts(rule.get("columns")))
    marked = tuple(name for name, column in columns.items() if _primary(column))
    return Key("constraint", marked) if marked else Key("none")


def _primary(part: Json) -> list[Json]:
    rules = part.get("constraints")
    return [r for r in rules if _map(r).get("type") == "primary_key"] if isinstance(rules, list) else []


def uniqueness(manifest: Any) -> dict[str, tuple[str, ...]]:
    """Columns that a uniqueness test promises, by the id of the tested node; the first test of a node counts."""
    found: dict[str, tuple[str, ...]] = {}
    for raw in _map(_map(manifest).get("nodes")).values():
        node = _map(raw)
        tested, asked = _map(node.get("test_metadata")), _map(_map(node.get("test_metadata")).get("kwargs"))
        parents = _texts(_map(node.get("depends_on")).get("nodes"))
        target = _text(node.get("attached_node")) or next(iter(parents), "")
        if tested.get("name") == "unique":
            columns = _parts(_text(asked.get("column_name")) or _text(node.get("column_name")))
        elif tested.get("name") == "unique_combination_of_columns":
            columns = _texts(asked.get("combination_of_columns"))
        else:
            continue
        if columns and target:
            found.setdefault(target, columns)
    return found


def _parts(expression: str) -> tuple[str, ...]:
    """`a`, `a || b` or `CONCAT(a, b)` as columns; literals between them are left out."""
    text = expression.strip()
    if text.lower().startswith("concat(") and text.endswith(")"):
        pieces = text[len("concat(") : -1].split(",")
    else:
        pieces = text.split("||")
    return tuple(p.strip() for p in pieces if p.strip() and not p.strip().startswith("'"))


def changed(production: Mapping[str, Any], proposed: Mapping[str, Any], *, slim: bool) -> list[str]:
    """Ids to diff: nodes of both manifests that changed, and (unless `slim`) all downstream of a change; new nodes change what follows them."""
    touched = {id for id, node in proposed.items() if production.get(id, {}).get("print") != node["print"]}
    downstream = set(touched)
    grown = True
    while grown:
        fresh = {id for id, n in proposed.items() if id not in downstream and downstream & set(n["parents"])}
        downstream |= fresh
        grown = bool(fresh)
    wanted = touched | {id for id in downstream if not slim or proposed[id]["options"]["downstream"]}
    return sorted(id for id in wanted if id in production and not proposed[id]["options"]["never_diff"])


def key_report(manifest: Any) -> list[dict[str, Any]]:
    """check_pks_in_dbt_manifest: every node with the key that its tests and its marks give."""
    tests = uniqueness(manifest)
    report = []
    for id, node in nodes(manifest):
        found = key(id, node, tests)
        source = found.source if found.source in ("meta_table", "meta", "tags", "uniqueness") else "none"
        known = {str(n).lower() for n in _map(node.get("columns"))}
        missing = [c for c in found.columns if known and c.lower() not in known]
        report.append(
            {
                "source": source,
                "sql_table": list(table(node)),
                "sql_pks": list(found.columns),
                "dbt_fqn": list(_texts(node.get("fqn"))),
                "dbt_pks": list(found.columns),
                "dbt_original_file_path": _text(node.get("original_file_path")),
                "dbt_patch_path": _text(node.get("patch_path")) or None,
                "warnings": [f"The key column {c} is not among the documented columns." for c in missing],
            }
        )
    return report
