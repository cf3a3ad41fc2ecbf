# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Finds the two sides: a table, a query or a file, in the engine that will read it, with its columns and the
keys its catalog promises.

Called once per diff, after everything was opened and DuckDB was locked down.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import DUCKDB
from runyard.tasks.datadiff.guard import check_filter, check_query
from runyard.tasks.datadiff.kinds import Column, Kind, duckdb_column
from runyard.tasks.datadiff.names import match
from runyard.tasks.datadiff.servers import Promise, Server
from runyard.tasks.datadiff.spec import Connection, Side
from runyard.tasks.datadiff.statements import Input

text = DUCKDB.text
_READERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}


@dataclass(frozen=True, slots=True)
class Located:
    """A side that was found. `engine` runs its SQL; `about_rows` is a guess, 0 when there is none."""

    engine: Duck | Server
    input: Input
    columns: tuple[Column, ...]
    promises: tuple[Promise, ...] = ()
    about_rows: int = 0
    sorted_by: frozenset[str] = frozenset()
    path: tuple[str, ...] = ()  # of a server's table
    fetched: bool = False
    untyped: bool = False  # a CSV, all text so far


def catalog_of(duck: Duck, side: Side, connection: Connection) -> str:
    """Attaches the side's DuckDB file; before the session is locked."""
    if not connection.file:
        raise CouldNot(Fault.CONNECTION, f"The connection {side.connection!r} names no DuckDB file.")
    return duck.attach(connection.file)


def existing(file: str) -> str:
    """The real path of a file that is there."""
    path = os.path.realpath(file.removeprefix("file://"))
    if not Path(path).is_file():
        raise CouldNot(Fault.NO_TABLE, f"There is no file {file}.")
    return path


def in_file(duck: Duck, side: Side, name: str) -> Located:
    """A Parquet, CSV or JSON file (made readable before the session was locked). What has to be parsed is
    parsed once, into a table `name`."""
    options = side.file_options
    ending = Path(side.file).name.lower()
    by_name = next((t for s, t in _READERS.items() if ending.endswith(s)), None)
    type = options.type if options is not None and options.type else by_name
    if type is None:
        hint = (
            f" A DuckDB file's table: duckdb:///{existing(side.file).lstrip('/')}?table=…"
            if ending.endswith((".duckdb", ".db"))
            else ""
        )
        raise CouldNot(Fault.BAD_SPEC, f"{side.file}: only {', '.join(_READERS)} can be read.{hint}")
    more = ""
    if type == "csv":
        more = ", all_varchar = true, header = true, allow_quoted_nulls = false"
        more += f", delim = {text(options.delimiter)}" if options is not None and options.delimiter else ""
        more += (
            f", skip = {options.skip_head_rows}" if options is not None and options.skip_head_rows > 0 else ""
        )
    path = existing(side.file)
    if options is not None and options.skip_tail_rows > 0:
        path = _without_tail(path, options.skip_tail_rows, duck.work / f"{name}.csv", type)
    relation = f"read_{type}({text(path)}{more})"
    if type != "parquet":
        duck.rows(f"CREATE TEMP TABLE {name} AS SELECT * FROM {relation}")
        relation = name
    columns = tuple(duck.columns(relation))
    return Located(duck, Input(relation, check_filter(side.filter, "duckdb")), columns, untyped=type == "csv")


def _without_tail(path: str, lines: int, copy: Path, type: str) -> str:
    """A copy in the work folder without the last lines: what stands there (a total, a remark) need not even
    be CSV. The program takes it away."""
    if type != "csv" or path.endswith(".gz"):
        raise CouldNot(Fault.BAD_SPEC, "skip_tail_rows is for CSV files that are not compressed.")
    with Path(path).open("rb") as file, copy.open("wb") as out:
        held: deque[bytes] = deque()
        for line in file:
            held.append(line)
            if len(held) > lines:
                out.write(held.popleft())
    return str(copy)


def typed(duck: Duck, sides: tuple[Located, Located]) -> tuple[Located, Located]:
    """CSV has no types: a column takes its partner's if all its values can without losing anything, else (two
    CSVs) the first usual type that both can, else it stays text."""
    a, b = sides
    if a.untyped and b.untyped:
        names = [c.name for c in a.columns if match(c.name, (o.name for o in b.columns))]
        fits = [_first_types(duck, side, names) for side in sides]
        types = {n: t for n, t in fits[0].items() if fits[1].get(n) == t}
        return _cast(duck, a, types), _cast(duck, b, types)
    if a.untyped:
        return _cast(duck, a, _partners(a, b)), b
    return (a, _cast(duck, b, _partners(b, a))) if b.untyped else sides


def _partners(csv: Located, other: Located) -> dict[str, str]:
    """Column of the CSV → DuckDB type of the other side's."""
    found = {}
    by_name = {c.name: c for c in other.columns}
    for column in csv.columns:
        partner = match(column.name, by_name)
        if partner is not None:
            theirs = by_name[partner]
            engine = other.engine
            type = theirs.exact if isinstance(engine, Duck) else engine.outgoing("x", theirs, False)[1]
            type = "BOOLEAN" if theirs.base == "tinyint(1)" else type  # what MySQL means by it
            found[column.name.casefold()] = type
    return found


def _first_types(duck: Duck, side: Located, names: Sequence[str]) -> dict[str, str]:
    """For each column the first of the usual types that all its values have, by its name in lower case."""
    found: dict[str, str] = {}
    for type, also in _USUAL:
        left = {n.casefold(): type for n in names if n.casefold() not in found}
        found |= {n: t for n, t in left.items() if n in _possible(duck, side, left, also)}
    return found


_NUMBER = "NOT regexp_matches({value}, '^[+-]?0[0-9]')"  # a needless zero makes it a code, not a number
_FEW_DIGITS = (
    "length(ltrim(regexp_replace(split_part(lower({value}), 'e', 1), '[^0-9]', '', 'g'), '0')) <= 15"
)
_USUAL = (
    ("BIGINT", _NUMBER),
    ("DOUBLE", f"{_NUMBER} AND {_FEW_DIGITS}"),  # of which no two different ones are the same double
    ("DECIMAL(38,12)", _NUMBER),
    ("DOUBLE", _NUMBER),
    ("DATE", "true"),
    ("TIMESTAMP", "true"),
    ("BOOLEAN", "true"),
)
"""Types of a column in two CSVs, the first that fits, and what must also hold of its values."""


def _possible(duck: Duck, side: Located, types: dict[str, str], also: str = "true") -> set[str]:
    """The columns (lower case) of which every value can be cast and loses nothing by it, and of which some
    value is there."""
    asked = [(c, types[c.name.casefold()]) for c in side.columns if c.name.casefold() in types]
    if not asked:
        return set()
    tests = []
    for column, type in asked:
        value = f"t.{DUCKDB.quoted(column.name)}"
        kept = f"{_try(value, type)} IS NOT NULL AND {_whole(value, type)} AND {also.format(value=value)}"
        lost = f"{value} IS NOT NULL AND NOT coalesce({kept}, false)"
        tests.append(f"count(CASE WHEN {lost} THEN 1 END) = 0 AND count({value}) > 0")
    row = duck.one(f"SELECT {', '.join(tests)} FROM {side.input.relation} AS t")
    return {c.name.casefold() for (c, _), good in zip(asked, row, strict=True) if good}


def _whole(value: str, type: str) -> str:
    """Whether a text that can be cast loses nothing by it: DuckDB rounds 1.4 to an INTEGER, and takes the
    time of day off for a DATE."""
    column = duckdb_column("", type)
    if column.kind is Kind.INTEGER:
        return rf"regexp_full_match(trim({value}), '[+-]?[0-9]+(\.0*)?')"
    if column.precision is not None:
        return rf"regexp_full_match(trim({value}), '[+-]?[0-9]*(\.[0-9]{{0,{column.precision[1]}}}0*)?')"
    if column.kind is Kind.DATE:
        return f"coalesce(TRY_CAST({value} AS TIMESTAMP) = TRY_CAST(TRY_CAST({value} AS DATE) AS TIMESTAMP), true)"
    if type == "TIMESTAMP":
        moment = f"TRY_CAST({value} AS TIMESTAMP_NS)"  # NULL beyond its centuries
        return f"coalesce(CASE WHEN isfinite({moment}) THEN epoch_ns({moment}) % 1000 = 0 END, true)"
    return "true"


def _try(value: str, type: str) -> str:
    return f"TRY(unhex({value}))" if type == "BLOB" else f"TRY_CAST({value} AS {type})"


def _cast(duck: Duck, side: Located, types: dict[str, str]) -> Located:
    wanted = {n: t for n, t in types.items() if t != "VARCHAR"}
    empty = {c.name.casefold() for c in side.columns} & wanted.keys()
    possible = _possible(duck, side, wanted) | _all_null(duck, side, empty)
    if not possible:
        return side
    chosen = ", ".join(
        f"{_try(f't.{DUCKDB.quoted(c.name)}', wanted[c.name.casefold()])} AS {DUCKDB.quoted(c.name)}"
        if c.name.casefold() in possible
        else f"t.{DUCKDB.quoted(c.name)}"
        for c in side.columns
    )
    name = f"{side.input.relation}_typed"
    duck.rows(f"CREATE TEMP TABLE {name} AS SELECT {chosen} FROM {side.input.relation} AS t")
    duck.rows(f"DROP TABLE {side.input.relation}")
    return replace(side, input=replace(side.input, relation=name), columns=tuple(duck.columns(name)))


def _all_null(duck: Duck, side: Located, names: set[str]) -> set[str]:
    asked = [c for c in side.columns if c.name.casefold() in names]
    if not asked:
        return set()
    counts = ", ".join(f"count(t.{DUCKDB.quoted(c.name)}) = 0" for c in asked)
    row = duck.one(f"SELECT {counts} FROM {side.input.relation} AS t")
    return {c.name.casefold() for c, none in zip(asked, row, strict=True) if none}


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
        return Located(duck, Input(relation, where), columns)
    path = duck.find(catalog, side.table)
    relation = DUCKDB.path(path)
    return Located(duck, Input(relation, where), tuple(duck.columns(relation)), tuple(duck.unique_sets(path)))


def in_server(server: Server, side: Side) -> Located:
    """A table or query on a server, at an earlier moment if the database can."""
    grammar = server.grammar
    where = check_filter(side.filter, grammar.name)
    if side.query:
        relation = f"(\n{check_query(side.query, grammar.name)}\n)"
        if side.time_travel is not None:
            raise CouldNot(Fault.BAD_SPEC, "Time travel is for tables, not for queries.")
        return Located(server, Input(relation, where), tuple(server.columns(relation)))
    path = server.find(side.table)
    relation = grammar.path(path) + grammar.as_of(side.time_travel)
    return Located(
        server,
        Input(relation, where),
        tuple(server.columns(relation)),
        tuple(server.unique_sets(path)),
        server.about_rows(path),
        sorted_by=server.sorted_by(path),
        path=path,
    )
