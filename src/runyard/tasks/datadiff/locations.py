"""Addresses of tables as people write them on a command line: `postgres://user@host/db?table=s.t`,
`duckdb:///abs/file.db?table=t`, `x.parquet`.

Gives a Side and, for databases, the Connection; used by `runyard diff`. Only the keys named here are taken
from an address.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import msgspec

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.spec import Connection, Side

_SCHEMES = {
    **dict.fromkeys(("postgres", "postgresql"), "postgres"),
    **{
        name: name
        for name in ("mysql", "mariadb", "redshift", "snowflake", "bigquery", "databricks", "duckdb")
    },
}
_SIDE = ("table", "query", "filter")
_OPTIONS = {
    "duckdb": set[str](),
    "snowflake": {"warehouse", "role", "schema"},
    "bigquery": {"location"},
    "databricks": {"http_path", "catalog", "schema"},
    "mysql": {"sslmode"},
    "mariadb": {"sslmode"},
    "postgres": {"schema", "sslmode"},
    "redshift": {"schema", "sslmode"},
}


def locate(address: str) -> tuple[Side, Connection | None]:
    """(side, connection); two equal connections are one place. The side's `connection` is left empty."""
    parts = urlsplit(address)
    scheme = parts.scheme.lower()
    if scheme in ("", "file") or len(scheme) == 1:
        return Side(file=unquote(parts.path) if scheme == "file" else address), None
    dialect = _SCHEMES.get(scheme)
    if dialect is None:
        known = ", ".join(f"{name}:" for name in sorted(_SCHEMES))
        raise CouldNot(Fault.BAD_SPEC, f"{scheme}: addresses begin with {known} or are files.")
    options = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    allowed = _OPTIONS[dialect] | set(_SIDE)
    if unknown := sorted(options.keys() - allowed):
        raise CouldNot(
            Fault.BAD_SPEC, f"A {scheme}: address knows {', '.join(sorted(allowed))}, not {unknown[0]!r}."
        )
    if bool(options.get("table")) == bool(options.get("query")):
        raise CouldNot(Fault.BAD_SPEC, f"{scheme}: addresses need exactly one of ?table=… and ?query=….")
    table, query, filter = (options.pop(key, "") for key in _SIDE)
    return Side(table=table, query=query, filter=filter), _connection(scheme, dialect, parts, options)


def _connection(scheme: str, dialect: str, parts: SplitResult, options: dict[str, str]) -> Connection:
    if dialect == "duckdb":
        return Connection("duckdb", file=str(Path(unquote(parts.netloc + parts.path)).expanduser()))
    try:
        port = parts.port or 0
    except ValueError as error:
        raise CouldNot(Fault.BAD_SPEC, f"{scheme}: {error}.") from None
    host, path = unquote(parts.hostname or ""), unquote(parts.path.strip("/"))
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    match dialect:
        case "snowflake":  # snowflake://user:password@account/database/schema
            database, _, schema = path.partition("/")
            options.setdefault("schema", schema)
            made = Connection(dialect, account=host, username=user, password=password, database=database)
        case "bigquery":  # bigquery://project/dataset; credentials are the environment's
            made = Connection(dialect, project=host, schema=path)
        case "databricks":  # databricks://token:TOKEN@host?http_path=…
            made = Connection(dialect, host=host, port=port, token=password or user)
        case _:
            made = Connection(dialect, host=host, port=port, database=path, username=user, password=password)
    return msgspec.structs.replace(made, **options)
