"""A connection as Looker's API writes it: body fields to our settings, and a row to a DBConnection. Called by
routes_connections.

Where Looker keeps a warehouse's particulars in other fields: BigQuery's project is `host`, its dataset
`database`, its key `certificate` (JSON or base64 of it); Snowflake's warehouse, role and account are in
`jdbc_additional_params`. `written_for` is ours: the dialect of the project's SQL, to be transpiled to DuckDB
or PostgreSQL.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlencode

from runyard.dialects.looker.refusals import invalid, missing_field
from runyard.dialects.looker.shapes import time
from runyard.model.work import Connection
from runyard.tasks.lookml.sql.dialects import Dialect, dialect_named

MAX_TEXT = 2048
MAX_KEY = 20_000
SERVED = "duckdb, postgres, bigquery_standard_sql, snowflake, redshift"
PORTS = {"postgres": 5432, "redshift": 5439}
_LABELS = {
    "duckdb": "DuckDB",
    "postgres": "PostgreSQL",
    "bigquery": "Google BigQuery Standard SQL",
    "snowflake": "Snowflake",
    "redshift": "Amazon Redshift",
}
_PARAMS = ("account", "warehouse", "role", "location")
Read = tuple[dict[str, Any], dict[str, str]]
"""(settings, secrets)"""


def shape(row: Connection) -> dict[str, Any]:
    """DBConnection; never a secret."""
    known = row.settings
    is_bigquery = row.dialect == "bigquery"
    name = "bigquery_standard_sql" if is_bigquery else row.dialect
    params = urlencode({k: known[k] for k in _PARAMS if known.get(k)})
    return {
        "can": {"show": True, "test": True},
        "name": row.name,
        "dialect_name": name,
        "dialect": {"name": name, "label": _LABELS.get(row.dialect, row.dialect)},
        "host": (known.get("project") if is_bigquery else known.get("host") or known.get("account")) or None,
        "port": str(known["port"]) if known.get("port") else None,
        "username": known.get("username") or None,
        "database": (known.get("schema") if is_bigquery else known.get("file") or known.get("database"))
        or None,
        "schema": None if is_bigquery else known.get("schema") or None,
        "jdbc_additional_params": params or None,
        "ssl": known.get("sslmode") in ("require", "verify-ca", "verify-full"),
        "verify_ssl": known.get("sslmode") == "verify-full",
        "db_timezone": "UTC",
        "query_timezone": "UTC",
        "written_for": known.get("written") or None,
        "created_at": time(row.created_at),
        "example": False,
    }


def text(body: Mapping[str, Any], name: str, longest: int = MAX_TEXT) -> str:
    """A text field, "" when it is not there; Unprocessable for anything else."""
    value = body.get(name)
    if value is None:
        return ""
    if (
        not isinstance(value, str | int)
        or isinstance(value, bool)
        or len(str(value)) > longest
        or "\0" in str(value)
    ):
        raise invalid(name, f"{name} must be a text of at most {longest} characters.")
    return str(value)


def read(
    body: Mapping[str, Any], before: Connection | None = None
) -> tuple[str, dict[str, Any], dict[str, str]]:
    """(dialect, settings, secrets) of a create body, or of an update body over the row that was there.
    Secrets are those that the body gives."""
    merged = {**(shape(before) if before else {}), **{k: v for k, v in body.items() if v is not None}}
    dialect = dialect_named(text(merged, "dialect_name"))
    if dialect is None:
        raise invalid("dialect_name", f"dialect_name must be one of {SERVED}.")
    settings, secrets = _READERS[dialect](merged)
    return dialect, {**settings, **_written(merged, dialect)}, secrets | _password(body)


def _password(body: Mapping[str, Any]) -> dict[str, str]:
    return {"password": text(body, "password")} if body.get("password") else {}


def _written(body: Mapping[str, Any], dialect: Dialect) -> dict[str, str]:
    word = text(body, "written_for")
    if not word:
        return {}
    written = dialect_named(word)
    if written is None or dialect not in ("duckdb", "postgres"):
        said = f"written_for must be one of {SERVED}, on a connection of duckdb or postgres."
        raise invalid("written_for", said)
    return {"written": written}


def _duckdb(body: Mapping[str, Any]) -> Read:
    file = text(body, "database") or text(body, "file")
    if not file:
        raise missing_field("database")
    if not PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        raise invalid("database", "database must be the absolute path of a DuckDB file on the server.")
    return {"file": file, "schema": text(body, "schema")}, {}


def _server(body: Mapping[str, Any]) -> Read:
    for name in ("host", "database"):
        if not text(body, name):
            raise missing_field(name)
    dialect = dialect_named(text(body, "dialect_name")) or ""
    port = text(body, "port") or str(PORTS[dialect])
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise invalid("port", "port must be from 1 to 65535.")
    sslmode = "verify-full" if body.get("verify_ssl") else "require" if body.get("ssl") else "prefer"
    settings = {k: text(body, k) for k in ("host", "database", "username", "schema")}
    return {**settings, "port": int(port), "sslmode": sslmode}, {}


def _params(body: Mapping[str, Any]) -> dict[str, str]:
    given = dict(parse_qsl(text(body, "jdbc_additional_params").lstrip("?&").replace(";", "&")))
    return {k: given[k] for k in _PARAMS if given.get(k)}


def _snowflake(body: Mapping[str, Any]) -> Read:
    for name in ("host", "database", "username"):
        if not text(body, name):
            raise missing_field(name)
    host = text(body, "host").removeprefix("https://").split("/", 1)[0].split(":", 1)[0]
    settings = {"account": host.removesuffix(".snowflakecomputing.com"), "host": text(body, "host")}
    settings |= {k: text(body, k) for k in ("database", "username", "schema")} | _params(body)
    key = text(body, "certificate", MAX_KEY)
    return settings, {"private_key_pem": _decoded(key, "-----BEGIN")} if key else {}


def _bigquery(body: Mapping[str, Any]) -> Read:
    project = text(body, "bq_storage_project_id") or text(body, "host")
    if not project:
        raise missing_field("host")
    settings = {"project": project, "schema": text(body, "database"), "username": text(body, "username")}
    key = text(body, "certificate", MAX_KEY)
    if not key:
        return settings | _params(body), {}
    found = _decoded(key, "{")
    try:
        account = json.loads(found)
    except (ValueError, RecursionError):
        account = None
    if not isinstance(account, dict) or "private_key" not in account:
        raise invalid("certificate", "certificate must be a service account's key in JSON, or base64 of it.")
    return settings | _params(body), {"service_account_json": found}


def _decoded(key: str, start: str) -> str:
    """The key itself, or what its base64 says."""
    if key.lstrip().startswith(start):
        return key
    try:
        return base64.b64decode(key, validate=False).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise invalid("certificate", "certificate is neither the key itself nor base64 of it.") from None


_READERS = {
    "duckdb": _duckdb,
    "postgres": _server,
    "redshift": _server,
    "snowflake": _snowflake,
    "bigquery": _bigquery,
}
