"""What to compare: the spec file of `python -m runyard.tasks.datadiff` and what `runyard diff` builds. Decoded strictly with msgspec.

Connections are not part of the spec: they come by the environment (RUNYARD_CONNECTIONS), so that no password lies in a plan or a file.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from runyard.tasks.datadiff.faults import CouldNot, Fault


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of table, query or file. `connection` names an entry of the connections; files need none. `filter` is a WHERE text without WHERE."""

    connection: str = ""
    table: str = ""
    query: str = ""
    file: str = ""
    filter: str = ""

    @property
    def label(self) -> str:
        """What people call it."""
        return self.table or self.file or "query"


class Tolerance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two numbers within it count as equal."""

    value: float
    mode: Literal["absolute", "relative"] = "absolute"


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One comparison. `a` is production, `b` the pull request's. Sizes in bytes, times in seconds."""

    a: Side
    b: Side
    key: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    mapping: tuple[tuple[str, str], ...] = ()  # (name in a, name in b), reported under a's name
    tolerance: Tolerance | None = None  # for floating point columns
    tolerances: dict[str, Tolerance] = {}  # per column, for any number
    datetime_digits: int | None = None  # timestamps are equal within 10^-n seconds
    ignore_case: bool = False
    null_is_empty: bool = False
    sort_arrays: bool = False
    avoid_key_names: tuple[str, ...] = ()
    sample_rows: int = 25  # of each kind, in the report
    parquet_rows: int = 100_000  # of each kind, in diff.parquet; 0 writes none
    memory_bytes: int = 1 << 30
    timeout_s: float = 3000.0  # of one statement
    fail_on_bad_keys: bool = False  # null or duplicate keys end the program with 3


class Connection(msgspec.Struct, frozen=True):
    """A database as the environment describes it. `file` for DuckDB; the rest for PostgreSQL."""

    dialect: str
    file: str = ""
    host: str = ""
    port: int = 5432
    database: str = ""
    username: str = ""
    password: str = ""
    schema: str = ""
    sslmode: str = "prefer"


_ALIASES = {"path": "file", "dbname": "database", "db": "database", "user": "username"}
_DIALECTS = {"pg": "postgres", "postgresql": "postgres", "postgres": "postgres", "duckdb": "duckdb"}


def read_spec(data: bytes) -> Spec:
    """The spec of a JSON text; CouldNot says which field is wrong."""
    try:
        spec = msgspec.json.decode(data, type=Spec)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise CouldNot(Fault.BAD_SPEC, f"The spec cannot be read: {error}.") from None
    for name, side in (("a", spec.a), ("b", spec.b)):
        if sum(map(bool, (side.table, side.query, side.file))) != 1:
            raise CouldNot(Fault.BAD_SPEC, f"Side {name} needs exactly one of table, query and file.")
    if spec.datetime_digits is not None and not 0 <= spec.datetime_digits <= 6:
        raise CouldNot(Fault.BAD_SPEC, "datetime_digits must lie between 0 and 6.")
    return spec


def read_connections(text: str) -> dict[str, Connection]:
    """RUNYARD_CONNECTIONS: {id or name: {dialect, …}}; the usual other spellings of a field are understood."""
    try:
        raw: Any = json.loads(text or "{}")
        return {str(name): _connection(fields) for name, fields in raw.items()}
    except (ValueError, AttributeError, TypeError, msgspec.ValidationError) as error:
        kind = type(error).__name__  # not the message: it may quote a password
        raise CouldNot(Fault.CONNECTION, f"RUNYARD_CONNECTIONS is not what is expected ({kind}).") from None


def _connection(fields: dict[str, Any]) -> Connection:
    known = {_ALIASES.get(k, k): v for k, v in fields.items() if v is not None}
    found = msgspec.convert(known, Connection, strict=False)
    return msgspec.structs.replace(found, dialect=_DIALECTS.get(found.dialect.lower(), found.dialect))


def with_connection(side: Side, name: str, filter: str) -> Side:
    """The side on a named connection, with its condition."""
    return msgspec.structs.replace(side, connection=name, filter=filter)
