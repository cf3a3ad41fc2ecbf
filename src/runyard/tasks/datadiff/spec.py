"""What to compare: the spec file of `python -m runyard.tasks.datadiff` and what `runyard diff` builds.
Decoded strictly with msgspec.

Connections are not part of the spec: they come by the environment (RUNYARD_CONNECTIONS), so that no password
lies in a plan or a file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from runyard.tasks.datadiff.faults import CouldNot, Fault


class FileOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a file is read where its name does not say it."""

    type: Literal["csv", "parquet", "json"] | None = None
    delimiter: str = ""
    skip_head_rows: int = 0
    skip_tail_rows: int = 0  # lines at the end of a CSV, such as a total


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of table, query or file. `connection` names an entry of the connections; files need none. `filter`
    is a WHERE text without WHERE."""

    connection: str = ""
    table: str = ""
    query: str = ""
    file: str = ""
    filter: str = ""
    file_options: FileOptions | None = None
    time_travel: str | int | None = None  # Snowflake, BigQuery, Databricks: a moment, or seconds before now
    session: dict[str, str] = {}  # settings of the session, of the few names that a server's module lists

    @property
    def label(self) -> str:
        """What people call it."""
        return self.table or self.file or "query"


class Tolerance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two numbers within it count as equal."""

    value: float
    mode: Literal["absolute", "relative"] = "absolute"


class Materialize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Write what differs into a schema of a connection, as tables whose names begin with `name`; and, where
    wished, all rows of a side."""

    connection: str
    schema: str
    name: str
    dataset1: bool = False
    dataset2: bool = False


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An SQL condition over `{a}` and `{b}` under which values of one column, or of one type (Datafold's
    DatatypeName), count as equal too."""

    equal_if: str
    column: str = ""
    type: str = ""


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many of the shared keys are compared: by tolerance and confidence, a ratio, or a number. Below
    `threshold` rows all are."""

    tolerance: float | None = None  # share of differing rows that may go unseen, 0..1
    confidence: float | None = None  # percent, 0..100
    ratio: float | None = None
    max_rows: int | None = None
    threshold: int | None = None


class Timeline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of time: only rows of [start, end) are compared, and differences are counted per minute …
    year."""

    column: str
    aggregate: Literal["minute", "hour", "day", "week", "month", "year"] | None = None
    start: str | None = None
    end: str | None = None


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One comparison. `a` is production, `b` the pull request's. Sizes in bytes, times in seconds."""

    a: Side
    b: Side
    key: tuple[str, ...] = ()
    key_source: str = "given"  # what the report says of a given key
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore_columns: tuple[str, ...] = ()  # patterns in gitignore's style; never a key column
    mapping: tuple[tuple[str, str], ...] = ()  # (name in a, name in b), reported under a's name
    renames: tuple[
        tuple[str, str], ...
    ] = ()  # like mapping, where a has the one and b the other; else without effect
    rules: tuple[Rule, ...] = ()
    tolerance: Tolerance | None = None  # for floating point columns
    tolerances: dict[str, Tolerance] = {}  # per column, for any number
    tolerances_by_type: dict[str, Tolerance] = {}  # integer, decimal, float
    datetime_digits: int | None = None  # timestamps are equal within 10^-n seconds
    ignore_case: bool = False
    null_is_empty: bool = False
    sort_arrays: bool = False
    avoid_key_names: tuple[str, ...] = ()
    avoid_key_types: tuple[str, ...] = ()  # Datafold's DatatypeName, or `db:RAW`
    sampling: Sampling | None = None
    time: Timeline | None = None
    algorithm: Literal["join", "fetch_and_join", "hash", "hash_v2_alpha"] | None = None
    bisection_factor: int | None = (
        None  # of checksums: into how many segments one is cut; at once into all without it
    )
    bisection_threshold: int | None = None  # of checksums: segments of so many rows are fetched and compared
    compare_duplicates: bool = True  # rows whose key is not alone, as multisets; they never count as changed
    profiles: bool = False  # figures of every column of both sides
    row_values: bool = True  # false keeps every value out of the artifacts: counts alone, no Parquet
    sample_rows: int = 25  # of each kind, in the report
    parquet_rows: int = 100_000  # of each kind, in diff.parquet; 0 writes none
    rows_per_column: int | None = None  # differing rows that are kept for each column; figures count all
    memory_bytes: int = 1 << 30
    timeout_s: float = 3000.0  # of one statement
    materialize: Materialize | None = None
    fail_on_bad_keys: bool = False  # null or duplicate keys end the program with 3


class Connection(msgspec.Struct, frozen=True):
    """A database as the environment describes it. `file` for DuckDB; the rest for servers. Port 0 is the
    database's usual one."""

    dialect: str
    file: str = ""
    host: str = ""
    port: int = 0
    database: str = ""
    username: str = ""
    password: str = ""
    schema: str = ""
    sslmode: str = "prefer"
    account: str = ""  # Snowflake
    warehouse: str = ""
    role: str = ""
    private_key_pem: str = ""
    project: str = ""  # BigQuery
    location: str = ""
    service_account_json: str = ""
    http_path: str = ""  # Databricks
    catalog: str = ""
    token: str = ""


_ALIASES = {"path": "file", "dbname": "database", "db": "database", "user": "username"}
_DIALECTS = {
    "pg": "postgres",
    "postgresql": "postgres",
    "postgres_aurora": "postgres",
    "postgres_aws_rds": "postgres",
    "databricks_sql": "databricks",
}


def read_spec(data: bytes) -> Spec:
    """The spec of a JSON text; CouldNot says which field is wrong."""
    try:
        spec = msgspec.json.decode(data, type=Spec)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise CouldNot(Fault.BAD_SPEC, f"The spec cannot be read: {error}.") from None
    for name, side in (("a", spec.a), ("b", spec.b)):
        if sum(map(bool, (side.table, side.query, side.file))) != 1:
            raise CouldNot(Fault.BAD_SPEC, f"Side {name} needs exactly one of table, query and file.")
    for problem in _problems(spec):
        raise CouldNot(Fault.BAD_SPEC, problem)
    return spec


def _problems(spec: Spec) -> Iterator[str]:
    if spec.datetime_digits is not None and not 0 <= spec.datetime_digits <= 6:
        yield "datetime_digits must lie between 0 and 6."
    if spec.rows_per_column is not None and spec.rows_per_column < 0:
        yield "rows_per_column must be a number from 0 on."
    if spec.bisection_factor is not None and not 2 <= spec.bisection_factor <= 1 << 16:
        yield "bisection_factor lies between 2 and 65536."
    if spec.bisection_threshold is not None and spec.bisection_threshold < 1:
        yield "bisection_threshold is at least 1."
    for rule in spec.rules:
        if bool(rule.column) == bool(rule.type):
            yield "A rule names either a column or a type."
    for tolerance in (spec.tolerance, *spec.tolerances.values(), *spec.tolerances_by_type.values()):
        if tolerance is not None and not 0 <= tolerance.value < math.inf:
            yield "A tolerance must be a number from 0 on."
    if unknown := sorted(spec.tolerances_by_type.keys() - {"integer", "decimal", "float"}):
        yield f"Tolerances by type are for integer, decimal and float, not {unknown[0]!r}."
    if spec.sampling is not None:
        yield from _sampling_problems(spec.sampling)


def _sampling_problems(sampling: Sampling) -> Iterator[str]:
    by_tolerance = sampling.tolerance is not None and sampling.confidence is not None
    if (sampling.tolerance is None) != (sampling.confidence is None):
        yield "Sampling needs tolerance and confidence together."
    if by_tolerance + (sampling.ratio is not None) + (sampling.max_rows is not None) != 1:
        yield "Sampling is by tolerance and confidence, by ratio, or by max_rows: exactly one of them."
    if any(not 0 < share < 1 for share in (sampling.tolerance, sampling.ratio) if share is not None):
        yield "The tolerance and the ratio of a sampling lie between 0 and 1."
    if sampling.confidence is not None and not 0 < sampling.confidence < 100:
        yield "The confidence of a sampling lies between 0 and 100."
    if sampling.max_rows is not None and sampling.max_rows < 1:
        yield "max_rows of a sampling is at least 1."


def read_connections(text: str) -> dict[str, Connection]:
    """RUNYARD_CONNECTIONS: {id or name: {dialect, …}}; the usual other spellings of a field are
    understood."""
    try:
        raw: Any = json.loads(text or "{}")
        return {str(name): _connection(fields) for name, fields in raw.items()}
    except (ValueError, AttributeError, TypeError, msgspec.ValidationError) as error:
        kind = type(error).__name__  # not the message: it may quote a password
        raise CouldNot(Fault.CONNECTION, f"RUNYARD_CONNECTIONS is not what is expected ({kind}).") from None


def _connection(fields: dict[str, Any]) -> Connection:
    known = {_ALIASES.get(k, k): v for k, v in fields.items() if v is not None}
    found = msgspec.convert(known, Connection, strict=False)
    return msgspec.structs.replace(found, dialect=_DIALECTS.get(found.dialect.lower(), found.dialect.lower()))


def with_connection(side: Side, name: str, filter: str) -> Side:
    """The side on a named connection, with its condition."""
    return msgspec.structs.replace(side, connection=name, filter=filter)
