"""Kinds of database types: what a type is, whether two may be compared, and what must happen before equality
means equality.

Called by the catalogs of both databases and by the SQL builders. `exact` is the type with its parameters,
`base` without.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Families of types across databases."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    STRING = "string"
    FIXED = "fixed_length_string"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    ZONED = "timestamp with time zone"
    UUID = "uuid"
    BINARY = "binary"
    JSON = "json"
    ARRAY = "array"
    OTHER = "other"


NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT})
STRINGS = frozenset({Kind.STRING, Kind.FIXED})
_KEY_FAMILIES = (
    frozenset({Kind.INTEGER, Kind.DECIMAL}),
    STRINGS,
    frozenset({Kind.UUID, *STRINGS}),
)

_DUCKDB = {
    "BOOLEAN": Kind.BOOLEAN,
    "FLOAT": Kind.FLOAT,
    "DOUBLE": Kind.FLOAT,
    "DECIMAL": Kind.DECIMAL,
    "VARCHAR": Kind.STRING,
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    "TIMESTAMP": Kind.TIMESTAMP,
    "TIMESTAMP_S": Kind.TIMESTAMP,
    "TIMESTAMP_MS": Kind.TIMESTAMP,
    "TIMESTAMP_NS": Kind.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": Kind.ZONED,
    "UUID": Kind.UUID,
    "BLOB": Kind.BINARY,
    "JSON": Kind.JSON,
} | dict.fromkeys(
    (
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    ),
    Kind.INTEGER,
)
_POSTGRES = {
    "bool": Kind.BOOLEAN,
    "int2": Kind.INTEGER,
    "int4": Kind.INTEGER,
    "int8": Kind.INTEGER,
    "oid": Kind.INTEGER,
    "numeric": Kind.DECIMAL,
    "float4": Kind.FLOAT,
    "float8": Kind.FLOAT,
    "text": Kind.STRING,
    "varchar": Kind.STRING,
    "name": Kind.STRING,
    "citext": Kind.STRING,
    "bpchar": Kind.FIXED,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.ZONED,
    "uuid": Kind.UUID,
    "bytea": Kind.BINARY,
    "json": Kind.JSON,
    "jsonb": Kind.JSON,
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the catalog has it."""

    name: str
    exact: str
    base: str
    kind: Kind
    collation: str = ""  # where two of them cannot be compared

    @property
    def precision(self) -> tuple[int, int] | None:
        """(precision, scale) of a decimal that has them and fits DuckDB's DECIMAL."""
        _, bracket, rest = self.exact.partition("(")
        digits = rest.rstrip(")").split(",")
        if self.kind is not Kind.DECIMAL or not bracket or not all(d.strip().isdigit() for d in digits):
            return None
        precision, scale = int(digits[0]), int(digits[1]) if len(digits) > 1 else 0
        return (precision, scale) if 0 < precision <= 38 and scale <= precision else None


def duckdb_column(name: str, exact: str) -> Column:
    """From DuckDB's `data_type`: `DECIMAL(12,2)`, `INTEGER[]`, `STRUCT(a INTEGER)`."""
    if exact.endswith("]"):
        return Column(name, exact, exact, Kind.ARRAY)
    base = exact.split("(", 1)[0]
    if base in ("STRUCT", "MAP", "UNION"):
        return Column(name, exact, exact, Kind.OTHER)
    return Column(name, exact, base, _DUCKDB.get(base, Kind.OTHER))


def postgres_column(name: str, typname: str, exact: str) -> Column:
    """From PostgreSQL's `typname` (`int4`, `_text`) and `format_type` (`numeric(12,2)`)."""
    if typname.startswith("_"):
        return Column(name, exact, typname, Kind.ARRAY)
    return Column(name, exact, typname, _POSTGRES.get(typname, Kind.OTHER))


def comparable(a: Column, b: Column, *, same_engine: bool) -> bool:
    """Whether values are compared. In one database: the same type but for its length or precision; across
    two: the same family."""
    if same_engine:
        return a.base == b.base
    kinds = {a.kind, b.kind}
    if kinds == {Kind.BOOLEAN, Kind.INTEGER}:
        return "tinyint(1)" in (a.base, b.base)  # MySQL's boolean
    return (len(kinds) == 1 and a.kind is not Kind.OTHER) or any(kinds <= f for f in _ACROSS)


_ACROSS = (
    STRINGS,
    frozenset({Kind.JSON, Kind.STRING}),
    frozenset({Kind.UUID, *STRINGS}),
    frozenset({Kind.DECIMAL, Kind.INTEGER}),
)


def joinable(a: Column, b: Column) -> bool:
    """Whether two key columns can be equal at all."""
    return a.base == b.base or a.kind is b.kind or any({a.kind, b.kind} <= f for f in _KEY_FAMILIES)


_DATATYPES = {
    Kind.FIXED: "fixed_length_string",
    Kind.ZONED: "timestamp",
    Kind.OTHER: "unsupported",
}
_RAW_DATATYPES = {
    "interval": "time_interval",
    "INTERVAL": "time_interval",
    "money": "money",
    "xml": "xml",
    "year": "year",
    "STRUCT": "struct",
    "RECORD": "struct",
    "MAP": "map",
    "super": "super",
}


def datatype_name(column: Column) -> str:
    """Datafold's DatatypeName (contracts/datafold.md §6)."""
    if column.kind is Kind.DECIMAL:
        return "decimal" if "(" in column.exact else "unbounded_decimal"
    if column.kind is Kind.OTHER:
        base = column.exact.split("(", 1)[0]
        return _RAW_DATATYPES.get(base, "unsupported")
    return _DATATYPES.get(column.kind, column.kind.value)
