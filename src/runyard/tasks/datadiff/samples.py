# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Rows for people: a few of each kind for the report, and the Parquet file with both values and a flag per
column. Reads the table `diff`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Differing:
    """The table `diff` in DuckDB: what made it, the engine that did, and the casts that give a column its own
    type back (`restored`)."""

    duck: Duck
    engine: Duck | Server
    builder: Builder
    casts: dict[str, str]

    @property
    def pairing(self) -> Pairing:
        """Which columns those of `diff` are."""
        return self.builder.pairing

    def typed(self, column: str) -> str:
        """A column of `diff` under its own type."""
        return self.casts.get(column, column)

    @property
    def order(self) -> str:
        """The key's columns under their own types: a server's came as texts, whose order is another."""
        return ", ".join(map(self.typed, self.builder.keys))


def differing(duck: Duck, engine: Duck | Server, builder: Builder) -> Differing:
    """Once per diff: finding the casts looks at every row."""
    return Differing(duck, engine, builder, restored(duck, engine, builder.pairing))


def collect(found: Differing, keys: Sequence[KeyCounts], limit: int) -> Samples:
    """At most `limit` rows of each kind, in key order."""
    if limit <= 0:
        return Samples()

    def bad(what: str, counts: Sequence[int]) -> tuple[list[JsonRow], list[JsonRow]]:
        sides = [
            _bad_keys(found, side, what, limit) if n else [] for side, n in zip("ab", counts, strict=True)
        ]
        return sides[0], sides[1]

    only = [_exclusive(found, side, limit) for side in "ab"]
    return Samples(
        changed=_changed(found, limit),
        only=(only[0], only[1]),
        nulls=bad("null", [k.nulls for k in keys]),
        dupes=bad("duplicate", [k.dupes for k in keys]),
    )


def _text(column: str) -> str:
    return f"left({column}::VARCHAR, {CELL_CHARS})"


def _key_of(pairing: Pairing, values: Sequence[Any]) -> dict[str, Any]:
    return {p.name: v for p, v in zip(pairing.key, values, strict=True)}


def _ordered(columns: Sequence[str], status: str, order: str, limit: int) -> str:
    return f"SELECT {', '.join(columns)} FROM diff WHERE status = '{status}' ORDER BY {order} LIMIT {limit}"


def _changed(found: Differing, limit: int) -> list[JsonRow]:
    """Keys with the columns that differ, as [A, B]."""
    pairing = found.pairing
    keys = [_text(f"k{i}") for i in range(len(pairing.key))]
    cells = [c for i in range(len(pairing.values)) for c in (f"d{i}", _text(f"a{i}"), _text(f"b{i}"))]
    rows = []
    for row in found.duck.rows(_ordered(keys + cells, CHANGED, found.order, limit)):
        rest = row[len(keys) :]
        triples = zip(pairing.values, rest[0::3], rest[1::3], rest[2::3], strict=True)
        rows.append(
            {
                "key": _key_of(pairing, row[: len(keys)]),
                "columns": {p.name: [a, b] for p, d, a, b in triples if d},
            }
        )
    return rows


def _exclusive(found: Differing, side: str, limit: int) -> list[JsonRow]:
    """Keys with all compared values of the side that has them."""
    pairing = found.pairing
    keys = [_text(f"k{i}") for i in range(len(pairing.key))]
    cells = [_text(f"{side}{i}") for i in range(len(pairing.values))]
    names = [p.name for p in pairing.values]
    rows = found.duck.rows(_ordered(keys + cells, ONLY_A if side == "a" else ONLY_B, found.order, limit))
    return [
        {"key": _key_of(pairing, r[: len(keys)]), "values": dict(zip(names, r[len(keys) :], strict=True))}
        for r in rows
    ]


def exclusives(found: Differing, *, values: bool) -> JsonRow | None:
    """{t1, t2: {columns: {key column: {nulls, total, distinct, min, max, …}}}} of the keys that one side
    alone has; None when there is none."""
    profiles: JsonRow = {}
    for side, status in (("t1", ONLY_A), ("t2", ONLY_B)):
        parts = ["count(*)"]
        for key in map(found.typed, found.builder.keys):
            parts += [f"count(DISTINCT {key})", _text(f"min({key})"), _text(f"max({key})")]
        total, *rest = found.duck.one(f"SELECT {', '.join(parts)} FROM diff WHERE status = '{status}'")
        triples = zip(found.pairing.key, rest[0::3], rest[1::3], rest[2::3], strict=True)
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
        profiles[side] = {"columns": columns}
    some = any(c["total"] for side in profiles.values() for c in side["columns"].values())
    return profiles if some else None


def keep_few(found: Differing, changed: Sequence[int], most: int) -> int:
    """Leaves of the changed rows those that are among the first `most`, in key order, of a column that
    differs in them. `changed`: rows per column. Returns how many are left."""
    duck = found.duck
    rare = [f"d{i}" for i, n in enumerate(changed) if 0 < n <= most]
    whole = " OR ".join(rare) or "false"
    duck.rows(
        f"CREATE TEMP TABLE kept AS SELECT rowid AS r FROM diff WHERE status = '{CHANGED}' AND ({whole})"
    )
    for i, n in enumerate(changed):
        if n > most:
            first = f"SELECT rowid FROM diff WHERE status = '{CHANGED}' AND d{i} ORDER BY {found.order} LIMIT {most}"
            duck.rows(f"INSERT INTO kept ({first})")
    duck.rows(f"DELETE FROM diff WHERE status = '{CHANGED}' AND rowid NOT IN (SELECT r FROM kept)")
    (left,) = duck.one(f"SELECT count(*) FROM diff WHERE status = '{CHANGED}'")
    return int(left)


def _bad_keys(found: Differing, side: str, what: str, limit: int) -> list[JsonRow]:
    rows = found.engine.rows(found.builder.bad_rows(side, what, limit))
    return [
        {
            "key": _key_of(found.pairing, [None if v is None else str(v)[:CELL_CHARS] for v in r[:-1]]),
            "rows": int(r[-1]),
        }
        for r in rows
    ]


# Parquet
# -----------------------------------------------------------------------------------------------------------


def write_parquet(found: Differing, path: Path, limit: int) -> int:
    """Writes up to `limit` rows of each kind: `_status`, the key, then per column `x__a`, `x__b`,
    `x__differs`. Returns the rows written."""
    if limit <= 0:
        return 0
    parts = [f"({_ordered(['*'], status, found.order, limit)})" for status in (CHANGED, ONLY_A, ONLY_B)]
    columns = ", ".join(wide_columns(found))
    found.duck.put_parquet(f"SELECT {columns} FROM ({' UNION ALL '.join(parts)}) AS t", path)
    (rows,) = found.duck.one(f"SELECT count(*) FROM read_parquet({DUCKDB.text(str(path))})")
    return int(rows)


def wide_columns(found: Differing) -> list[str]:
    """The select list over `diff` that people are given."""
    columns = ["status AS _status"]
    taken = {"_status"}
    for key, p in zip(found.builder.keys, found.pairing.key, strict=True):
        columns.append(f"{found.typed(key)} AS {free_name(p.name, taken)}")
    for i, p in enumerate(found.pairing.values):
        for side, suffix in (("a", "__a"), ("b", "__b")):
            columns.append(f"{found.typed(f'{side}{i}')} AS {free_name(p.name + suffix, taken)}")
        columns.append(f"(status = '{CHANGED}' AND d{i}) AS {free_name(p.name + '__differs', taken)}")
    return columns


def free_name(name: str, taken: set[str]) -> str:
    """The name, or a near one: two names may differ in case alone, which Parquet readers do not bear."""
    while name.casefold() in taken:
        name += "_"
    taken.add(name.casefold())
    return DUCKDB.quoted(name)


def restored(duck: Duck, engine: Duck | Server, pairing: Pairing) -> dict[str, str]:
    """Casts for columns that came from a server as text, where every value survives (`NaN` in a numeric or a
    date BC does not), and of what Parquet would round."""
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
    """DuckDB writes its widest integers, which every sum() gives, into Parquet as floats: they go as
    decimals, or as text where one has 39 digits."""
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
