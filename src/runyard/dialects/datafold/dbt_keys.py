"""The primary key of a dbt model, as Datafold infers it: first match of seven places wins, and the place is
reported (contracts/datafold.md §8.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runyard.dialects.datafold.lenient import Json, meta, table, tags, text, texts

PRIMARY_KEY_TAG = "primary-key"
_NAME = re.compile(r'"[^"]+"|`[^`]+`|[A-Za-z_][\w$]*')
_CONCAT = re.compile(r"^\s*concat\s*\((.*)\)\s*$", re.IGNORECASE | re.DOTALL)
_LITERAL = re.compile(r"^'[^']*'$")
_CAST = re.compile(r"::\s*\w+(\s*\(\s*\d+\s*(,\s*\d+\s*)?\))?\s*$")


@dataclass(frozen=True, slots=True)
class Key:
    """A node's key and where it stands: meta_table, meta, tags, uniqueness, unique_key, column_name,
    constraint or none."""

    source: str
    columns: tuple[str, ...] = ()


def key(id: str, node: Json, tests: Mapping[str, tuple[str, ...]], tag: str = PRIMARY_KEY_TAG) -> Key:
    """The key of a node."""
    columns = {
        text(table(c).get("name")) or str(name): table(c) for name, c in table(node.get("columns")).items()
    }
    named = texts(meta(node).get(tag))
    if named:
        return Key("meta_table", named)
    by_meta = tuple(n for n, c in columns.items() if meta(c).get(tag))
    by_tag = tuple(n for n, c in columns.items() if tag in tags(c))
    if by_meta or by_tag:
        return Key("meta", by_meta) if by_meta else Key("tags", by_tag)
    if id in tests:
        return Key("uniqueness", tests[id])
    unique = table(node.get("config")).get("unique_key")
    unique = parts(unique) if isinstance(unique, str) else texts(unique)
    if unique:
        return Key("unique_key", unique)
    folded = {n.lower(): n for n in columns}
    for wish in ("id", "pk", "pkey", f"{text(node.get('name')).lower()}_id"):
        if wish in folded:
            return Key("column_name", (folded[wish],))
    return _constraint(node, columns)


def _constraint(node: Json, columns: Mapping[str, Json]) -> Key:
    for rule in _primary(node):
        if texts(rule.get("columns")):
            return Key("constraint", texts(rule.get("columns")))
    marked = tuple(name for name, column in columns.items() if _primary(column))
    return Key("constraint", marked) if marked else Key("none")


def _primary(part: Json) -> list[Json]:
    rules = part.get("constraints")
    return [r for r in rules if table(r).get("type") == "primary_key"] if isinstance(rules, list) else []


def uniqueness(manifest: Any) -> dict[str, tuple[str, ...]]:
    """Columns that a uniqueness test promises, by the id of the tested node; the first test of a node counts.

    dbt writes a test's arguments into `test_metadata.kwargs`; since 1.10 a project may nest them under
    `arguments`, before it `attached_node` was missing.
    """
    found: dict[str, tuple[str, ...]] = {}
    for raw in table(table(manifest).get("nodes")).values():
        node = table(raw)
        tested = table(node.get("test_metadata"))
        kwargs = table(tested.get("kwargs"))
        asked = {**kwargs, **table(kwargs.get("arguments"))}
        parents = texts(table(node.get("depends_on")).get("nodes"))
        target = text(node.get("attached_node")) or next(iter(parents), "")
        if tested.get("name") == "unique":
            columns = parts(text(asked.get("column_name")) or text(node.get("column_name")))
        elif tested.get("name") == "unique_combination_of_columns":
            columns = texts(asked.get("combination_of_columns"))
        else:
            continue
        if columns and target:
            found.setdefault(target, tuple(map(_bare, columns)))
    return found


def parts(expression: str) -> tuple[str, ...]:
    """`a`, `a || '-' || b` or `CONCAT(a, b)` as columns; () when something else than columns and literals
    stands there."""
    inside = _CONCAT.match(expression)
    pieces = inside[1].split(",") if inside else expression.split("||")
    names = []
    for piece in pieces:
        bare = _CAST.sub("", piece.strip()).strip()
        if _LITERAL.match(bare):
            continue
        if not _NAME.fullmatch(bare):
            return ()
        names.append(_bare(bare))
    return tuple(names)


def _bare(name: str) -> str:
    """Without an identifier's quotes."""
    quoted = len(name) > 2 and name[0] == name[-1] and name[0] in '"`'
    return name[1:-1] if quoted else name
