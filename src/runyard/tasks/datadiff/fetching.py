# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Rows of a server on their way into DuckDB: CSV through a pipe, so that the server writes while DuckDB
reads, and nothing lies on disk between.

`fetch` brings a side, under types of the same meaning; `pour` is the pipe, which the in-place joins use for
their differing rows too.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import DUCKDB
from runyard.tasks.datadiff.kinds import Column, Kind, duckdb_column
from runyard.tasks.datadiff.locating import Located
from runyard.tasks.datadiff.servers import Server
from runyard.tasks.datadiff.statements import Input

LINE_BYTES = 64 << 20  # a row may be as long; less where memory is short
_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # fcntl's F_SETPIPE_SZ
_LOOK_S = 0.002
_SAY_EVERY_BYTES = 1 << 20

Told = Callable[[int], None]


class _Pipe:
    """The writing end. Opening waits for the reader, unless the reader has already failed."""

    def __init__(self, path: Path, reader: threading.Thread, told: Told) -> None:
        self.rows = 0
        self._told = told
        self._written = 0
        while True:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:
                if not reader.is_alive():
                    raise BrokenPipeError from None
                reader.join(_LOOK_S)
        os.set_blocking(self._fd, True)
        with contextlib.suppress(ImportError, OSError):  # a small pipe is only slower
            import fcntl

            fcntl.fcntl(self._fd, _SET_PIPE_SIZE, _PIPE_BYTES)

    def write(self, data: bytes) -> None:
        """All of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._written += len(data)
        if self._written >= _SAY_EVERY_BYTES:
            self._written = 0
            self._told(self.rows)

    def close(self) -> None:
        """The reader sees the end."""
        os.close(self._fd)


def pour(
    server: Server,
    selects: Sequence[str],
    columns: Sequence[str],
    duck: Duck,
    create: Callable[[str], str],
    told: Told,
) -> int:
    """Runs `create(CSV relation)` in DuckDB over the rows of queries; every column comes as VARCHAR. Returns
    how many rows."""
    path = duck.work / "rows.csv"
    os.mkfifo(path, 0o600)
    failed: list[CouldNot] = []

    def read() -> None:
        try:
            duck.rows(create(_csv(path, columns, max(4 << 20, min(LINE_BYTES, duck.memory_bytes // 12)))))
        except CouldNot as error:
            failed.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    rows = 0
    try:
        with contextlib.suppress(BrokenPipeError):  # then DuckDB says why
            pipe = _Pipe(path, reader, told)
            try:
                server.stream(selects, columns, pipe)
                rows = pipe.rows
            finally:
                pipe.close()
                reader.join()
    finally:
        reader.join()
        path.unlink()
    if failed:
        raise failed[0]
    return rows


def _csv(path: Path, columns: Sequence[str], buffer: int) -> str:
    declared = ", ".join(f"{DUCKDB.text(name)}: 'VARCHAR'" for name in columns)
    return (
        f"read_csv({DUCKDB.text(str(path))}, columns = {{{declared}}}, auto_detect = false, header = false, delim = ',', quote = '\"', "
        f"escape = '\"', nullstr = '', allow_quoted_nulls = false, new_line = '\\n', max_line_size = {buffer}, buffer_size = {buffer}, parallel = false)"
    )


def fetch(located: Located, duck: Duck, name: str, told: Told, within: str = "") -> Located:
    """Copies a server's side into DuckDB. A number that its DECIMAL cannot hold (NaN) makes it start again
    with numbers as texts."""
    try:
        return _fetch(located, duck, name, told, within, careful=False)
    except CouldNot as error:
        if error.fault is not Fault.QUERY or not error.message.startswith("DuckDB: Conversion"):
            raise
        return _fetch(located, duck, name, told, within, careful=True)


def _fetch(located: Located, duck: Duck, name: str, told: Told, within: str, *, careful: bool) -> Located:
    server = located.engine
    assert not isinstance(server, Duck)  # noqa: S101 - the callers' check
    quoted = server.grammar.quoted
    names = [f"v{i}" for i in range(len(located.columns))]
    leaving = [server.outgoing(f"t.{quoted(c.name)}", c, careful) for c in located.columns]
    chosen = ", ".join(f"{sql} AS {n}" for n, (sql, _) in zip(names, leaving, strict=True))
    where = located.input.where + (f" AND {within}" if within else "")
    select = f"SELECT {chosen} FROM {located.input.relation} AS t WHERE {where}"
    columns = tuple(
        _arrived(column, type) for column, (_, type) in zip(located.columns, leaving, strict=True)
    )
    typed = ", ".join(
        f"{_typed(n, type)} AS {DUCKDB.quoted(c.name)}"
        for n, c, (_, type) in zip(names, columns, leaving, strict=True)
    )
    pour(
        server,
        [select],
        names,
        duck,
        lambda csv: f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {typed} FROM {csv}",
        told,
    )
    return replace(located, engine=duck, input=Input(name), columns=columns, fetched=True)


def _typed(value: str, type: str) -> str:
    if type == "BLOB":
        return f"unhex({value})"
    if type.endswith("[]"):
        return f"""from_json({value}, '["{type[:-2]}"]')"""
    return value if type == "VARCHAR" else f"CAST({value} AS {type})"


def _arrived(column: Column, type: str) -> Column:
    """The column as it is in DuckDB now; its family stays what it was at home, where VARCHAR does not say
    it."""
    if type == "VARCHAR":
        kind = Kind.OTHER if column.kind is Kind.ARRAY else column.kind
        return Column(column.name, type, column.base if column.base == "tinyint(1)" else type, kind)
    return replace(
        duckdb_column(column.name, type),
        base=column.base if column.base == "tinyint(1)" else type.split("(")[0],
        kind=column.kind,
    )
