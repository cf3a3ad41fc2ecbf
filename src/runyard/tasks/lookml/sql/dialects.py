"""SQL dialects: which there are, and how each writes literals and casts. Pure data and text; used all over
`sql`.

DuckDB and PostgreSQL are the two that values are tested on; the three warehouses say times in
`warehouse_times`.
"""

from __future__ import annotations

from typing import Literal

Dialect = Literal["duckdb", "postgres", "bigquery", "snowflake", "redshift"]
Native = Literal["duckdb", "postgres"]
Warehouse = Literal["bigquery", "snowflake", "redshift"]

NAMES: tuple[Dialect, ...] = ("duckdb", "postgres", "bigquery", "snowflake", "redshift")
_SPOKEN: dict[str, Dialect] = {
    "pg": "postgres",
    "postgresql": "postgres",
    "bigquery_standard_sql": "bigquery",
    "amazon_redshift": "redshift",
} | {name: name for name in NAMES}  # type: ignore[assignment]  # mypy widens the literals of a comprehension


def dialect_named(word: str) -> Dialect | None:
    """A dialect by its name here or in Looker (`bigquery_standard_sql`); None when it is not served."""
    return _SPOKEN.get(word.lower())


def looker_name(dialect: Dialect) -> str:
    """What `_dialect._name` is in Looker's Liquid."""
    return "bigquery_standard_sql" if dialect == "bigquery" else dialect


_TYPES = {"VARCHAR": "STRING", "DOUBLE PRECISION": "FLOAT64", "TIMESTAMP": "DATETIME", "BIGINT": "INT64"}


def type_name(standard: str, dialect: Dialect) -> str:
    """A type's name; BigQuery has names of its own."""
    return _TYPES.get(standard, standard) if dialect == "bigquery" else standard


def literal(text: str, dialect: Dialect) -> str:
    """A string as SQL. The warehouses read a backslash in a plain literal as an escape, and BigQuery does not
    double quotes."""
    if dialect in ("duckdb", "postgres"):
        return "'" + text.replace("'", "''") + "'"
    text = text.replace("\\", "\\\\")
    if dialect == "bigquery":
        return "'" + text.replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"
    return "'" + text.replace("'", "''") + "'"
