# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Finds the two sides: a table, a query or a file, in the engine that will read it, with its columns and the keys its catalog promises.

Called once per diff, after everything was opened and DuckDB was locked down.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import DUCKDB
from runyard.tasks.datadiff.guard import check_filter, check_query
from runyard.tasks.datadiff.kinds import Column
from runyard.tasks.datadiff.servers import Promise, Server
from runyard.tasks.datadiff.spec import Connection, Side
from runyard.tasks.datadiff.statements import Input

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
    fetched: bool = False


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
    """A Parquet, CSV or JSON file (made readable before the session was locked). What has to be parsed is parsed once, into a table `name`."""
    options = side.file_options
    ending = Path(side.file).name.lower()
    by_name = next((t for s, t in _READERS.items() if ending.endswith(s)), None)
    type = options.type if options is not None and options.type else by_name
    if type is None:
        raise CouldNot(Fault.BAD_SPEC, f"{side.file}: only {', '.join(_READERS)} can be read.")
    more = ""
    if options is not None and type == "csv":
        more += f", delim = {DUCKDB.text(options.delimiter)}" if options.delimiter else ""
        more += f", skip = {max(0, options.skip_head_rows)}" if options.skip_head_rows else ""
    relation = f"read_{type}({DUCKDB.text(existing(side.file))}{more})"
    if type != "parquet":
        duck.rows(f"CREATE TEMP TABLE {name} AS SELECT * FROM {relation}")
        relation = name
    return Located(duck, Input(relation, check_filter(side.filter, "duckdb")), tuple(duck.columns(relation)))


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
    )
