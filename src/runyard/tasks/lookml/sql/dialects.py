"""SQL dialects: which there are, and how each writes the few things that our own text needs. Pure data and text; used all over `sql`.

DuckDB and PostgreSQL are the two that values are tested on. Redshift speaks PostgreSQL where it can; BigQuery and Snowflake texts of
timeframes are made from the DuckDB ones by sqlglot, once each.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

Dialect = Literal["duckdb", "postgres", "bigquery", "snowflake", "redshift"]
Native = Literal["duckdb", "postgres"]

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


def native(dialect: Dialect) -> Native:
    """Which of the two tested dialects our own text is written in for this one."""
    return "postgres" if dialect in ("postgres", "redshift") else "duckdb"


def looker_name(dialect: Dialect) -> str:
    """What `_dialect._name` is in Looker's Liquid."""
    return "bigquery_standard_sql" if dialect == "bigquery" else dialect


_MARKS = {"\0": "runyard_x", "\1": "runyard_y", "\2": "runyard_z", "\3": "runyard_w"}


@lru_cache(maxsize=4096)
def spoken(text: str, dialect: Dialect) -> str:
    """Our own text (written for `native(dialect)`, with one-character marks) as the dialect says it."""
    if dialect not in ("bigquery", "snowflake"):
        return text
    import sqlglot

    for mark, name in _MARKS.items():
        text = text.replace(mark, name)
    made = sqlglot.transpile(text, read="duckdb", write=dialect)[0]
    for mark, name in _MARKS.items():
        made = made.replace(name, mark)
    return made
