"""A matrix of values to its legs, as GitHub expands `strategy.matrix` (contracts/actions.md §5): product,
exclude, include.

Called by compilers with values known at the trigger and by the engine with values known later. Raises
ValueError with the vendor's message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from runyard.syntax.expressions import render_value, to_string
from runyard.syntax.expressions.values import equal

MAX_LEGS = 256

Leg = dict[str, Any]


def expand(matrix: Mapping[str, Any]) -> list[Leg]:
    """Every leg in order; the last key varies fastest, appended includes come at the end."""
    vectors = {key: value for key, value in matrix.items() if key not in ("include", "exclude")}
    include, exclude = _entries(matrix, "include"), _entries(matrix, "exclude")
    for key, vector in vectors.items():
        if not isinstance(vector, list):
            raise ValueError(f"Matrix vector '{key}' must be a sequence")
        if not vector:
            raise ValueError(f"Matrix vector '{key}' does not contain any values")
    if not vectors and not include:
        raise ValueError("Matrix must define at least one vector")
    if math.prod(len(vector) for vector in vectors.values()) > MAX_LEGS:
        raise ValueError(f"The strategy configuration generated more than {MAX_LEGS} jobs")
    for entry in exclude:
        if unknown := entry.keys() - vectors.keys():
            raise ValueError(f"Matrix exclude key '{min(unknown)}' does not match any key within the matrix")
    legs = [leg for leg in _product(vectors) if not any(_matches(leg, entry) for entry in exclude)]
    legs = _included(legs, include, frozenset(vectors))
    if len(legs) > MAX_LEGS:
        raise ValueError(f"The strategy configuration generated more than {MAX_LEGS} jobs")
    return legs


def rendered(tree: Any, facts: Mapping[str, Any]) -> Any:
    """A tree with every template in it replaced by its value, typed. ExpressionError."""
    match tree:
        case str():
            return render_value(tree, facts)
        case Mapping():
            return {key: rendered(value, facts) for key, value in tree.items()}
        case list() | tuple():
            return [rendered(item, facts) for item in tree]
    return tree


def suffix(leg: Mapping[str, Any]) -> str:
    """What tells a leg's name apart: its scalar values."""
    return ", ".join(to_string(value) for value in leg.values() if not isinstance(value, list | dict))


def _entries(matrix: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = matrix.get(key)
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"Matrix {key} must be a sequence of mappings")
    return entries


def _product(vectors: Mapping[str, Sequence[Any]]) -> list[Leg]:
    legs: list[Leg] = [{}] if vectors else []
    for key, vector in vectors.items():
        legs = [{**leg, key: value} for leg in legs for value in vector]
    return legs


def _matches(value: Any, wanted: Any) -> bool:
    """Partial on mappings, item by item on sequences, `==` of the language on leaves."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            key in value and _matches(value[key], inner) for key, inner in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(value, list)
            and len(value) == len(wanted)
            and all(_matches(one, other) for one, other in zip(value, wanted, strict=True))
        )
    return not isinstance(value, dict | list) and equal(value, wanted)


def _included(legs: list[Leg], include: list[dict[str, Any]], vectors: frozenset[str]) -> list[Leg]:
    """An entry joins every original leg whose vector values it repeats; one that joins none is a leg of its
    own."""
    originals = [dict(leg) for leg in legs]
    grown = [dict(leg) for leg in legs]
    appended: list[Leg] = []
    for entry in include:
        filters = {key: value for key, value in entry.items() if key in vectors}
        extra = {key: value for key, value in entry.items() if key not in vectors}
        joined = [place for place, leg in enumerate(originals) if _matches(leg, filters)]
        for place in joined:
            grown[place].update(extra)
        if not joined:
            appended.append(dict(entry))
    return [*grown, *appended]
