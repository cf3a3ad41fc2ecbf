# ruff: noqa: S608 - this package makes SQL; every name goes through names.quoted, every text through names.text
"""Where the two sides live and how the differing rows get into DuckDB: by a join in DuckDB itself, or by a join inside PostgreSQL streamed out.

Either way `differences` leaves the table `diff(status, k…, a…, b…, d…)` in the Duck session. Across databases PostgreSQL's side is fetched first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runyard.tasks.datadiff.duck import Duck, table_sql
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.guard import check_filter, check_query
from runyard.tasks.datadiff.keys import Promises
from runyard.tasks.datadiff.kinds import Column, Kind
from runyard.tasks.datadiff.names import quoted, text
from runyard.tasks.datadiff.postgres import Postgres
from runyard.tasks.datadiff.spec import Connection, Side
from runyard.tasks.datadiff.statements import Builder, Input

CELL_CHARS = 32_768  # longer texts are cut in samples, never in the comparison
ROW_CHARS = 8 << 20
LINE_BYTES = 64 << 20

_READERS = {
    ".parquet": "read_parquet",
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
}


@dataclass(frozen=True, slots=True)
class Located:
    """A side that was found. `engine` runs its SQL."""

    engine: Duck | Postgres
    input: Input
    columns: tuple[Column, ...]
    promises: Promises


def catalog_of(duck: Duck, side: Side, connection: Connection) -> str:
    """Attaches the side's DuckDB file; before the session is locked."""
    if not connection.file:
        raise CouldNot(Fault.CONNECTION, f"The connection {side.connection!r} names no DuckDB file.")
    return duck.attach(connection.file)


def existing(file: str) -> str:
    """The real path of a file that is there."""
    path = os.path.realpath(file)
    if not Path(path).is_file():
        raise CouldNot(Fault.NO_TABLE, f"There is no file {file}.")
    return path


def in_file(duck: Duck, side: Side) -> Located:
    """A Parquet, CSV or JSON file (made readable before the session was locked)."""
    reader = _READERS.get(Path(side.file).suffix.lower())
    if reader is None:
        raise CouldNot(Fault.BAD_SPEC, f"{side.file}: only {', '.join(_READERS)} can be read.")
    relation = f"{reader}({text(existing(side.file))})"
    return Located(
        duck, Input(relation, check_filter(side.filter, "duckdb")), tuple(duck.columns(relation)), ()
    )


def in_duck(duck: Duck, side: Side, catalog: str) -> Located:
    """A table or query in an attached DuckDB file."""
    where = check_filter(side.filter, "duckdb")
    if side.query:
        duck.rows(f"USE {catalog}")
        relation = f"(\n{check_query(side.query, 'duckdb')}\n)"
        columns = tuple(duck.columns(relation))
        if len(duck.attached) > 1:  # the other side's names would be looked up here too
            name = f"query_{catalog}"
            duck.rows(f"CREATE TEMP TABLE {name} AS SELECT * FROM {relation} AS t")
            relation = name
        return Located(duck, Input(relation, where), columns, ())
    place = duck.find(catalog, side.table)
    relation = table_sql(place)
    return Located(duck, Input(relation, where), tuple(duck.columns(relation)), duck.unique_sets(*place))


def in_postgres(server: Postgres, side: Side) -> Located:
    """A table or query on a PostgreSQL server."""
    where = check_filter(side.filter, "postgres")
    if side.query:
        relation = f"(\n{check_query(side.query, 'postgres')}\n)"
        return Located(server, Input(relation, where), tuple(server.columns(relation)), ())
    relation = table_sql(server.find(side.table))
    return Located(
        server, Input(relation, where), tuple(server.columns(relation)), server.unique_sets(relation)
    )


# in one engine ------------------------------------------------------------------------------------------------------------------


def differences_in_duck(duck: Duck, builder: Builder, *, unique: bool) -> None:
    """The join in DuckDB."""
    pairs = builder.pairing.values
    parts = [f"{builder.status} AS status"]
    parts += [f"coalesce(a.{k}, b.{k}) AS {k}" for k in builder.keys]
    for i, pair in enumerate(pairs):
        parts += [f"{_cut(pair.a, f'a.c{i}')} AS a{i}", f"{_cut(pair.b, f'b.c{i}')} AS b{i}"]
    parts += [f"({flag}) AS d{i}" for i, flag in enumerate(builder.flags)]
    duck.rows(f"CREATE TEMP TABLE diff AS {builder.join(', '.join(parts), unique=unique)}")


def _cut(column: Column, value: str) -> str:
    return f"left({value}, {CELL_CHARS})" if column.kind is Kind.STRING else value


def differences_in_postgres(server: Postgres, duck: Duck, builder: Builder, *, unique: bool) -> None:
    """The join in PostgreSQL; rows come over as text, in arrays, because a select list ends at 1,664 columns."""
    pairs = builder.pairing.values
    cell = max(256, min(CELL_CHARS, ROW_CHARS // (2 * len(pairs) + 1)))

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
    path = duck.work / "differences.csv"
    server.copy(builder.join(", ".join(parts), unique=unique), path)
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in ("status", "k", "a", "b", "d"))
    wide = [f"k[{i + 1}] AS k{i}" for i in range(len(builder.keys))]
    wide += [f"{s}[{i + 1}] AS {s}{i}" for i in range(len(pairs)) for s in "ab"]
    wide += [f"substr(d, {i + 1}, 1) = '1' AS d{i}" for i in range(len(pairs))]
    lists = ", ".join(f"""from_json({s}, '["VARCHAR"]') AS {s}""" for s in "kab")
    # In two statements: in one, DuckDB would parse each row's lists again for every column.
    duck.rows(f"CREATE TEMP TABLE lists AS SELECT status, {lists}, d FROM {_csv(path, columns)}")
    duck.rows(f"CREATE TEMP TABLE diff AS SELECT status, {', '.join(wide)} FROM lists")
    duck.rows("DROP TABLE lists")
    path.unlink()


def _csv(path: Path, columns: str) -> str:
    return (
        f"read_csv({text(str(path))}, columns = {{{columns}}}, auto_detect = false, header = false, delim = ',', quote = '\"', "
        f"escape = '\"', nullstr = '', allow_quoted_nulls = false, new_line = '\\n', max_line_size = {LINE_BYTES}, parallel = false)"
    )


# across engines -----------------------------------------------------------------------------------------------------------------

_DUCK_TYPES = {
    "bool": "BOOLEAN",
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "uuid": "UUID",
    "json": "JSON",
    "jsonb": "JSON",
}


def fetch(server: Postgres, duck: Duck, located: Located, name: str) -> Located:
    """Copies PostgreSQL's side into DuckDB under types of the same meaning."""
    path = duck.work / f"{name}.csv"
    chosen = ", ".join(_outgoing(c) for c in located.columns)
    server.copy(f"SELECT {chosen} FROM {located.input.relation} AS t WHERE {located.input.where}", path)
    types = [(c, _duck_type(c)) for c in located.columns]
    declared = ", ".join(f"{text(c.name)}: {text(t)}" for c, t in types)
    duck.rows(
        f"CREATE TEMP TABLE {name} AS SELECT * {_binaries(located.columns)} FROM {_csv(path, declared)}"
    )
    path.unlink()
    columns = tuple(Column(c.name, t, t, Kind.OTHER if c.kind is Kind.ARRAY else c.kind) for c, t in types)
    return Located(duck, Input(name), columns, located.promises)


def _binaries(columns: Sequence[Column]) -> str:
    made = [
        f"unhex(substr({quoted(c.name)}, 3)) AS {quoted(c.name)}" for c in columns if c.kind is Kind.BINARY
    ]
    return f"REPLACE ({', '.join(made)})" if made else ""


def _outgoing(column: Column) -> str:
    value = f"t.{quoted(column.name)}"
    if column.kind is Kind.FIXED:
        return f"rtrim({value}::text)"
    return f"trim_scale({value})::text" if _is_free_number(column) else value


def _is_free_number(column: Column) -> bool:
    return column.base == "numeric" and _duck_type(column) == "VARCHAR"


def _duck_type(column: Column) -> str:
    if column.base == "numeric" and column.exact.startswith("numeric("):
        precision, _, scale = column.exact[len("numeric(") : -1].partition(",")
        if 0 < int(precision) <= 38 and 0 <= int(scale or 0) <= int(precision):
            return f"DECIMAL({precision},{scale or 0})"
    return _DUCK_TYPES.get(column.base, "VARCHAR")
