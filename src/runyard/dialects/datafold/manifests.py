"""dbt manifests, v4 to v12: what of a stranger's manifest.json a data diff needs. Pure.

Read leniently (any dbt version, any field may be missing or odd), kept small: only this digest of an upload
is stored. A node's prints are those parts that dbt's own `state:modified` compares (dbt-core 1.11,
contracts/graph/nodes.py): text, unrendered configuration, configured place, persisted descriptions, fully
qualified name, contract, macros it uses directly or not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from runyard.dialects.datafold.dbt_keys import PRIMARY_KEY_TAG, key, uniqueness
from runyard.dialects.datafold.lenient import Json, meta, table, text, texts

DIFFED = frozenset({"model", "seed", "snapshot"})
MOST_NODES = 20_000
MOST_MACROS = 50_000
MACRO_DEPTH = 16
DIGEST_VERSION = 3
_PLACE = ("database", "schema", "alias")
_NOT_COMPARED = frozenset((*_PLACE, "tags", "group"))


def nodes(manifest: Any) -> Iterator[tuple[str, Json]]:
    """Models, seeds and snapshots, ephemeral ones too (what depends on them changes with them)."""
    for id, node in list(table(table(manifest).get("nodes")).items())[:MOST_NODES]:
        if table(node).get("resource_type") in DIFFED:
            yield str(id), node


def sources(manifest: Any) -> Iterator[tuple[str, Json]]:
    """Declared sources; changing one changes what reads it."""
    for id, node in list(table(table(manifest).get("sources")).items())[:MOST_NODES]:
        yield str(id), table(node)


def is_table(node: Json) -> bool:
    """Whether the node leaves a relation behind."""
    return table(node.get("config")).get("materialized") != "ephemeral"


def digest(manifest: Any, tag: str = PRIMARY_KEY_TAG) -> dict[str, Any]:
    """What is kept of an upload: per node its table, prints, parents, key and diff options."""
    tests, macros = uniqueness(manifest), _Macros(manifest)
    found: dict[str, Any] = {}
    for id, node in nodes(manifest):
        known = key(id, node, tests, tag)
        found[id] = {
            "name": text(node.get("name")),
            "table": list(place(node)) if is_table(node) else [],
            "prints": _prints(node, macros),
            "parents": list(texts(table(node.get("depends_on")).get("nodes"))),
            "key": list(known.columns),
            "key_source": known.source,
            "options": _options(node),
        }
    for id, node in sources(manifest):
        found[id] = {
            "name": text(node.get("name")),
            "table": [],
            "prints": _source_prints(node),
            "parents": [],
        }
    return found


def place(node: Json) -> tuple[str, ...]:
    """database, schema, name; parts that a database does not have are missing."""
    name = text(node.get("alias")) or text(node.get("name"))
    return tuple(part for part in (text(node.get("database")), text(node.get("schema")), name) if part)


def _prints(node: Json, macros: _Macros) -> dict[str, str]:
    unrendered = node.get("unrendered_config")
    config = table(unrendered if isinstance(unrendered, dict) else node.get("config"))
    prints = {
        "body": _print(_body(node)),
        "config": _print({k: v for k, v in config.items() if k not in _NOT_COMPARED}),
        "relation": _print([table(unrendered).get(k) for k in _PLACE]),
        "fqn": _print(node.get("fqn")),
        "ref": _print(
            [
                node.get("latest_version"),
                text(node.get("access")) or "protected",
                node.get("deprecation_date"),
            ]
        ),
    }
    described = _persisted(node)
    if described:
        prints["descriptions"] = _print(described)
    contract = table(node.get("contract"))
    if contract.get("enforced") is True:
        prints["contract"] = _print(contract.get("checksum"))
    used = macros.print(texts(table(node.get("depends_on")).get("macros")))
    return prints | ({"macros": used} if used else {})


def _body(node: Json) -> Any:
    """The node's own text; `raw_sql` before v7. A seed's is its checksum, which is only its path where the
    file is large."""
    raw = text(node.get("raw_code")) or text(node.get("raw_sql"))
    return raw or table(node.get("checksum"))


def _persisted(node: Json) -> list[Any]:
    """Descriptions that dbt writes to the database: changing them changes the relation."""
    wanted = table(table(node.get("config")).get("persist_docs"))
    columns = {k: table(c).get("description") for k, c in table(node.get("columns")).items()}
    parts: list[Any] = [node.get("description")] if wanted.get("relation") is True else []
    return [*parts, columns] if wanted.get("columns") is True else parts


def _source_prints(node: Json) -> dict[str, str]:
    """Of a source; not of its rendered place, which differs between environments by design."""
    unrendered = [node.get(k) for k in ("unrendered_database", "unrendered_schema", "identifier")]
    rest = [node.get(k) for k in ("fqn", "quoting", "external", "freshness")]
    return {"source": _print([unrendered, rest, node.get("unrendered_config")])}


def _print(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


class _Macros:
    """Prints of macros with all that they call, MACRO_DEPTH calls deep: a bound on the work that a stranger's
    manifest may cause, cycles included."""

    def __init__(self, manifest: Any) -> None:
        texts_of: dict[str, str] = {}
        calls: dict[str, tuple[str, ...]] = {}
        for id, raw in list(table(table(manifest).get("macros")).items())[:MOST_MACROS]:
            macro = table(raw)
            texts_of[str(id)] = _print(macro.get("macro_sql"))
            calls[str(id)] = tuple(sorted(set(texts(table(macro.get("depends_on")).get("macros")))))
        self._prints = texts_of
        for _ in range(MACRO_DEPTH):
            known = self._prints
            self._prints = {
                id: _joined([texts_of[id], *(known.get(called, "") for called in called_by)])
                if called_by
                else texts_of[id]
                for id, called_by in calls.items()
            }

    def print(self, used: tuple[str, ...]) -> str:
        """Of macros used directly, "" for none."""
        return _joined([f"{id} {self._prints.get(id, '')}" for id in sorted(set(used))]) if used else ""


def _joined(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _options(node: Json) -> dict[str, Any]:
    """meta.datafold.datadiff (§8.4)."""
    found = table(table(meta(node).get("datafold")).get("datadiff"))
    travel = {
        k: found.get(k) for k in ("prod_time_travel", "pr_time_travel") if isinstance(found.get(k), str | int)
    }
    return {
        "filter": text(found.get("filter")),
        "include_columns": list(texts(found.get("include_columns"))),
        "exclude_columns": list(texts(found.get("exclude_columns"))),
        "time_column": text(found.get("time_column")),
        "never_diff": found.get("never_diff") is True,
        "downstream": found.get("slim_diff") == "diff_when_downstream",
        **travel,
    }


def key_report(manifest: Any, tag: str = PRIMARY_KEY_TAG) -> list[dict[str, Any]]:
    """check_pks_in_dbt_manifest: every node with the key that its tests and its marks give."""
    tests = uniqueness(manifest)
    report = []
    for id, node in nodes(manifest):
        if not is_table(node):
            continue
        found = key(id, node, tests, tag)
        is_said = found.source in ("meta_table", "meta", "tags", "uniqueness")
        columns = list(found.columns) if is_said else []
        report.append(
            {
                "source": found.source if is_said else "none",
                "sql_table": list(place(node)),
                "sql_pks": columns,
                "dbt_fqn": list(texts(node.get("fqn"))),
                "dbt_pks": columns,
                "dbt_original_file_path": text(node.get("original_file_path")),
                "dbt_patch_path": text(node.get("patch_path")) or None,
                "warnings": _warnings(node, found.source, found.columns),
            }
        )
    return report


def _warnings(node: Json, source: str, columns: tuple[str, ...]) -> list[str]:
    known = {str(n).lower() for n in table(node.get("columns"))}
    missing = [c for c in columns if known and c.lower() not in known]
    warnings = [f"The key column {c} is not among the documented columns." for c in missing]
    if source in ("unique_key", "column_name", "constraint"):
        warnings.append(f"No key is marked or tested; a diff will use {', '.join(columns)} ({source}).")
    elif source == "none":
        warnings.append("No key is known; a diff will look for one in the tables.")
    return warnings
