"""BigQuery, Snowflake and Redshift through their own drivers, as far as reading goes. Opened by
`databases.open_database`.

Binding costs nothing where the vendor plans without running: BigQuery's dry run, Snowflake's `describe`;
Redshift runs the query without rows. One SELECT per query, judged by its tokens; a time limit in the session.
Redshift's transaction is read-only; for the other two the role's rights are the fence.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from runyard.tasks import drivers
from runyard.tasks.drivers import DriverTrouble, Why
from runyard.tasks.lookml.connections import CannotConnect, Connection
from runyard.tasks.lookml.databases import MAX_QUERY_BYTES, Database, Refusal, Rows
from runyard.tasks.lookml.sql.dialects import Dialect


def open_warehouse(wanted: Connection, timeout_s: float) -> Database:
    """A session, or CannotConnect."""
    return _KINDS[wanted.dialect](wanted, timeout_s)


class _Warehouse(ABC):
    """What the three have in common; each says how it opens, plans and runs."""

    def __init__(self, wanted: Connection, timeout_s: float) -> None:
        self.dialect: Dialect = wanted.dialect
        self.written = wanted.written
        self._wanted, self._timeout_s = wanted, timeout_s
        try:
            self._connection = self._open()
        except DriverTrouble as problem:
            raise self._away(problem) from None

    @property
    def _where(self) -> Mapping[str, Any]:
        known = self._wanted
        plain = {
            k: getattr(known, k)
            for k in ("host", "port", "database", "username", "password", "schema", "sslmode")
        }
        return {**plain, **known.options}

    def _away(self, problem: DriverTrouble) -> CannotConnect:
        return CannotConnect(f'connection "{self._wanted.name}": {self._wanted.masked(problem.message)}')

    def bind(self, sql: str) -> Refusal | None:
        """Has the query planned; what the service says against it."""
        answer = self._asked(sql, self._plan)
        return answer if isinstance(answer, Refusal) else None

    def run(self, sql: str, max_rows: int) -> Rows | Refusal:
        """Runs one SELECT."""
        answer = self._asked(sql, lambda text: self._fetch(text, max_rows))
        return answer if answer is not None else Rows((), [])

    def _asked(self, sql: str, ask: Callable[[str], Rows | None]) -> Rows | Refusal | None:
        problem = (
            "the query is too large" if len(sql) > MAX_QUERY_BYTES else not_one_select(sql, self.dialect)
        )
        if problem:
            return Refusal(problem)
        try:
            return ask(sql)
        except Exception as error:  # noqa: BLE001 - three drivers, three hierarchies; none is imported here
            found = drivers.trouble(self.dialect, error)
            self._recover()
            if found.why is Why.CONNECTION and not _is_about_sql(error):
                raise self._away(found) from None
            if found.why is Why.TIMEOUT:
                return Refusal(f"the query was stopped after {self._timeout_s:g} s")
            return self._refusal(error, sql)

    def session(self) -> Database:
        """Another session with the same settings."""
        return type(self)(self._wanted, self._timeout_s)

    def close(self) -> None:
        """Ends the session."""
        self._connection.close()

    def _open(self) -> Any:
        return drivers.connect(self.dialect, self._where, self._timeout_s)

    @abstractmethod
    def _plan(self, sql: str) -> Rows | None:
        """Has the service look at it."""

    @abstractmethod
    def _fetch(self, sql: str, max_rows: int) -> Rows | None:
        """Has the service run it."""

    def _recover(self) -> None:
        """Makes the session fit for the next query: only one with transactions must."""
        return

    def _refusal(self, error: Exception, sql: str) -> Refusal:
        """The service's words, and the place in them."""
        text = self._wanted.masked(str(error)).strip()
        place = _PLACE.search(text)
        if place is None:
            return Refusal(text)
        line, column = place.group(1, 2) if place.group(1) else place.group(3, 4)
        # Snowflake counts positions from 0, BigQuery columns from 1.
        return Refusal(text, int(line), int(column) + (0 if place.group(1) else 1))


_PLACE = re.compile(r"\bat \[(\d{1,9}):(\d{1,9})\]|\bline (\d{1,9}) at position (\d{1,9})")


def _is_about_sql(error: Exception) -> bool:
    """Redshift's driver gives an OperationalError for some refusals too; those carry the server's fields."""
    return bool(error.args) and isinstance(error.args[0], dict)


class _Snowflake(_Warehouse):
    def _plan(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.describe(sql)

    def _fetch(self, sql: str, max_rows: int) -> Rows:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return _rows(cursor, max_rows)


class _BigQuery(_Warehouse):
    def _open(self) -> Any:
        return drivers.bigquery_client(self._where, self._timeout_s, dataset=self._wanted.schema)

    def _plan(self, sql: str) -> None:
        config = drivers.bigquery_dry_run()
        self._connection.query(sql, job_config=config)

    def _fetch(self, sql: str, max_rows: int) -> Rows:
        found = self._connection.query(sql).result(max_results=max_rows + 1, timeout=self._timeout_s + 5)
        rows = [tuple(row.values()) for row in found]
        return Rows(tuple(f.name for f in found.schema), rows[:max_rows], len(rows) > max_rows)


class _Redshift(_Warehouse):
    def _plan(self, sql: str) -> None:
        self._fetch(sql, 0)

    def _fetch(self, sql: str, max_rows: int) -> Rows:
        cursor = self._connection.cursor()
        cursor.paramstyle = "qmark"  # its usual style takes `%` outside quotes for a parameter
        cursor.execute(sql)
        return _rows(cursor, max_rows)

    def _recover(self) -> None:
        """A failed statement ended the transaction and its settings."""
        try:
            self._connection.rollback()
            drivers.redshift_begin(self._connection, self._where, self._timeout_s)
        except DriverTrouble as problem:
            raise self._away(problem) from None
        except Exception as error:  # noqa: BLE001 - the driver's own hierarchy
            raise self._away(drivers.trouble("redshift", error)) from None

    def _refusal(self, error: Exception, sql: str) -> Refusal:
        """The server's fields: M is the message, P the position from 1, C the code."""
        fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        message = str(fields.get("M") or error)
        if fields.get("C") == "57014":
            return Refusal(f"the query was stopped after {self._timeout_s:g} s")
        position = str(fields.get("P") or "")
        if not position.isdigit():
            return Refusal(self._wanted.masked(message))
        before = sql[: int(position) - 1]
        return Refusal(self._wanted.masked(message), before.count("\n") + 1, len(before) - before.rfind("\n"))


def _rows(cursor: Any, max_rows: int) -> Rows:
    rows = [tuple(row) for row in cursor.fetchmany(max_rows + 1)]
    names = (d[0] for d in cursor.description or ())
    columns = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in names)
    return Rows(columns, rows[:max_rows], len(rows) > max_rows)


_KINDS: Mapping[str, type[_Warehouse]] = {
    "snowflake": _Snowflake,
    "bigquery": _BigQuery,
    "redshift": _Redshift,
}


def not_one_select(sql: str, dialect: Dialect) -> str:
    """Why the text is not exactly one SELECT, judged by its tokens; "" when it is."""
    from sqlglot import tokenize
    from sqlglot.errors import SqlglotError

    try:
        tokens = tokenize(sql, dialect)
    except (SqlglotError, ValueError) as error:
        return f"the SQL cannot be read: {str(error)[:300]}"
    kinds = [t.token_type.name for t in tokens]
    while kinds and kinds[-1] == "SEMICOLON":
        kinds.pop()
    if not kinds or kinds[0] not in ("SELECT", "WITH", "L_PAREN"):
        return "the SQL is not a SELECT"
    return "the SQL is not exactly one SELECT" if "SEMICOLON" in kinds else ""
