# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""The join: in DuckDB, in slices where memory is short, or inside a server whose differing rows are streamed
out.

Either way the table `diff(status, k…, a…, b…, d…)` is in the DuckDB session afterwards, and everything else
is derived from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.fetching import pour
from runyard.tasks.datadiff.grammar import DUCKDB
from runyard.tasks.datadiff.kinds import STRINGS, Column, Kind
from runyard.tasks.datadiff.pairing import Pair
from runyard.tasks.datadiff.servers import Server
from runyard.tasks.datadiff.statements import Builder

CELL_CHARS = 32_768  # longer texts are cut in samples, never in the comparison
ROW_CHARS = 8 << 20
BUILD_SHARE = 0.35  # of the memory limit: what the hash table of one slice may take
_CELL_BYTES = 12  # of a fixed-width value in a hash table, with its share of the row's overhead
_ROW_BYTES = 24
_LOOK_ROWS, _SAMPLE_ROWS = 4_000, 20_000
_MOST_SLICES = 256
_FEW_ROWS = 50_000

Told = Callable[[float], None]


def in_duck(duck: Duck, builder: Builder, rows: int, told: Told, *, unique: bool) -> None:
    """The join in DuckDB. `rows` of the smaller side tell how many slices keep it within memory."""
    pairs = builder.pairing.values
    parts = [f"{builder.status} AS status"]
    parts += [f"coalesce(a.{k}, b.{k}) AS {k}" for k in builder.keys]
    for i, pair in enumerate(pairs):
        parts += [f"{_cut(pair.a, f'a.c{i}')} AS a{i}", f"{_cut(pair.b, f'b.c{i}')} AS b{i}"]
    parts += [f"({flag}) AS d{i}" for i, flag in enumerate(builder.flags)]
    if not unique:
        duck.rows(f"CREATE TEMP TABLE dup AS {builder.duplicates()}")
    slices = _slices(duck, builder, rows)
    for at, within in enumerate(slices):
        duck.progress = lambda fraction, at=at: told((at + fraction) / len(slices))  # type: ignore[misc]
        join = builder.join(", ".join(parts), unique=unique, within=within, dup=None if unique else "dup")
        duck.rows(f"INSERT INTO diff {join}" if at else f"CREATE TEMP TABLE diff AS {join}")
        told((at + 1) / len(slices))
    duck.progress = lambda fraction: None


def _cut(column: Column, value: str) -> str:
    """Only what is too long is touched: cutting every text would cost more than the join."""
    if column.kind is not Kind.STRING:
        return value
    return f"CASE WHEN strlen({value}) > {CELL_CHARS} THEN left({value}, {CELL_CHARS}) ELSE {value} END"


def _slices(duck: Duck, builder: Builder, rows: int) -> list[str]:
    """Conditions on k0 that cut both sides into ranges, so that each range's hash table fits; one empty
    condition when all fit."""
    if rows < _FEW_ROWS:
        return [""]
    wanted = math.ceil(rows * _row_bytes(duck, builder) / (BUILD_SHARE * duck.memory_bytes))
    if wanted < 2 or not _sliceable(builder.pairing.key[0]):
        return [""]
    shares = ", ".join(f"{(i + 1) / wanted:.6f}" for i in range(min(wanted, _MOST_SLICES) - 1))
    source = builder.a
    name = DUCKDB.quoted(builder.pairing.key[0].a.name)
    found, type = duck.one(
        f"SELECT quantile_disc(k, [{shares}])::VARCHAR[], any_value(typeof(k)) FROM "
        f"(SELECT t.{name} AS k FROM {source.relation} AS t WHERE {source.where} AND t.{name} IS NOT NULL) "
        f"USING SAMPLE reservoir({_SAMPLE_ROWS} ROWS) REPEATABLE (7)"
    )
    bounds = [f"CAST({DUCKDB.text(b)} AS {type})" for b in dict.fromkeys(found or [])]
    return _ranges(bounds)


def _ranges(bounds: Sequence[str]) -> list[str]:
    """Conditions on k0 that together hold once for every key; one empty condition without bounds."""
    if not bounds:
        return [""]
    between = [f"r.k0 >= {low} AND r.k0 < {high}" for low, high in pairwise(bounds)]
    return [f"r.k0 < {bounds[0]}", *between, f"r.k0 >= {bounds[-1]}"]


def _row_bytes(duck: Duck, builder: Builder) -> float:
    """About what one row takes in a hash table: fixed-width cells, and texts as long as the first rows have
    them."""
    pairs = [*builder.pairing.key, *builder.pairing.values]
    texts = [p for p in pairs if p.a.kind in STRINGS or p.a.kind in (Kind.JSON, Kind.BINARY)]
    length = 0.0
    if texts:
        lengths = " + ".join(_length(p.a) for p in texts)
        (found,) = duck.one(
            f"SELECT avg({lengths}) FROM (SELECT * FROM {builder.a.relation} AS s LIMIT {_LOOK_ROWS}) AS t"
        )
        length = float(found or 0)
    return _ROW_BYTES + _CELL_BYTES * len(pairs) + length


def _length(column: Column) -> str:
    name = f"t.{DUCKDB.quoted(column.name)}"
    return f"coalesce({f'octet_length({name})' if column.kind is Kind.BINARY else f'strlen({name}::VARCHAR)'}, 0)"


def _sliceable(pair: Pair) -> bool:
    """Whether equal keys always lie in the same range: not where padding or spelling is ignored."""
    return pair.a.kind is pair.b.kind and pair.a.kind in (
        Kind.INTEGER,
        Kind.STRING,
        Kind.UUID,
        Kind.DATE,
        Kind.TIMESTAMP,
        Kind.ZONED,
    )


def in_server(
    server: Server,
    duck: Duck,
    builder: Builder,
    told: Callable[[int], None],
    *,
    unique: bool,
    bounds: Sequence[str] = (),
) -> None:
    """The join in the server, in pieces between `bounds` of the first key column; the differing rows come
    over as text."""
    if server.grammar.name == "postgres":
        _in_postgres(server, duck, builder, told, _ranges(bounds), unique=unique)
        return
    grammar, pairs = server.grammar, builder.pairing.values
    cell = _cell(len(pairs))

    def shown(value: str) -> str:
        return grammar.first_chars(grammar.as_text(value), cell)

    columns = {"status": builder.status}
    columns |= {k: shown(f"coalesce(a.{k}, b.{k})") for k in builder.keys}
    columns |= {f"{s}{i}": shown(f"{s}.c{i}") for i in range(len(pairs)) for s in "ab"}
    columns |= {f"d{i}": f"CASE WHEN {flag} THEN '1' ELSE '0' END" for i, flag in enumerate(builder.flags)}
    select = builder.join(", ".join(f"{sql} AS {n}" for n, sql in columns.items()), unique=unique)
    made = ", ".join(f"{n} = '1' AS {n}" if n[0] == "d" else n for n in columns)
    pour(
        server,
        [select],
        list(columns),
        duck,
        lambda csv: f"CREATE TEMP TABLE diff AS SELECT {made} FROM {csv}",
        told,
    )


def _cell(pairs: int) -> int:
    return max(256, min(CELL_CHARS, ROW_CHARS // (2 * pairs + 1)))


def _in_postgres(
    server: Server,
    duck: Duck,
    builder: Builder,
    told: Callable[[int], None],
    ranges: Sequence[str],
    *,
    unique: bool,
) -> None:
    """Cells in arrays, because a select list ends at 1,664 columns."""
    pairs = builder.pairing.values
    cell = _cell(len(pairs))

    def array(values: Sequence[str]) -> str:
        items = ", ".join(f"left(({v})::text, {cell})" for v in values)
        return f"to_json(ARRAY[{items}]::text[])::text"

    flags = ", ".join(f"CASE WHEN {flag} THEN '1' ELSE '0' END" for flag in builder.flags)
    parts = [
        builder.status,
        array([f"coalesce(a.{k}, b.{k})" for k in builder.keys]),
        array([f"a.c{i}" for i in range(len(pairs))]),
        array([f"b.c{i}" for i in range(len(pairs))]),
        f"array_to_string(ARRAY[{flags}]::text[], '')",
    ]
    wide = [f"k[{i + 1}] AS k{i}" for i in range(len(builder.keys))]
    wide += [f"{s}[{i + 1}] AS {s}{i}" for i in range(len(pairs)) for s in "ab"]
    wide += [f"substr(d, {i + 1}, 1) = '1' AS d{i}" for i in range(len(pairs))]
    lists = ", ".join(f"""from_json({s}, '["VARCHAR"]') AS {s}""" for s in "kab")
    # In two statements: in one, DuckDB would parse each row's lists again for every column.
    pour(
        server,
        [builder.join(", ".join(parts), unique=unique, within=within) for within in ranges],
        ["status", "k", "a", "b", "d"],
        duck,
        lambda csv: f"CREATE TEMP TABLE lists AS SELECT status, {lists}, d FROM {csv}",
        told,
    )
    duck.rows(f"CREATE TEMP TABLE diff AS SELECT status, {', '.join(wide)} FROM lists")
    duck.rows("DROP TABLE lists")
