"""The parser beside PyPI's `lkml` on generated projects, and a round trip: the tree written out and read
again is the same tree."""

from __future__ import annotations

import random
from typing import Any

import lkml
import pytest

from runyard.tasks.lookml.language.parser import RAW_KEYS, parse
from runyard.tasks.lookml.language.tree import Kind, Node, SourceFile

_REPEATED = """
    dimension dimension_group measure filter parameter join view explore set test link allowed_value access_filter assert column derived_column
    include when query aggregate_table constant datagroup filters
"""
REPEATED = frozenset(_REPEATED.split())
BLOCKS = {
    "": ["view", "explore", "datagroup", "test"],
    "view": ["dimension", "measure", "dimension_group", "set", "parameter", "derived_table"],
    "explore": ["join", "access_filter", "always_filter"],
    "dimension": ["link"],
    "measure": ["link"],
    "parameter": ["allowed_value"],
    "test": ["assert"],
}
UNNAMED = {"link", "allowed_value", "access_filter", "always_filter", "derived_table"}
WORDS = ["type", "hidden", "primary_key", "relationship", "convert_tz", "style", "value_format_name"]
TEXTS = ["label", "description", "group_label", "value_format", "view_label"]
RAWS = ["sql", "sql_on", "html", "sql_table_name", "sql_always_where"]
LISTS = ["tags", "timeframes", "drill_fields", "extends", "tiers", "filters"]


class Writer:
    """Random LookML in random layout; the seed is the whole input."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def space(self) -> str:
        return self.rng.choice([" ", "\n  ", "\t", " \n\n", ' # a comment { } ;; " \n', "\n####\n"])

    def word(self) -> str:
        return self.rng.choice(["yes", "no", "string", "orders.id", "a_1", "+x", "2.5", "-3", "many_to_one"])

    def text(self) -> str:
        return "".join(
            self.rng.choice(["a", " ", "é", "{", "}", "[", ":", ";;", "#", "\n", "'", "${x}"])
            for _ in range(self.rng.randrange(9))
        )

    def raw(self) -> str:
        return " ".join(
            self.rng.choice(
                [
                    "${TABLE}.x",
                    "${a.b}",
                    "CASE WHEN 1 > 0",
                    "-- no # comment\n",
                    "';'",
                    '"q"',
                    "{% if a %}",
                    "x:",
                    "[1]",
                ]
            )
            for _ in range(1 + self.rng.randrange(6))
        )

    def parameter(self, used: set[str]) -> str:
        key = self.rng.choice(WORDS + TEXTS + RAWS + LISTS)
        if key in used:
            return ""
        used.add(key)
        if key in RAWS:
            lead = self.rng.choice([" ", "\n  ", ""])  # a comment here would be part of the SQL
            return f"{key}:{lead}{self.raw()} ;;{self.space()}"
        if key in TEXTS:
            return f'{key}:{self.space()}"{self.text()}"{self.space()}'
        if key == "filters":
            pairs = ", ".join(
                f'{self.rng.choice(["a.b", "c"])}_{i}: "{self.word()}"'
                for i in range(self.rng.randrange(1, 3))
            )
            return f"filters: [{pairs}]{self.space()}"
        if key in LISTS:
            items = [
                self.rng.choice([f"w{i}", f'"{i} t"']) if key == "tags" else f"w{i}"
                for i in range(self.rng.randrange(4))
            ]
            items = [i if i.startswith('"') else f'"{i}"' for i in items] if key == "tags" else items
            return f"{key}:{self.space()}[{self.space()}{f',{self.space()}'.join(items)}{',' if items and self.rng.random() < 0.3 else ''}]{self.space()}"
        return f"{key}:{self.space()}{self.word()}{self.space()}"

    def block(self, kind: str, name: str, depth: int) -> str:
        head = f"{kind}: {{" if kind in UNNAMED else f"{kind}:{self.space()}{name} {{"
        return f"{head}{self.space()}{self.body(kind, depth)}}}{self.space()}"

    def body(self, kind: str, depth: int) -> str:
        used: set[str] = set()
        parts = [self.parameter(used) for _ in range(self.rng.randrange(5))] if kind else []
        seen: set[str] = set()
        for i in range(self.rng.randrange(4) if depth < 4 else 0):
            inner = self.rng.choice(BLOCKS.get(kind, [""]))
            if inner and (inner in REPEATED or inner not in seen):
                seen.add(inner)
                parts.append(self.block(inner, f"{inner}_{i}", depth + 1))
        self.rng.shuffle(parts)
        return "".join(parts)


def plain(node: Node) -> dict[str, Any]:
    """A block as lkml.load shapes it."""
    found: dict[str, Any] = {}
    for child in node.children:
        key = child.key
        if child.kind is Kind.BLOCK:
            value: Any = plain(child) | ({"name": child.value} if child.value else {})
        elif child.kind is Kind.LIST:
            value = [{i.key: i.value} if i.key else i.value for i in child.children]
        else:
            value = child.value
        if key in REPEATED and child.kind is Kind.BLOCK:
            found.setdefault(
                "filters" if key == "filters" else "queries" if key == "query" else f"{key}s", []
            ).append(value)
        elif key == "filters":
            found.setdefault("filters__all", []).append(value)
        elif key == "extends":
            found.setdefault("extends__all", []).append(value)
        else:
            found[key] = value
    return found


def written(node: Node, depth: int = 0) -> str:
    """The tree as LookML again."""
    pad = "  " * depth
    match node.kind:
        case Kind.BLOCK:
            inner = "\n".join(written(c, depth + 1) for c in node.children)
            return f"{pad}{node.key}: {node.value} {{\n{inner}\n{pad}}}"
        case Kind.LIST:
            return f"{pad}{node.key}: [{', '.join(written(c).strip() for c in node.children)}]"
        case Kind.TEXT:
            text = '"' + node.value.replace('"', '\\"') + '"'
            return f"{pad}{node.key}: {text}" if node.key else text
        case Kind.RAW:
            return f"{pad}{node.key}: {node.value} ;;"
    return f"{pad}{node.key}: {node.value}" if node.key else node.value


def shape(node: Node) -> tuple[Any, ...]:
    """A tree without places."""
    return node.key, node.kind, node.value, tuple(shape(c) for c in node.children)


@pytest.mark.parametrize("seed", range(60))
def test_the_parser_agrees_with_lkml_and_with_itself(seed: int) -> None:
    source = Writer(seed).body("", 0) or "view: a {}"
    root, findings = parse(SourceFile("a.lkml", source))
    assert findings == []
    assert plain(root) == lkml.load(source)
    again, _ = parse(SourceFile("a.lkml", "\n".join(written(c) for c in root.children)))
    assert shape(again) == shape(root)


@pytest.mark.parametrize("seed", range(20))
def test_every_node_knows_where_it_stands(seed: int) -> None:
    source = Writer(1000 + seed).body("", 0)
    stack = [parse(SourceFile("a.lkml", source))[0]]
    while stack:
        node = stack.pop()
        stack += node.children
        assert source.startswith(node.key, node.at)
        if node.kind in (Kind.WORD, Kind.TEXT, Kind.RAW):
            assert source.startswith(node.value, node.value_at)
            assert (node.key in RAW_KEYS) == (node.kind is Kind.RAW)


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_text_cut_anywhere_ends_with_one_located_error_or_none(cut: int) -> None:
    source = Writer(7).body("", 0)[:cut] + '\nview: x { label: "'
    _, findings = parse(SourceFile("a.lkml", source))
    assert findings
    assert all(f.line >= 1 and f.column >= 1 for f in findings)
