"""Aggregates that take one value per key however often joins repeat the rows: symmetric aggregates and the
`_distinct` types.

Rows without a key (that a LEFT JOIN did not find) count for nothing, as NULL hashes do in Looker. DuckDB and
PostgreSQL gather the distinct (key, value) pairs and aggregate those, which is exact for every number type.
Redshift, Snowflake and BigQuery have no such form inside a GROUP BY; there the sum of distinct hashes of the
key is added and taken away again (Looker's way).
"""

from __future__ import annotations

from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.expressions import Expression, Unresolved, filled

_PAIRS = {
    "duckdb": "list_transform(list(DISTINCT {'k': \1, 'v': \0}) FILTER (WHERE \1 IS NOT NULL), lambda s: s.v)",
    "postgres": "unnest(array_agg(DISTINCT jsonb_build_array(\1, \0)) FILTER (WHERE \1 IS NOT NULL))",
}
_POSTGRES = {
    "sum": "SUM((e->>1)::numeric)",
    "average": "AVG((e->>1)::numeric)",
    "median": "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY (e->>1)::double precision)",
}
_HASH = {
    "redshift": "STRTOL(LEFT(MD5(CAST(\1 AS VARCHAR)), 15), 16)::DECIMAL(38, 0) * 100000000 + STRTOL(RIGHT(MD5(CAST(\1 AS VARCHAR)), 15), 16)::DECIMAL(38, 0)",
    "snowflake": "CAST(MD5_NUMBER_LOWER64(CAST(\1 AS VARCHAR)) AS NUMERIC(38, 0))",
    "bigquery": "CAST(FARM_FINGERPRINT(CAST(\1 AS STRING)) AS BIGNUMERIC)",
}
_SCALED = {
    "redshift": "CAST(FLOOR(COALESCE(\0, 0) * 1000000.0) AS DECIMAL(38, 0))",
    "snowflake": "CAST(FLOOR(COALESCE(\0, 0) * 1000000.0) AS NUMERIC(38, 0))",
    "bigquery": "CAST(FLOOR(COALESCE(\0, 0) * 1000000.0) AS BIGNUMERIC)",
}


def aggregate(kind: str, x: Expression, key: Expression, rank: str, dialect: Dialect) -> Expression:
    """sum, average, median or percentile (`rank` is its share) of one `x` per `key`."""
    marks = {"\0": x, "\1": key}
    if dialect == "duckdb":
        return filled(_duckdb(kind, rank), marks)
    if dialect == "postgres":
        return filled(_postgres(kind, rank), marks)
    if kind not in ("sum", "average"):
        raise Unresolved(f"a {kind} over repeated rows cannot be written for {dialect}", "", 0)
    value, hashed = _SCALED[dialect], _HASH[dialect]
    total = f"COALESCE((SUM(DISTINCT {value} + {hashed}) - SUM(DISTINCT {hashed})) / 1000000.0, 0)"
    if kind == "sum":
        return filled(total, marks)
    return filled(f"({total} / NULLIF(COUNT(DISTINCT CASE WHEN \0 IS NOT NULL THEN \1 END), 0))", marks)


def _duckdb(kind: str, rank: str) -> str:
    values = _PAIRS["duckdb"]
    match kind:
        case "sum":
            return f"COALESCE(list_sum({values}), 0)"
        case "average":
            return f"list_avg({values})"
    return f"list_aggregate({values}, 'quantile_cont', {rank})"


def _postgres(kind: str, rank: str) -> str:
    """The aggregate belongs to the outer query, since its arguments do; the inner SELECT only reads the
    array."""
    chosen = _POSTGRES.get(kind) or _POSTGRES["median"].replace("0.5", rank)
    found = f"(SELECT {chosen} FROM {_PAIRS['postgres']} AS e)"  # noqa: S608 - LookML is SQL; it runs read-only
    return f"COALESCE({found}, 0)" if kind == "sum" else found
