# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every query through guard.check_query
"""`python -m runyard.tasks.datadiff.ask --spec FILE --out DIR`: one question to one data source, answered in
DIR/answer.json. For Datafold's calls `test`, `query`, `dataset_schema` and `guess_pk`, as a step in the
sandbox.

The spec: `do` (test, query, schema, keys), `connection`, and `query` with its `params` or `table` (a path),
`candidates`, `avoid_names`, `avoid_types`. Read-only, one statement, under limits of time, memory, rows and
bytes (contracts/reliability.md §K). Exits 0 with an answer, 2 with {"error": …, "code": …}.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import DUCKDB
from runyard.tasks.datadiff.guard import check_query, with_parameters
from runyard.tasks.datadiff.kinds import Column
from runyard.tasks.datadiff.servers import Promise, Server, open_server
from runyard.tasks.datadiff.spec import Connection, read_connections

MEMORY_BYTES = 512 << 20
STATEMENT_S = 60.0
MOST_ROWS = 10_000
MOST_BYTES = 32 << 20
COULD_NOT = 2
Json = dict[str, Any]


class Asked:
    """An open data source."""

    def __init__(self, connection: Connection, work: Path) -> None:
        self.catalog = ""
        self.engine: Duck | Server
        if connection.dialect == "duckdb":
            duck = Duck(work, MEMORY_BYTES, STATEMENT_S)
            self.catalog = duck.attach(connection.file)
            duck.lock()
            duck.rows(f"USE {self.catalog}")
            self.engine, self.grammar = duck, DUCKDB
        else:
            server = open_server(connection, STATEMENT_S)
            self.engine, self.grammar = server, server.grammar

    def find(self, dotted: str) -> tuple[str, ...]:
        """The full path of a table."""
        return (
            self.engine.find(self.catalog, dotted)
            if isinstance(self.engine, Duck)
            else self.engine.find(dotted)
        )

    def promises(self, path: Sequence[str]) -> Sequence[Promise]:
        """Keys that the catalog promises."""
        return self.engine.unique_sets(path)

    def close(self) -> None:
        """Lets go."""
        self.engine.close()


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runyard.tasks.datadiff.ask", description="Ask a data source one thing."
    )
    parser.add_argument("--spec", type=Path, required=True, help="JSON file saying what is asked")
    parser.add_argument("--out", type=Path, required=True, help="folder for answer.json")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        found, code = _answer(json.loads(options.spec.read_text(encoding="utf-8")), options.out.resolve()), 0
    except CouldNot as error:
        found, code = {"error": error.message, "code": error.fault.value}, COULD_NOT
    (options.out / "answer.json").write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    sys.stdout.write(f"{found.get('error') or 'answered'}\n")
    return code


def _answer(spec: Mapping[str, Any], work: Path) -> Json:
    connections = read_connections(os.environ.get("RUNYARD_CONNECTIONS", ""))
    connection = connections.get(str(spec["connection"]))
    if connection is None:
        raise CouldNot(Fault.CONNECTION, f"There is no connection {spec['connection']!r}.")
    answers: dict[str, Callable[[Asked, Mapping[str, Any]], Json]] = {
        "test": _test,
        "query": _query,
        "schema": _schema,
        "keys": _keys,
    }
    with closing(Asked(connection, work)) as asked:
        return answers[str(spec["do"])](asked, spec)


def _test(asked: Asked, spec: Mapping[str, Any]) -> Json:
    """Opening it was the test; the catalog is read too."""
    asked.engine.rows("SELECT 1")
    if asked.grammar.name == "bigquery":
        return {"tables": None}  # its information_schema is per data set
    (tables,) = asked.engine.one(
        "SELECT count(*) FROM information_schema.tables "
        "WHERE lower(table_schema) NOT IN ('information_schema', 'pg_catalog', 'mysql', 'performance_schema', 'sys')"
    )
    return {"tables": int(tables)}


def _query(asked: Asked, spec: Mapping[str, Any]) -> Json:
    query = str(spec["query"])
    if spec.get("params"):
        query = with_parameters(query, [str(text) for text in spec["params"]], asked.grammar)
    inner = f"(\n{check_query(query, asked.grammar.name)}\n)"
    columns = asked.engine.columns(inner)
    if not columns:
        raise CouldNot(Fault.QUERY, "The query has no columns.")
    rows = asked.engine.rows(f"SELECT * FROM {inner} AS t LIMIT {MOST_ROWS + 1}")
    names = _apart([c.name for c in columns])
    told: list[Json] = []
    size = 0
    for row in rows[:MOST_ROWS]:
        line = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        size += len(json.dumps(line))
        if size > MOST_BYTES:
            raise CouldNot(Fault.MEMORY, f"The rows are larger than {MOST_BYTES >> 20} MiB; ask for fewer.")
        told.append(line)
    shown = [_column(c, n, name) for n, (c, name) in enumerate(zip(columns, names, strict=True))]
    return {"rows": told, "columns": shown, "truncated": len(rows) > MOST_ROWS}


def _apart(names: Sequence[str]) -> list[str]:
    """Names of a select list may repeat; a JSON object's may not."""
    found: list[str] = []
    for name in names:
        n, fresh = 1, name
        while fresh in found:
            n, fresh = n + 1, f"{name}_{n}"
        found.append(fresh)
    return found


def _column(column: Column, number: int, name: str) -> Json:
    return {
        "name": name,
        "type": str(column.kind),
        "db_type": column.exact,
        "is_nullable": None,
        "number": number,
        "description": None,
    }


def _schema(asked: Asked, spec: Mapping[str, Any]) -> Json:
    path = asked.find(_dotted(spec["table"]))
    columns = asked.engine.columns(asked.grammar.path(path))
    keys = [sorted(names) for source, names in asked.promises(path) if "primary" in source]
    shown = [_column(c, n, c.name) for n, c in enumerate(columns)]
    return {"path": list(path[-2:]), "columns": shown, "primary_key": keys[0] if keys else None}


def _keys(asked: Asked, spec: Mapping[str, Any]) -> Json:
    """Keys of one table, best first: what the catalog promises, then columns and pairs of columns that are
    unique and filled."""
    path = asked.find(_dotted(spec["table"]))
    relation = asked.grammar.path(path)
    avoided = {str(n).casefold() for n in spec.get("avoid_names") or ()}
    kinds = {str(k).casefold() for k in spec.get("avoid_types") or ()} | _NEVER_KEYS
    columns = [
        c.name
        for c in asked.engine.columns(relation)
        if c.name.casefold() not in avoided and str(c.kind) not in kinds
    ]
    wanted = int(spec.get("candidates") or 5)
    order = {name: n for n, name in enumerate(columns)}
    found = [
        sorted(names, key=lambda name: order[name])
        for _, names in asked.promises(path)
        if names <= set(columns)
    ]
    limit = f" LIMIT {int(spec['sample_size'])}" if spec.get("sample_size") else ""
    rows = f"(SELECT * FROM {relation} AS s{limit})"
    for group in _groups(path[-1], columns):
        if len(found) >= wanted:
            break
        if not any(set(known) <= set(group) for known in found) and _is_key(asked, rows, group):
            found.append(list(group))
    unique = [list(pk) for pk in dict.fromkeys(tuple(pk) for pk in found)]
    return {"candidates": [{"pk": pk} for pk in unique[:wanted]]}


_NEVER_KEYS = {
    "float",
    "timestamp",
    "timestamp with time zone",
    "array",
    "boolean",
    "binary",
    "json",
    "other",
    "time",
}
_ALONE, _IN_PAIRS = 16, 6


def _groups(table: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """What is tried: customary names, then the first columns alone, then in pairs."""
    wishes = ("id", "pk", "pkey", f"{table}_id".casefold(), f"{table.removesuffix('s')}_id".casefold())
    customary = [name for wish in wishes for name in columns if name.casefold() == wish]
    alone = list(dict.fromkeys([*customary, *columns]))[:_ALONE]
    some = alone[:_IN_PAIRS]
    pairs = [(a, b) for i, a in enumerate(some) for b in some[i + 1 :]]
    return [*((name,) for name in alone), *pairs]


def _is_key(asked: Asked, rows: str, group: Sequence[str]) -> bool:
    quoted, engine = asked.grammar.quoted, asked.engine
    names = ", ".join(quoted(name) for name in group)
    nulls = " OR ".join(f"{quoted(name)} IS NULL" for name in group)
    if engine.rows(f"SELECT 1 FROM {rows} AS t WHERE {nulls} LIMIT 1"):
        return False
    return not engine.rows(f"SELECT 1 FROM {rows} AS t GROUP BY {names} HAVING count(*) > 1 LIMIT 1")


def _dotted(path: Sequence[str]) -> str:
    """As a spec writes it: double quotes whatever the database's own are."""
    return DUCKDB.path([str(part) for part in path])


def _plain(value: Any) -> Any:
    """A database's value as JSON: exact numbers stay exact (as text where JSON's would not be), what JSON
    does not have is text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Decimal():
            return float(value) if value.is_finite() and Decimal(repr(float(value))) == value else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(k): _plain(v) for k, v in value.items()}
        case _:
            return str(value)


if __name__ == "__main__":
    sys.exit(main())
