"""`parallel`: a number or a matrix of variables, and the names its jobs get (gitlab.md §3.8).

`job 1/3` and CI_NODE_INDEX for a number; `job: [a, b]` for a matrix, whose entries are multiplied out in the
order of their keys and then put one after another. At most 200 jobs come of one.
"""

from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from runyard.dialects.gitlab.config import fields
from runyard.dialects.gitlab.config.findings import Place
from runyard.dialects.gitlab.config.interpolation import matrix_filled
from runyard.dialects.gitlab.config.spec import NeedSpec
from runyard.syntax.variables import KEY
from runyard.syntax.yamltree import Mapping, Node, Scalar, Sequence

MAX_JOBS = 200


@dataclass(frozen=True, slots=True)
class Leg:
    """One job of a parallel one. `total` 0: not parallel."""

    name: str
    index: int = 0
    total: int = 0
    variables: Dict[str, str] | None = None


def legs(name: str, parallel: int | tuple[Dict[str, str], ...] | None) -> list[Leg]:
    """The jobs that `name` stands for."""
    if parallel is None:
        return [Leg(name)]
    if isinstance(parallel, int):
        return [Leg(f"{name} {i}/{parallel}", i, parallel) for i in range(1, parallel + 1)]
    return [Leg(leg_name(name, values), i, len(parallel), values) for i, values in enumerate(parallel, 1)]


def leg_count(parallel: int | tuple[Dict[str, str], ...] | None) -> int:
    """How many jobs that is."""
    return 1 if parallel is None else parallel if isinstance(parallel, int) else len(parallel)


def leg_name(name: str, values: Dict[str, str]) -> str:
    """`job: [a, b]`."""
    return f"{name}: [{', '.join(values.values())}]"


def of_leg(specs: tuple[NeedSpec, ...], leg: Leg) -> tuple[NeedSpec, ...]:
    """The needs of one leg: `$[[ matrix.X ]]` is its own value."""
    values = leg.variables or {}
    return tuple(
        replace(
            spec, matrix=tuple({k: matrix_filled(v, values) for k, v in one.items()} for one in spec.matrix)
        )
        if spec.matrix and values
        else spec
        for spec in specs
    )


def read_parallel(node: Node, place: Place) -> int | tuple[Dict[str, str], ...] | None:
    """A number from 1 to 200, or the matrix's combinations."""
    if isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool):
        if 1 <= node.value <= MAX_JOBS:
            return node.value
        what = (
            "must be greater than or equal to 1"
            if node.value < 1
            else f"must be less than or equal to {MAX_JOBS}"
        )
        place.wrong(node.at, what)
        return None
    if not isinstance(node, Mapping):
        place.error(node.at, f"{place.path} should be an integer or a hash")
        return None
    fields.unknown_keys(node, place, ("matrix",))
    matrix = node.get("matrix")
    if matrix is None:
        place.wrong(node.at, "missing required keys: matrix")
        return None
    return matrix_of(matrix, place.sub("matrix")) or None


def matrix_of(node: Node, place: Place) -> tuple[Dict[str, str], ...]:
    """All combinations, in order; () after a problem."""
    entries = fields.sequence(node, place, "should be an array of hashes")
    if not entries:
        if entries is not None:
            place.wrong(node.at, "should have at least one entry")
        return ()
    found: list[Dict[str, str]] = []
    for entry in entries:
        vectors = _vectors(entry, place)
        if vectors is None:
            return ()
        if len(found) + prod(len(values) for values in vectors.values()) > MAX_JOBS:
            place.error(entry.at, f"{place.path} config generates too many jobs (maximum is {MAX_JOBS})")
            return ()
        found += [dict(zip(vectors, values, strict=True)) for values in product(*vectors.values())]
    return tuple(found)


def _vectors(node: Node, place: Place) -> dict[str, tuple[str, ...]] | None:
    if not isinstance(node, Mapping) or not node.entries:
        place.wrong(node.at, "should be a hash of variables, each with a value or an array of values")
        return None
    found = {}
    for key, entry in node.entries.items():
        items = entry.value.items if isinstance(entry.value, Sequence) else (entry.value,)
        values = [item.text for item in items if isinstance(item, Scalar) and item.value is not None]
        if not KEY.fullmatch(key) or len(values) != len(items) or not values:
            place.wrong(entry.key.at, f"{key[:60]} should be a variable with a value or an array of values")
            return None
        found[key] = tuple(dict.fromkeys(values))
    return found
