"""Data sources: Datafold's name for the rows that Looker calls connections. Between wire type, stored row and what a job is given.

Secrets are sealed on the way in and leave only inside a job's environment; `options` of an answer is always null, as the vendor's is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from runyard.dialects.datafold.desk import validated
from runyard.dialects.datafold.refusals import SchemaRefused, UnknownReference, refused_field
from runyard.dialects.datafold.shapes import DataSource, DuckDbOptions, PostgresOptions
from runyard.engine.ports import Tx, Vault
from runyard.model.plan import ConnectionUse
from runyard.model.work import Connection

POSTGRES = ("pg", "postgres_aurora", "postgres_aws_rds")
SERVED = (*POSTGRES, "duckdb")
_SAID = {"postgres": "pg", "postgresql": "pg", "duckdb": "duckdb"}
_COMPARED = {"postgres": "postgres", "postgresql": "postgres", "pg": "postgres", "duckdb": "duckdb"}


def to_store(given: DataSource, vault: Vault, now: int) -> Connection:
    """The row of a new data source; 422 names the option that is wrong."""
    settings: dict[str, Any]
    secrets: dict[str, str] = {}
    options = given.options or {}
    if given.type == "duckdb":
        path = _options(DuckDbOptions, given, options).path
        if not path.startswith("/") or "/../" in path:
            raise refused_field(("body", "duckdb", "options", "path"), "must be an absolute path")
        dialect, settings = "duckdb", {"file": path}
    elif given.type in POSTGRES:
        found = _options(PostgresOptions, given, options)
        dialect = "postgres"
        settings = {
            "host": found.host,
            "port": found.port,
            "database": found.dbname,
            "username": found.user,
            "sslmode": found.sslmode,
            "schema": found.default_schema,
        }
        secrets = {"password": found.password} if found.password else {}
    else:
        message = f"only {', '.join(SERVED)} are served here"
        raise refused_field(("body", "type"), message, "enum")
    return Connection(
        id=0,
        name=given.name,
        dialect=dialect,
        settings=settings,
        sealed=vault.seal(json.dumps(secrets)) if secrets else "",
        created_at=now,
        updated_at=now,
        extra={"datafold": {"type": given.type, "float_tolerance": given.float_tolerance}},
    )


def _options(model: Any, given: DataSource, options: Mapping[str, Any]) -> Any:
    try:
        return validated(TypeAdapter(model), options)
    except SchemaRefused as error:
        details = [{**d, "loc": ["body", given.type, "options", *d["loc"][1:]]} for d in error.details]
        raise SchemaRefused(details) from None


def find(tx: Tx, id: int) -> Connection:
    """The row that a payload names."""
    found = tx.get(Connection, id)
    if found is None:
        raise UnknownReference(f"There is no data source {id}.")
    if found.dialect not in _COMPARED:
        raise UnknownReference(
            f"The data source {found.name} is {found.dialect}; DuckDB and PostgreSQL are compared here."
        )
    return found


def for_job(connection: Connection) -> ConnectionUse:
    """What the program of a diff needs, but for the secrets, which join at claim."""
    settings = {k: v for k, v in connection.settings.items() if v not in (None, "")}
    if "path" in settings and "file" not in settings:
        settings["file"] = settings["path"]
    return ConnectionUse(
        str(connection.id), connection.id, {**settings, "dialect": _COMPARED[connection.dialect]}
    )


def kind_of(connection: Connection) -> str:
    """Datafold's `type`."""
    about: Mapping[str, Any] = connection.extra.get("datafold") or {}
    return str(about.get("type") or _SAID.get(connection.dialect, connection.dialect))


def shape(connection: Connection) -> dict[str, Any]:
    """The common fields of §4."""
    about: Mapping[str, Any] = connection.extra.get("datafold") or {}
    return {
        "id": connection.id,
        "name": connection.name,
        "type": kind_of(connection),
        "options": None,
        "accessible": True,
        "hidden": False,
        "is_paused": False,
        "view_only": False,
        "temp_schema": None,
        "float_tolerance": float(about.get("float_tolerance", 0.0)),
        "disable_profiling": True,
        "disable_schema_indexing": True,
        "catalog_include_list": None,
        "catalog_exclude_list": None,
        "schema_indexing_schedule": None,
        "schema_max_age_s": None,
        "profile_schedule": None,
        "profile_include_list": None,
        "profile_exclude_list": None,
        "lineage_schedule": None,
        "data_retention_days": None,
        "max_allowed_connections": None,
        "queue_name": None,
        "scheduled_queue_name": None,
        "group_ids": None,
        "groups": None,
        "secret_id": None,
        "source": None,
        "created_from": None,
        "oauth_dwh_active": None,
        "last_test": None,
    }


_NUMBER = {"type": "integer"}
_TEXT = {"type": "string"}


def types() -> list[dict[str, Any]]:
    """What may be created, with its options."""
    postgres = {
        "title": "PostgreSQLConfig",
        "type": "object",
        "properties": {
            **dict.fromkeys(("host", "user", "dbname", "password", "sslmode", "schema"), _TEXT),
            "port": _NUMBER,
        },
        "required": ["host", "user", "dbname"],
        "secret": ["password"],
    }
    duckdb = {
        "title": "DuckDBConfig",
        "type": "object",
        "properties": {"path": _TEXT},
        "required": ["path"],
        "secret": [],
    }
    return [
        {
            "name": "DuckDB" if t == "duckdb" else "PostgreSQL",
            "type": t,
            "configuration_schema": s,
            "features": ["datadiff"],
        }
        for t, s in [*((t, postgres) for t in POSTGRES), ("duckdb", duckdb)]
    ]
