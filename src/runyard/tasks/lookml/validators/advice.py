"""Hints of severity info: what works and may not be meant. Files that no model sees, joins without a
relationship, old spellings. Called by `checks`."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from runyard.tasks.lookml.language.findings import Finding, Severity
from runyard.tasks.lookml.language.model import Explore
from runyard.tasks.lookml.language.tree import Kind, Node

_OLD = {
    "sql_trigger_value": "a datagroup with sql_trigger",
    "access_filter_fields": "access_filter",
    "sql_foreign_key": "foreign_key",
    "view_label_from_parameter": "label_from_parameter",
}


def of_file(tree: Node) -> Iterator[Finding]:
    """Old spellings in a file."""
    for node in tree.all("view", "explore"):
        for block in (node, *(c for c in node.children if c.kind is Kind.BLOCK)):
            for found in block.children:
                if found.key in _OLD:
                    message = f'"{found.key}" is an old spelling; use {_OLD[found.key]}'
                    yield _hint(found, "deprecated", message)


def unseen(paths: Collection[str], seen: Collection[str]) -> Iterator[Finding]:
    """Files of the project that no model includes: nothing in them has any effect."""
    for path in sorted(paths):
        own = not path.startswith("imported_projects/") and path != "manifest.lkml"
        if own and path not in seen:
            yield Finding("unreachable", "no model includes this file", Severity.INFO, path, 1, 1)


def of_explore(explore: Explore) -> Iterator[Finding]:
    """Joins that leave their relationship to the default."""
    for join in explore.joins:
        if join.node.get("relationship") is None and join.node.get("sql") is None:
            message = f'join "{join.alias}" of explore "{explore.name}" names no relationship; many_to_one is assumed'
            line, column = join.node.place
            yield Finding(
                "no_relationship",
                message,
                Severity.INFO,
                join.node.file.path,
                line,
                column,
                explore.model.name,
                explore.name,
                "",
                "",
                (explore.id,),
            )


def of_unused(explore: Explore) -> Iterator[Finding]:
    """An explore that exists to be extended, and is not."""
    message = f'explore "{explore.name}" requires extension, and no explore extends it'
    yield _hint(explore.node, "never_extended", message)


def _hint(node: Node, code: str, message: str) -> Finding:
    line, column = node.place
    return Finding(code, message, Severity.INFO, node.file.path, line, column)
