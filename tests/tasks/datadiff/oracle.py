"""A diff in plain Python, slow and obvious: what the databases' answers are compared with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

Row = tuple[Any, ...]


def canonical(value: Any) -> Any:
    """NaN equals NaN, -0 equals 0; everything else is itself."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


def _profiles(rows: Sequence[Row], keys: int, columns: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows, nulls and distinct values of every column after the key."""
    found = {}
    for at, name in enumerate(columns, keys):
        filled = [row[at] for row in rows if row[at] is not None]
        found[name] = {"total": len(rows), "nulls": len(rows) - len(filled), "distinct": len(set(filled))}
    return found


def diff(a: Sequence[Row], b: Sequence[Row], keys: int, columns: Sequence[str]) -> dict[str, Any]:
    """The numbers of result.json, and which columns differ for which key."""
    sides = [[tuple(map(canonical, row)) for row in side] for side in (a, b)]
    whole = [[r for r in side if None not in r[:keys]] for side in sides]
    counts = [Counter(r[:keys] for r in side) for side in whole]
    bad = {k for c in counts for k, n in c.items() if n > 1}
    good = [{r[:keys]: r[keys:] for r in side if r[:keys] not in bad} for side in whole]
    shared = good[0].keys() & good[1].keys()
    changed = {
        k: {c for c, x, y in zip(columns, good[0][k], good[1][k], strict=True) if x != y}
        for k in shared
        if good[0][k] != good[1][k]
    }
    rows = [{k: Counter(r[keys:] for r in side if r[:keys] == k) for k in bad} for side in whole]
    return {
        "duplicates": {
            "keys": len(bad),
            "keys_different": sum(rows[0][k] != rows[1][k] for k in bad),
            "rows_different": [sum((x[k] - y[k]).total() for k in bad) for x, y in (rows, reversed(rows))],
        }
        if bad
        else None,
        "profiles": [_profiles(side, keys, columns) for side in sides],
        "pks": {
            "total_rows": [len(side) for side in sides],
            "nulls": [len(side) - len(w) for side, w in zip(sides, whole, strict=True)],
            "dupes": [sum(n for n in c.values() if n > 1) for c in counts],
            "exclusives": [
                len(counts[0].keys() - counts[1].keys()),
                len(counts[1].keys() - counts[0].keys()),
            ],
            "distincts": [len(c) for c in counts],
        },
        "total_rows": len(shared),
        "changed": changed,
        "only": [good[0].keys() - good[1].keys(), good[1].keys() - good[0].keys()],
        "per_column": [sum(c in names for names in changed.values()) for c in columns],
    }
