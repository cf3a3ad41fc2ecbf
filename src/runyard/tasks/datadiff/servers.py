"""What a diff needs of a database server, and how one is opened. `Server` is the seam; one module per
database behind it.

Drivers are imported when a connection asks for them: PostgreSQL's and MySQL's come with Runyard, the
warehouses' are optional extras.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import GRAMMARS, Grammar
from runyard.tasks.datadiff.kinds import Column
from runyard.tasks.datadiff.spec import Connection

Row = tuple[Any, ...]
Promise = tuple[
    str, frozenset[str]
]  # (source, columns) of a key that the catalog promises to be unique and never null


class Sink(Protocol):
    """Where rows go as CSV: fields that are NULL are empty, all other texts quoted where they must be. `rows`
    is counted by who writes."""

    rows: int

    def write(self, data: bytes, /) -> object:
        """Takes bytes."""


class Server(Protocol):
    """One session on one server: read-only where the server can promise it, one moment for both sides, under
    a time limit."""

    grammar: Grammar

    def rows(self, sql: str) -> list[Row]:
        """Runs one statement and fetches all of it."""

    def one(self, sql: str) -> Row:
        """The only row of a statement."""

    def stream(self, selects: Sequence[str], columns: Sequence[str], sink: Sink) -> None:
        """Sends the rows of one query or several, whose columns have these names, to a sink; in no order."""

    def find(self, dotted: str) -> tuple[str, ...]:
        """The full path that a dotted one means."""

    def columns(self, relation: str) -> list[Column]:
        """The columns of anything that can stand after FROM."""

    def unique_sets(self, path: Sequence[str]) -> list[Promise]:
        """Every key that the catalog promises."""

    def sorted_by(self, path: Sequence[str]) -> frozenset[str]:
        """Columns in whose order the table's rows lie, as far as the catalog knows."""

    def expect_order(self, path: Sequence[str], key: Column) -> list[str]:
        """Both sides lie in the order of a unique index that begins with `key`: the join may go along it.

        Gives values of it, as SQL and in order, at which the join is worth being cut into pieces that run at
        once.
        """

    def outgoing(self, value: str, column: Column, careful: bool) -> tuple[str, str]:
        """(expression, DuckDB type) under which a column leaves for DuckDB; `careful` after a conversion has
        failed."""

    def about_rows(self, path: Sequence[str]) -> int:
        """How many rows the catalog believes a table has; 0 when it does not know."""

    def close(self) -> None:
        """Ends the session; nothing stays behind."""


Opener = Callable[[Connection, float, dict[str, str]], Server]


def open_server(connection: Connection, timeout_s: float, session: dict[str, str] | None = None) -> Server:
    """A session on the server that a connection describes; CouldNot says what is missing."""
    return _opener(connection.dialect)(connection, timeout_s, session or {})


def _opener(dialect: str) -> Opener:
    match dialect:
        case "postgres":
            from runyard.tasks.datadiff.postgres import Postgres

            return Postgres
        case "mysql" | "mariadb":
            from runyard.tasks.datadiff.mysql import Mysql

            return Mysql
        case "snowflake" | "bigquery" | "databricks" | "redshift":
            from runyard.tasks.datadiff.warehouses import OPENERS

            return OPENERS[dialect]
    known = ", ".join(sorted(GRAMMARS))
    raise CouldNot(Fault.CONNECTION, f"Tables in {dialect!r} cannot be compared; known are {known}.")
