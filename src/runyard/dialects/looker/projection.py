"""The `fields` parameter: `a,b(c,d)` keeps those keys, of every element of lists. Unknown names are ignored.
Called for every answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runyard.model.errors import Invalid

MAX_LENGTH = 8192
MAX_DEPTH = 16

Tree = dict[str, "Tree"]


def parse(text: str) -> Tree:
    """The wanted keys as a tree; an empty tree means everything. Linear, with a depth budget."""
    if len(text) > MAX_LENGTH:
        raise Invalid(f"fields may have at most {MAX_LENGTH} characters.")
    root: Tree = {}
    open_trees = [root]
    name = ""
    for sign in text:
        if sign == "(":
            if len(open_trees) > MAX_DEPTH:
                raise Invalid("fields is nested too deeply.")
            open_trees.append(open_trees[-1].setdefault(name.strip(), {}))
            name = ""
        elif sign in ",)":
            if name.strip():
                open_trees[-1].setdefault(name.strip(), {})
            name = ""
            if sign == ")" and len(open_trees) > 1:
                open_trees.pop()
        else:
            name += sign
    if name.strip():
        open_trees[-1].setdefault(name.strip(), {})
    return root


def project(value: Any, tree: Tree) -> Any:
    """The value with only the wanted keys."""
    if not tree:
        return value
    if isinstance(value, list):
        return [project(item, tree) for item in value]
    if isinstance(value, Mapping):
        return {key: project(item, tree[key]) for key, item in value.items() if key in tree}
    return value
