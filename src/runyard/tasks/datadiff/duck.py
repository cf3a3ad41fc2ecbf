# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""The DuckDB session of one diff: reads attached files read-only, holds the differing rows, writes the
Parquet. Locked down before any user's text runs.

Once `lock` is called nothing but the attached databases, the named files and the work folder can be reached,
and the settings cannot be turned back (contracts/reliability.md K1). Memory is capped; what does not fit goes
to the work folder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import DUCKDB, Grammar
from runyard.tasks.datadiff.kinds import Column, duckdb_column
from runyard.tasks.datadiff.names import instead, match, path_of
from runyard.tasks.datadiff.servers import Promise, Row

POLL_S = 0.1
text = DUCKDB.text


class Duck:
    """One in-memory session. `progress` gets a fraction 0..1 of the statement under way."""

    grammar: Grammar = DUCKDB

    def __init__(self, work: Path, memory_bytes: int, timeout_s: float) -> None:
        self.work = work
        self.timeout_s = timeout_s
        self.memory_bytes = memory_bytes
        self.progress: Callable[[float], None] = lambda fraction: None
        self.attached: dict[str, str] = {}  # path → catalog
        self.names: dict[str, str] = {}  # catalog → the file's stem, which people write before the schema
        self.readable: list[str] = []
        spill = work / "spill"
        spill.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "memory_limit": f"{memory_bytes // 1_000_000}MB",
            "temp_directory": str(spill),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
        }
        self.connection = duckdb.connect(":memory:", config=config)
        self.rows("SET TimeZone = 'UTC'")

    def attach(self, file: str) -> str:
        """Opens a database file read-only; returns its catalog. The same file twice is one catalog."""
        path = os.path.realpath(file)
        if path not in self.attached:
            if not Path(path).is_file():
                looked = "" if Path(file).is_absolute() else f" (looked for {path})"
                raise CouldNot(Fault.CONNECTION, f"There is no DuckDB file {file}{looked}.")
            catalog = f"db{len(self.attached)}"
            try:
                self.connection.execute(f"ATTACH {text(path)} AS {catalog} (TYPE duckdb, READ_ONLY)")
            except duckdb.Error as error:
                raise CouldNot(
                    Fault.CONNECTION, f"{file} cannot be opened: {_line(error)}.", retryable=True
                ) from None
            self.attached[path] = catalog
            self.names[catalog] = Path(path).stem
        return self.attached[path]

    def lock(self) -> None:
        """From here on, only what was attached or made readable can be reached."""
        files = "[" + ", ".join(map(text, self.readable)) + "]"
        self.rows(f"SET allowed_directories = [{text(str(self.work))}]")
        self.rows(f"SET allowed_paths = {files}")
        self.rows("SET enable_external_access = false")
        self.rows("SET lock_configuration = true")

    def rows(self, sql: str) -> list[Row]:
        """Runs one statement under the time limit and fetches all of it."""
        done = threading.Event()
        late = threading.Event()
        watch = threading.Thread(target=self._watch, args=(done, late), daemon=True)
        watch.start()
        try:
            return self.connection.execute(sql).fetchall()
        except duckdb.OutOfMemoryException as error:
            raise CouldNot(Fault.MEMORY, f"DuckDB ran out of memory or disk: {_line(error)}.") from None
        except duckdb.InterruptException:
            message = f"The statement took longer than {self.timeout_s:g} s."
            raise CouldNot(Fault.TIMEOUT, message if late.is_set() else "Interrupted.") from None
        except duckdb.Error as error:
            raise CouldNot(Fault.QUERY, f"DuckDB: {_line(error)}.") from None
        finally:
            done.set()
            watch.join()  # else it might still look at a connection that is closed next

    def _watch(self, done: threading.Event, late: threading.Event) -> None:
        waited = 0.0
        while not done.wait(POLL_S):
            waited += POLL_S
            if waited > self.timeout_s:
                late.set()
                self.connection.interrupt()
                return
            percent = self.connection.query_progress()
            if percent > 0:
                self.progress(min(1.0, percent / 100))

    def one(self, sql: str) -> Row:
        """The only row of a statement."""
        return self.rows(sql)[0]

    def find(self, catalog: str, dotted: str) -> tuple[str, ...]:
        """(catalog, schema, table) that a dotted path means within one attached file."""
        *before, wish = path_of(dotted)
        tables = self.rows(
            "SELECT DISTINCT schema_name, table_name FROM duckdb_columns() "
            f"WHERE database_name = {text(catalog)} AND NOT internal"
        )
        named = match(before[0], [self.names[catalog]]) if before else None
        schema = before[-1] if len(before) == 2 or (before and named is None) else None
        if len(before) == 2 and named is None:
            raise CouldNot(Fault.NO_TABLE, f"The database of {dotted} is called {self.names[catalog]}.")
        schemas = {s for s, _ in tables}
        for candidate in [schema] if schema else [*before, "main"]:
            place = match(candidate, schemas)
            table = match(wish, (t for s, t in tables if s == place)) if place else None
            if place and table:
                return catalog, place, table
        other = instead(wish, (t for _, t in tables))
        raise CouldNot(Fault.NO_TABLE, f"There is no table {dotted} in {self.names[catalog]}.{other}")

    def columns(self, relation: str) -> list[Column]:
        """The columns of anything that can stand after FROM."""
        return [duckdb_column(row[0], row[1]) for row in self.rows(f"DESCRIBE SELECT * FROM {relation} AS t")]

    def unique_sets(self, path: Sequence[str]) -> list[Promise]:
        """(source, columns) of every key the catalog promises: unique and never null."""
        catalog, schema, table = path
        found = self.rows(
            "SELECT constraint_type, constraint_column_names FROM duckdb_constraints() WHERE database_name = "
            f"{text(catalog)} AND schema_name = {text(schema)} AND table_name = {text(table)} ORDER BY constraint_index"
        )
        filled = {c for kind, names in found if kind in ("NOT NULL", "PRIMARY KEY") for c in names}
        words = {"PRIMARY KEY": "primary key constraint", "UNIQUE": "unique constraint"}
        return [
            (words[kind], frozenset(names)) for kind, names in found if kind in words and set(names) <= filled
        ]

    def put_parquet(self, select: str, path: Path) -> None:
        """Writes a query's rows; the path must lie in the work folder."""
        self.rows(f"COPY ({select}) TO {text(str(path))} (FORMAT parquet, COMPRESSION zstd)")

    def close(self) -> None:
        """Ends the session; spilled data goes with it."""
        self.connection.close()


def _line(error: Exception) -> str:
    """A DuckDB message without its picture of the statement."""
    return str(error).split("\n\nLINE", 1)[0].split("\n", 1)[0].rstrip(".")[:500]
