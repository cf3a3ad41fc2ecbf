"""What a result says in words and lines that the terminal, Markdown, HTML and the Datafold page share. Pure;
reads result.json's shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

BARS = "▁▂▃▄▅▆▇█"
PROFILE_HEAD = ("column", "nulls", "distinct", "range", "mean", "distribution")


def profile_lines(profiles: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows under PROFILE_HEAD, those first whose figures differ; `old → new` where they do."""
    tables = profiles["t1"]["columns"], profiles["t2"]["columns"]
    found = []
    for name in dict.fromkeys([*tables[0], *tables[1]]):
        sides = [table.get(name) for table in tables]
        cells = [_cells(side) for side in sides]
        bars = [
            _histogram(counts) for counts in profiles["histograms"].get(name, {"counts": ["", ""]})["counts"]
        ]
        shown = [_arrow(*pair) for pair in zip(*cells, strict=True)]
        found.append((sides[0] != sides[1], (name, *shown, _arrow(*bars))))
    return [row for differ, row in sorted(found, key=lambda f: not f[0])]


def _cells(side: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    if side is None:
        return ("no column", "", "", "")
    share = side["nulls"] / side["total"] if side["total"] else 0.0
    span = "" if side["min"] is None else f"{side['min'][:40]} … {side['max'][:40]}"
    distinct = "" if side["distinct"] is None else f"{side['distinct']:,}"
    mean = "" if side["mean"] is None else f"{side['mean']:.6g}"
    return (f"{share:.2%}" if side["nulls"] else "0", distinct, span, mean)


def _histogram(counts: Sequence[int] | None) -> str:
    """A histogram as one line of blocks; the smallest count above 0 shows."""
    if not counts:
        return ""
    top = max(counts) or 1
    return "".join(BARS[math.ceil(n * (len(BARS) - 1) / top)] for n in counts)


def _arrow(a: str, b: str) -> str:
    return a if a == b else f"{a or 'none'} → {b or 'none'}"


def duplicates_told(result: Mapping[str, Any]) -> list[str]:
    """What the rows of duplicate keys say, in a sentence; none where there are none, or where they were not
    compared."""
    found = result.get("duplicates")
    if not found:
        return []
    keys, (a, b) = found["keys"], found["rows_different"]
    if not found["keys_different"]:
        return [f"Duplicate keys: {keys:,}; their rows are the same on both sides."]
    return [
        f"Duplicate keys: {keys:,}, of which {found['keys_different']:,} have other rows on the other side: {a:,} rows of A and {b:,} of B have no equal there."
    ]
