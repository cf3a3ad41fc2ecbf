"""Runs under .venv-oracles: one comparison by reladiff or datacompy, told as JSON on stdin, answered as JSON
on stdout. Never imported by tests."""

from __future__ import annotations

import json
import sys
from typing import Any


def reladiff(wish: dict[str, Any]) -> dict[str, Any]:
    """{only_a, only_b, changed}: sorted keys, by reladiff's lines of `-` and `+`."""
    from reladiff import connect_to_table, diff_tables

    columns = tuple(wish["columns"])
    a, b = (connect_to_table(wish[s], wish["table_" + s], wish["key"], extra_columns=columns) for s in "ab")
    signs: dict[str, set[str]] = {}
    for sign, row in diff_tables(a, b, algorithm=wish["algorithm"], **wish.get("options", {})):
        signs.setdefault(str(row[0]), set()).add(sign)
    kinds = {"only_a": {"-"}, "only_b": {"+"}, "changed": {"-", "+"}}
    return {name: sorted(k for k, s in signs.items() if s == kind) for name, kind in kinds.items()}


def datacompy(wish: dict[str, Any]) -> dict[str, Any]:
    """{only_a, only_b: counts, columns: {name: unequal}} of two Parquet files."""
    import datacompy
    import polars

    frames = [polars.read_parquet(wish[s]) for s in "ab"]
    found = datacompy.PolarsCompare(*frames, join_columns=wish["key"])
    return {
        "only_a": len(found.df1_unq_rows),
        "only_b": len(found.df2_unq_rows),
        "columns": {c["column"]: int(c["unequal_cnt"]) for c in found.column_stats},
    }


wishes = json.load(sys.stdin)
json.dump([{"reladiff": reladiff, "datacompy": datacompy}[w.pop("tool")](w) for w in wishes], sys.stdout)
