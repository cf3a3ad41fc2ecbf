# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Rows for people: a few of each kind for the report, and the Parquet file with both values and a flag per column. Reads the table `diff`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.grammar import DUCKDB
from runyard.tasks.datadiff.kinds import Column
from runyard.tasks.datadiff.pairing import Pairing
from runyard.tasks.datadiff.report import KeyCounts, Samples
from runyard.tasks.datadiff.servers import Server
from runyard.tasks.datadiff.statements import CHANGED, ONLY_A, ONLY_B, Builder

CELL_CHARS = 500
JsonRow = dict[str, Any]


def collect(
    duck: Duck, engine: Duck | Server, builder: Builder, keys: Sequence[KeyCounts], limit: int
) -> Samples:
    """At most `limit` rows of each kind, in key order."""
    if limit <= 0:
        return Samples()

    def bad(what: str, counts: Sequence[int]) -> tuple[list[JsonRow], list[JsonRow]]:
        sides = [
            _bad_keys(engine, builder, side, what, limit) if n else []
            for side, n in zip("ab", counts, strict=True)
        ]
        return sides[0], sides[1]

    order = _order(builder.pairing, restored(duck, engine, builder.pairing))
    only = [_exclusive(duck, builder.pairing, side, order, limit) for side in "ab"]
    return Samples(
        changed=_changed(duck, builder.pairing, order, limit),
        only=(only[0], only[1]),
        nulls=bad("null", [k.nulls for k in keys]),
        dupes=bad("duplicate", [k.dupes for k in keys]),
    )


def _text(column: str) -> str:
    return f"left({column}::VARCHAR, {CELL_CHARS})"


def _key_of(pairing: Pairing, values: Sequence[Any]) -> dict[str, Any]:
    return {p.name: v for p, v in zip(pairing.key, values, strict=True)}


def _order(pairing: Pairing, typed: Mapping[str, str]) -> str:
    """The key's columns under their own types: a server's came as texts, whose order is another."""
    return ", ".join(typed.get(f"k{i}", f"k{i}") for i in range(len(pairing.key)))


def _ordered(columns: Sequence[str], status: str, order: str, limit: int) -> str:
    return f"SELECT {', '.join(columns)} FROM diff WHERE status = '{status}' ORDER BY {order} LIMIT {limit}"


def _changed(duck: Duck, pairing: Pairing, order: str, limit: int) -> list[JsonRow]:
    """Keys with the columns that differ, as [A, B]."""
    keys = [_text(f"k{i}") for i in range(len(pairing.key))]
    cells = [c for i in range(len(pairing.values)) for c in (f"d{i}", _text(f"a{i}"), _text(f"b{i}"))]
    found = []
    for row in duck.rows(_ordered(keys + cells, CHANGED, order, limit)):
        rest = row[len(keys) :]
        triples = zip(pairing.values, rest[0::3], rest[1::3], rest[2::3], strict=True)
        found.append(
            {
                "key": _key_of(pairing, row[: len(keys)]),
                "columns": {p.name: [a, b] for p, d, a, b in triples if d},
            }
        )
    return found


def _exclusive(duck: Duck, pairing: Pairing, side: str, order: str, limit: int) -> list[JsonRow]:
    """Keys with all compared values of the side that has them."""
    keys = [_text(f"k{i}") for i in range(len(pairing.key))]
    cells = [_text(f"{side}{i}") for i in range(len(pairing.values))]
    names = [p.name for p in pairing.values]
    rows = duck.rows(_ordered(keys + cells, ONLY_A if side == "a" else ONLY_B, order, limit))
    return [
        {"key": _key_of(pairing, r[: len(keys)]), "values": dict(zip(names, r[len(keys) :], strict=True))}
        for r in rows
    ]


def exclusives(duck: Duck, engine: Duck | Server, pairing: Pairing, *, values: bool) -> JsonRow | None:
    """{t1, t2: {columns: {key column: {nulls, total, distinct, min, max, …}}}} of the keys that one side alone has; None when there is none."""
    typed = restored(duck, engine, pairing)
    found: JsonRow = {}
    for side, status in (("t1", ONLY_A), ("t2", ONLY_B)):
        parts = ["count(*)"]
        for i in range(len(pairing.key)):
            key = typed.get(f"k{i}", f"k{i}")
            parts += [f"count(DISTINCT {key})", _text(f"min({key})"), _text(f"max({key})")]
        total, *rest = duck.one(f"SELECT {', '.join(parts)} FROM diff WHERE status = '{status}'")
        triples = zip(pairing.key, rest[0::3], rest[1::3], rest[2::3], strict=True)
        columns = {
            p.name: {
                "nulls": 0,
                "total": total,
                "distinct": distinct,
                "min": low if values else None,
                "max": high if values else None,
                "histogram_bins": 0,
                "top_values_count": 0,
            }
            for p, distinct, low, high in triples
        }
        found[side] = {"columns": columns}
    return found if any(c["total"] for side in found.values() for c in side["columns"].values()) else None


def keep_few(duck: Duck, engine: Duck | Server, pairing: Pairing, differing: Sequence[int], most: int) -> int:
    """Leaves of the changed rows those that are among the first `most`, in key order, of a column that differs in them. `differing`: rows per column.
    Returns how many are left."""
    order = _order(pairing, restored(duck, engine, pairing))
    rare = [f"d{i}" for i, n in enumerate(differing) if 0 < n <= most]
    whole = " OR ".join(rare) or "false"
    duck.rows(
        f"CREATE TEMP TABLE kept AS SELECT rowid AS r FROM diff WHERE status = '{CHANGED}' AND ({whole})"
    )
    for i, n in enumerate(differing):
        if n > most:
            first = (
                f"SELECT rowid FROM diff WHERE status = '{CHANGED}' AND d{i} ORDER BY {order} LIMIT {most}"
            )
            duck.rows(f"INSERT INTO kept ({first})")
    duck.rows(f"DELETE FROM diff WHERE status = '{CHANGED}' AND rowid NOT IN (SELECT r FROM kept)")
    (left,) = duck.one(f"SELECT count(*) FROM diff WHERE status = '{CHANGED}'")
    return int(left)


def _bad_keys(engine: Duck | Server, builder: Builder, side: str, what: str, limit: int) -> list[JsonRow]:
    rows = engine.rows(builder.bad_rows(side, what, limit))
    return [
        {
            "key": _key_of(builder.pairing, [None if v is None else str(v)[:CELL_CHARS] for v in r[:-1]]),
            "rows": int(r[-1]),
        }
        for r in rows
    ]


# Parquet ------------------------------------------------------------------------------------------------------------------------


def write_parquet(duck: Duck, engine: Duck | Server, pairing: Pairing, path: Path, limit: int) -> int:
    """Writes up to `limit` rows of each kind: `_status`, the key, then per column `x__a`, `x__b`, `x__differs`. Returns the rows written."""
    if limit <= 0:
        return 0
    typed = restored(duck, engine, pairing)
    columns, order = wide_columns(pairing, typed), _order(pairing, typed)
    parts = [f"({_ordered(['*'], status, order, limit)})" for status in (CHANGED, ONLY_A, ONLY_B)]
    duck.put_parquet(f"SELECT {', '.join(columns)} FROM ({' UNION ALL '.join(parts)}) AS t", path)
    (rows,) = duck.one(f"SELECT count(*) FROM read_parquet({DUCKDB.text(str(path))})")
    return int(rows)


def wide_columns(pairing: Pairing, typed: Mapping[str, str]) -> list[str]:
    """The select list over `diff` that people are given; `typed` says which columns are cast back."""
    columns = ["status AS _status"]
    taken = {"_status"}
    for i, p in enumerate(pairing.key):
        columns.append(f"{typed.get(f'k{i}', f'k{i}')} AS {free_name(p.name, taken)}")
    for i, p in enumerate(pairing.values):
        for side, suffix in (("a", "__a"), ("b", "__b")):
            columns.append(f"{typed.get(f'{side}{i}', f'{side}{i}')} AS {free_name(p.name + suffix, taken)}")
        columns.append(f"(status = '{CHANGED}' AND d{i}) AS {free_name(p.name + '__differs', taken)}")
    return columns


def free_name(name: str, taken: set[str]) -> str:
    """The name, or a near one: two names may differ in case alone, which Parquet readers do not bear."""
    while name.casefold() in taken:
        name += "_"
    taken.add(name.casefold())
    return DUCKDB.quoted(name)


def restored(duck: Duck, engine: Duck | Server, pairing: Pairing) -> dict[str, str]:
    """Casts for columns that came from a server as text, where every value survives (`NaN` in a numeric or a date BC does not), and of what Parquet
    would round."""
    if isinstance(engine, Duck):
        return _exact(duck, pairing)
    wishes: dict[str, str] = {}
    for i, p in enumerate(pairing.key):
        wishes[f"k{i}"] = _wish(engine, p.a)
    for i, p in enumerate(pairing.values):
        wishes[f"a{i}"], wishes[f"b{i}"] = _wish(engine, p.a), _wish(engine, p.b)
    wishes = {name: kind for name, kind in wishes.items() if kind}
    doubtful = {n: k for n, k in wishes.items() if k.startswith(("DECIMAL", "DATE", "TIME"))}
    lossy: set[str] = set()
    if doubtful:
        lost = ", ".join(f"count({n}) > count(TRY_CAST({n} AS {k}))" for n, k in doubtful.items())
        row = duck.one(f"SELECT {lost} FROM diff")
        lossy = {n for n, bad in zip(doubtful, row, strict=True) if bad}
    return {n: f"CAST({n} AS {k})" for n, k in wishes.items() if n not in lossy}


def _exact(duck: Duck, pairing: Pairing) -> dict[str, str]:
    """DuckDB writes its widest integers, which every sum() gives, into Parquet as floats: they go as decimals, or as text where one has 39 digits."""
    sides = [("k", "a", pairing.key), ("a", "a", pairing.values), ("b", "b", pairing.values)]
    wide = [
        f"{letter}{i}"
        for letter, side, pairs in sides
        for i, p in enumerate(pairs)
        if (p.a if side == "a" else p.b).exact.upper() in ("HUGEINT", "UHUGEINT")
    ]
    if not wide:
        return {}
    tests = ", ".join(f"count({n}) = count(TRY_CAST({n} AS DECIMAL(38, 0)))" for n in wide)
    fit = duck.one(f"SELECT {tests} FROM diff")
    return {n: f"CAST({n} AS {'DECIMAL(38, 0)' if f else 'VARCHAR'})" for n, f in zip(wide, fit, strict=True)}


def _wish(server: Server, column: Column) -> str:
    """The DuckDB type that a text can be turned back into."""
    type = server.outgoing("x", column, False)[1]
    return "" if type in ("VARCHAR", "JSON", "BLOB") or type.endswith("[]") else type
