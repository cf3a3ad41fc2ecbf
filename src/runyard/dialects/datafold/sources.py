"""Data sources: Datafold's name for the rows that Looker calls connections. Between wire type, stored row and what a job is given.

Secrets are sealed on the way in and leave only inside a job's environment; `options` of an answer is always null, as the vendor's is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from runyard.dialects.datafold.desk import validated
from runyard.dialects.datafold.refusals import SchemaRefused, UnknownReference, refused_field
from runyard.dialects.datafold.shapes import (
    BigQueryOptions,
    DatabricksOptions,
    DataSource,
    DuckDbOptions,
    MySqlOptions,
    PostgresOptions,
    SnowflakeOptions,
)
from runyard.engine.ports import Tx, Vault
from runyard.model.plan import ConnectionUse
from runyard.model.work import Connection

SECRETS = frozenset({"password", "private_key_pem", "service_account_json", "token"})


@dataclass(frozen=True, slots=True)
class Kind:
    """One of Datafold's `type`s: its name, the dialect of our rows, its options."""

    title: str
    dialect: str
    options: type[BaseModel]
    port: int = 0


KINDS: Mapping[str, Kind] = {
    "pg": Kind("PostgreSQL", "postgres", PostgresOptions, 5432),
    "postgres_aurora": Kind("PostgreSQL Aurora", "postgres", PostgresOptions, 5432),
    "postgres_aws_rds": Kind("PostgreSQL RDS", "postgres", PostgresOptions, 5432),
    "duckdb": Kind("DuckDB", "duckdb", DuckDbOptions),
    "mysql": Kind("MySQL", "mysql", MySqlOptions, 3306),
    "mariadb": Kind("MariaDB", "mariadb", MySqlOptions, 3306),
    "redshift": Kind("Redshift", "redshift", PostgresOptions, 5439),
    "snowflake": Kind("Snowflake", "snowflake", SnowflakeOptions),
    "bigquery": Kind("BigQuery", "bigquery", BigQueryOptions),
    "databricks": Kind("Databricks", "databricks", DatabricksOptions),
}
_OURS = {"user": "username", "dbname": "database", "db": "database", "path": "file"}
_COMPARED = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "pg": "postgres",
    **{kind.dialect: kind.dialect for kind in KINDS.values()},
}
_SAID = {"postgres": "pg", "postgresql": "pg"}


def to_store(given: DataSource, vault: Vault, now: int) -> Connection:
    """The row of a new data source; 422 names the option that is wrong."""
    kind = KINDS.get(given.type)
    if kind is None:
        raise refused_field(("body", "type"), f"only {', '.join(KINDS)} are served here", "enum")
    found = _options(kind.options, given).model_dump(by_alias=True, exclude_none=True)
    if kind.dialect == "duckdb" and (not found["path"].startswith("/") or "/../" in found["path"]):
        raise refused_field(("body", "duckdb", "options", "path"), "must be an absolute path")
    if "port" not in (given.options or {}) and kind.port:
        found["port"] = kind.port
    settings = {_OURS.get(k, k): v for k, v in found.items() if k not in SECRETS}
    secrets = {k: v for k, v in found.items() if k in SECRETS and v}
    return Connection(
        id=0,
        name=given.name,
        dialect=kind.dialect,
        settings=settings,
        sealed=vault.seal(json.dumps(secrets)) if secrets else "",
        created_at=now,
        updated_at=now,
        extra={"datafold": {"type": given.type, "float_tolerance": given.float_tolerance}},
    )


def _options(model: type[BaseModel], given: DataSource) -> BaseModel:
    try:
        return validated(TypeAdapter(model), given.options or {})
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
            f"The data source {found.name} is {found.dialect}; compared are {', '.join(sorted(set(_COMPARED.values())))}."
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
        "last_test": about.get("last_test"),
    }


def types() -> list[dict[str, Any]]:
    """What may be created, with its options."""
    return [
        {
            "name": kind.title,
            "type": type,
            "configuration_schema": _schema(kind, type),
            "features": ["datadiff"],
        }
        for type, kind in KINDS.items()
    ]


def _schema(kind: Kind, type: str) -> dict[str, Any]:
    """The vendor's form: an object schema that names its secret fields."""
    made = kind.options.model_json_schema(by_alias=True)
    refused = {name for name, facts in made["properties"].items() if facts.get("type") == "null"}
    properties = {name: facts for name, facts in made["properties"].items() if name not in refused}
    if kind.port:
        properties["port"] = {**properties["port"], "default": kind.port}
    return {
        "title": kind.options.__name__.removesuffix("Options") + "Config",
        "type": "object",
        "properties": properties,
        "required": made.get("required", []),
        "secret": sorted(SECRETS & properties.keys()),
    }
