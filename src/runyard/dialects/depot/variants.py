"""What secrets and variables share on the wire of v3beta2: attributes, times, pages, which variant would
hold. Called by secrets and variables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from protobuf.wkt import Timestamp

from runyard.dialects.depot import ids
from runyard.dialects.depot.gen.depot.ci.v3beta2 import types_pb as types
from runyard.dialects.depot.shelf import Shelf, when
from runyard.engine.ports import Tx
from runyard.model.errors import Invalid, NotFound
from runyard.model.work import SecretVariable

Pair = tuple[str, str]
Rows = Sequence[SecretVariable]


def pairs(attributes: Iterable[types.Attribute]) -> list[Pair]:
    """(key, value) as sent."""
    return [(one.key, one.value) for one in attributes]


def pairs_of(row: SecretVariable) -> list[Pair]:
    """A variant's attributes."""
    return [(key, value) for key, values in sorted(when(row).items()) for value in values]


def attributes(row: SecretVariable) -> list[types.Attribute]:
    """The same as messages."""
    return [types.Attribute(key=key, value=value) for key, value in pairs_of(row)]


def attribute_counts(rows: Rows) -> list[types.AttributeLinkCount]:
    """Every attribute in use and how many variants have it."""
    counts = Counter(pair for row in rows for pair in pairs_of(row))
    return [
        types.AttributeLinkCount(attribute=types.Attribute(key=key, value=value), link_count=count)
        for (key, value), count in sorted(counts.items())
    ]


def modified(row: SecretVariable) -> Timestamp:
    """When its value or its place last changed."""
    ms = int(row.extra.get("updated_at") or 0)
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def newest(rows: Rows) -> Timestamp:
    """The last change of any."""
    return modified(max(rows, key=lambda row: int(row.extra.get("updated_at") or 0)))


def matching(rows: Rows, query: str, wanted: Sequence[Pair]) -> list[SecretVariable]:
    """Variants whose name holds the query and which have all wanted attributes."""
    return [
        row
        for row in rows
        if query.lower() in row.key.lower() and all(pair in pairs_of(row) for pair in wanted)
    ]


def lookup(tx: Tx, shelf: Shelf, asked: Any, kind: ids.Kind) -> list[SecretVariable]:
    """The variants of a name, by it or by its id."""
    if asked is None or not asked.value:
        raise Invalid("an id or a name must be given")
    if asked.field == "name":
        return shelf.named(tx, asked.value)
    first = ids.hear(asked.value, kind)[1]
    rows = shelf.named(tx, shelf.one(tx, first).key)
    if min(row.id for row in rows) != first:
        raise NotFound(f"{kind.name.lower()} not found")
    return rows


def resolutions(rows: Rows, context: Sequence[Pair]) -> dict[int, types.VariantResolution]:
    """For a context that may say only part of the circumstances: which variant holds, which would be outdone,
    and which might hold."""
    known: dict[str, set[str]] = {}
    for key, value in context:
        known.setdefault(key, set()).add(value.lower() if key == "repository" else value)
    holding: list[SecretVariable] = []
    found: dict[int, types.VariantResolution] = {}
    for row in rows:
        conditions = {k: {v.lower() if k == "repository" else v for v in vs} for k, vs in when(row).items()}
        if any(key in known and not known[key] & values for key, values in conditions.items()):
            continue  # it cannot hold here
        if all(key in known for key in conditions):
            holding.append(row)
        else:
            found[row.id] = types.VariantResolution.INDETERMINATE
    best = max(holding, key=lambda row: (len(when(row)), row.id), default=None)
    for row in holding:
        is_best = best is not None and row.id == best.id
        found[row.id] = (
            types.VariantResolution.RESOLVED if is_best else types.VariantResolution.LOWER_PRIORITY
        )
    return found
