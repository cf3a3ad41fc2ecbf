# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""The differing rows as tables of a data source, for those who asked for them: Datafold's
`materialized_results`. The only code here that writes to a database.

`dump` leaves Parquet files while the diff's sessions are open; `load` writes them afterwards, in a session
and one transaction of its own, into the schema that the data source keeps for this, under names that nobody
else has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.fetching import fetch
from runyard.tasks.datadiff.grammar import DUCKDB, MYSQL, POSTGRES, Grammar
from runyard.tasks.datadiff.kinds import Column
from runyard.tasks.datadiff.locating import Located
from runyard.tasks.datadiff.report import KeyCounts
from runyard.tasks.datadiff.samples import Differing, free_name, wide_columns
from runyard.tasks.datadiff.spec import Connection, Materialize
from runyard.tasks.datadiff.statements import CHANGED, ONLY_A

_BATCH = 1_000
_PIECE_BYTES = 1 << 20
_LONGEST_NAME = 60  # PostgreSQL's end at 63 bytes, MySQL's at 64 characters
_WRITTEN = {
    "postgres": {
        "FLOAT": "real",
        "DOUBLE": "double precision",
        "UUID": "uuid",
        "TIME": "time",
        "TIMESTAMP": "timestamp",
        "TIMESTAMP WITH TIME ZONE": "timestamptz",
        "HUGEINT": "numeric(39,0)",
        "UBIGINT": "numeric(20,0)",
        "VARCHAR": "text",
    },
    "mysql": {
        "FLOAT": "float",
        "DOUBLE": "double",
        "TIME": "time(6)",
        "TIMESTAMP": "datetime(6)",
        "HUGEINT": "decimal(39,0)",
        "UBIGINT": "bigint unsigned",
        "VARCHAR": "longtext",
    },
}
"""DuckDB's type → theirs; those of _EVERYWHERE are called alike, and what is in neither is written as
text."""
_EVERYWHERE = {
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "DATE": "date",
}


def dump(
    found: Differing, sides: Sequence[Located], keys: Sequence[KeyCounts], wish: Materialize, work: Path
) -> dict[str, Path]:
    """One Parquet file per table, where what spills goes too: the program takes that folder away."""
    return {**_dump_differing(found, work), **_dump_sides(found, sides, keys, wish, work)}


def _dump_differing(found: Differing, work: Path) -> dict[str, Path]:
    files = {name: work / "spill" / f"{name}.parquet" for name in ("diff", "exclusives")}
    duck = found.duck
    rows = f"SELECT {', '.join(wide_columns(found)[1:])} FROM diff WHERE status = '{CHANGED}'"
    duck.put_parquet(rows, files["diff"])
    taken: set[str] = set()
    parts = [f"CASE WHEN status = '{ONLY_A}' THEN 'A' ELSE 'B' END AS {free_name('_side', taken)}"]
    parts += [
        f"{found.typed(k)} AS {free_name(p.name, taken)}"
        for k, p in zip(found.builder.keys, found.pairing.key, strict=True)
    ]
    for i, p in enumerate(found.pairing.values):
        a, b = (found.typed(f"{s}{i}") for s in "ab")
        parts.append(f"CASE WHEN status = '{ONLY_A}' THEN {a} ELSE {b} END AS {free_name(p.name, taken)}")
    duck.put_parquet(f"SELECT {', '.join(parts)} FROM diff WHERE status <> '{CHANGED}'", files["exclusives"])
    return files


def _dump_sides(
    found: Differing, sides: Sequence[Located], keys: Sequence[KeyCounts], wish: Materialize, work: Path
) -> dict[str, Path]:
    """Rows of a side as the diff read them (filter and interval applied), key and compared columns: those
    whose key is not alone, and all where wished."""
    files = {}
    for n, (side, counts, wished) in enumerate(
        zip(sides, keys, (wish.dataset1, wish.dataset2), strict=True), 1
    ):
        pairs = [*found.pairing.key, *found.pairing.values]
        names = [(p.a if n == 1 else p.b).name for p in pairs]
        within = {f"duplicates{n}": found.builder.is_duplicate("ab"[n - 1]) if counts.dupes else "1 = 0"}
        for table, condition in {**within, **({f"dataset{n}": ""} if wished else {})}.items():
            files[table] = work / "spill" / f"{table}.parquet"
            _dump_side(found.duck, side, names, files[table], condition)
    return files


def _dump_side(duck: Duck, side: Located, names: Sequence[str], file: Path, within: str) -> None:
    columns = {c.name: c for c in side.columns}
    side = replace(side, columns=tuple(columns[name] for name in names))
    if not isinstance(side.engine, Duck):
        side, within = fetch(side, duck, file.stem, lambda rows: None, within), ""
    source = f"{side.input.relation} AS t WHERE {' AND '.join(filter(None, [side.input.where, within]))}"
    taken: set[str] = set()
    chosen = [f"{_bearable(duck, c, source)} AS {free_name(c.name, taken)}" for c in side.columns]
    duck.put_parquet(f"SELECT {', '.join(chosen)} FROM {source}", file)


def _bearable(duck: Duck, column: Column, source: str) -> str:
    """The value under a type that Parquet and the destination both bear, as text where there is none."""
    name, type = f"t.{DUCKDB.quoted(column.name)}", column.exact.upper()
    if type in ("HUGEINT", "UHUGEINT"):  # Parquet has no integer as wide: it would round them
        wide = f"TRY_CAST({name} AS DECIMAL(38, 0))"
        (fits,) = duck.one(f"SELECT count({name}) = count({wide}) FROM {source}")
        return f"CAST({name} AS {'DECIMAL(38, 0)' if fits else 'VARCHAR'})"
    borne = type in _EVERYWHERE or type in _WRITTEN["postgres"] or type.startswith("DECIMAL(")
    return name if borne or type == "BLOB" else f"CAST({name} AS VARCHAR)"


def load(
    files: Mapping[str, Path], where: Connection, wish: Materialize, timeout_s: float
) -> dict[str, list[str]]:
    """Writes the files; gives each table's path. CouldNot when the data source does not take them, and then
    none is there."""
    open_writer = _WRITERS.get(where.dialect)
    if open_writer is None:
        raise CouldNot(
            Fault.BAD_SPEC, f"Results are materialised in {', '.join(_WRITERS)}, not in {where.dialect}."
        )
    paths = {name: [wish.schema, f"{wish.name}_{name}"] for name in files}
    with duckdb.connect() as reader, open_writer(where, timeout_s) as write:
        reader.execute("SET TimeZone = 'UTC'")
        for name, file in files.items():
            write(reader, paths[name], file)
    return paths


Write = Callable[[duckdb.DuckDBPyConnection, Sequence[str], Path], None]


@contextlib.contextmanager
def _postgres(where: Connection, timeout_s: float) -> Iterator[Write]:
    import psycopg

    from runyard.tasks.datadiff.postgres import connected, statement

    def write(reader: duckdb.DuckDBPyConnection, path: Sequence[str], file: Path) -> None:
        create, select = _statements(reader, POSTGRES, path, file)
        csv = file.with_suffix(".csv")
        reader.execute(f"COPY ({select}) TO {DUCKDB.text(str(csv))} (FORMAT csv, HEADER false)")
        session.execute(statement(f"DROP TABLE IF EXISTS {POSTGRES.path(path)}"))
        session.execute(statement(create))
        copying = statement(f"COPY {POSTGRES.path(path)} FROM STDIN (FORMAT csv)")
        with session.cursor().copy(copying) as copy, csv.open("rb") as rows:
            while piece := rows.read(_PIECE_BYTES):
                copy.write(piece)

    try:
        with connected(where, writing=True) as session:
            session.execute(statement(f"SET LOCAL statement_timeout = {max(1, int(timeout_s * 1000))}"))
            session.execute(statement("SET LOCAL lock_timeout = 30000"))
            session.execute(statement("SET LOCAL timezone = 'UTC'"))
            yield write
    except psycopg.Error as error:
        raise CouldNot(Fault.QUERY, f"PostgreSQL: {str(error).strip().splitlines()[0]}") from None


@contextlib.contextmanager
def _mysql(where: Connection, timeout_s: float) -> Iterator[Write]:
    """What MySQL cannot roll back (a table that was made) is dropped again."""
    import pymysql

    from runyard.tasks.datadiff.mysql import connected

    made: list[str] = []

    def write(reader: duckdb.DuckDBPyConnection, path: Sequence[str], file: Path) -> None:
        create, select = _statements(reader, MYSQL, path, file)
        table = MYSQL.path(path)
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
        cursor.execute(create)
        made.append(table)
        rows = reader.execute(select)
        insert = f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(rows.description))})"
        while batch := rows.fetchmany(_BATCH):
            cursor.executemany(insert, batch)

    try:
        with contextlib.closing(connected(where, timeout_s)) as session, session.cursor() as cursor:
            cursor.execute("SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'")
            try:
                yield write
                session.commit()
            except BaseException:
                with contextlib.suppress(pymysql.Error):
                    for table in made:
                        cursor.execute(f"DROP TABLE IF EXISTS {table}")
                raise
    except (pymysql.Error, OSError) as error:
        raise CouldNot(Fault.QUERY, f"MySQL: {error.args[-1] if error.args else error}.") from None


_WRITERS: dict[str, Callable[[Connection, float], contextlib.AbstractContextManager[Write]]] = {
    "postgres": _postgres,
    "mysql": _mysql,
    "mariadb": _mysql,
}


def _statements(
    reader: duckdb.DuckDBPyConnection, grammar: Grammar, path: Sequence[str], file: Path
) -> tuple[str, str]:
    """(CREATE TABLE there, SELECT of a file's rows here)."""
    source = f"read_parquet({DUCKDB.text(str(file))})"
    declared, chosen, taken = [], [], set[str]()
    for name, type, *_ in reader.execute(f"DESCRIBE SELECT * FROM {source}").fetchall():
        theirs = _their_type(str(type), _WRITTEN[grammar.name])
        declared.append(
            f"{grammar.quoted(_short(str(name), taken))} {theirs or _WRITTEN[grammar.name]['VARCHAR']}"
        )
        column = DUCKDB.quoted(str(name))
        text = f"hex({column})" if type == "BLOB" else f"CAST({column} AS VARCHAR)"
        chosen.append(column if theirs else text)
    return (
        f"CREATE TABLE {grammar.path(path)} ({', '.join(declared)})",
        f"SELECT {', '.join(chosen)} FROM {source}",
    )


def _their_type(type: str, words: Mapping[str, str]) -> str:
    if type.startswith("DECIMAL("):
        return type.lower()
    return words.get(type) or _EVERYWHERE.get(type, "")


def _short(name: str, taken: set[str]) -> str:
    """A name that every database bears, and that no other column has when databases cut it."""
    base = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    found, n = base, 2
    while found.casefold() in taken:
        found, n = f"{base[: _LONGEST_NAME - 12]}_{n}", n + 1
    taken.add(found.casefold())
    return found
