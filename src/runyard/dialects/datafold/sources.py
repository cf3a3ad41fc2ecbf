"""Data sources: Datafold's name for the rows that Looker calls connections. Between wire type, stored row and
what a job is given.

Secrets are sealed on the way in and leave only inside a job's environment; `options` of an answer is always
null, as the vendor's is.
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
_WRITABLE = (
    "postgres",
    "mysql",
    "mariadb",
)  # their schemas can be given to us; a DuckDB file has one writer or many readers
_COMMON = {
    name: field.default
    for name, field in DataSource.model_fields.items()
    if name not in ("name", "type", "options")
}
"""What every data source may say, with what holds where it says nothing (Looker's connections do not)."""
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
        extra={"datafold": given.model_dump(exclude={"name", "options"})},
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
        raise UnknownReference(
            f"There is no data source {id}: GET /api/v1/data_sources lists them, POST makes one."
        )
    if found.dialect not in _COMPARED:
        raise UnknownReference(
            f"The data source {found.name} is {found.dialect}; compared are {', '.join(sorted(set(_COMPARED.values())))}."
        )
    if _about(found).get("is_paused"):
        raise UnknownReference(f"The data source {found.name} is paused.")
    return found


def destination(tx: Tx, id: int) -> Connection:
    """The data source that results are to be written to: one whose `temp_schema` says where."""
    found = find(tx, id)
    field = ("body", "materialization_destination_id")
    if _COMPARED[found.dialect] not in _WRITABLE:
        message = f"results are materialised in {', '.join(_WRITABLE)}; a {found.dialect} data source is only read: take the artifact diff.parquet"
        raise refused_field(field, message, "not_served")
    if not temp_schema(found):
        message = f"the data source {found.name} has no temp_schema to write to: make it with one that its user may create tables in"
        raise refused_field(field, message)
    return found


def temp_schema(connection: Connection) -> str:
    """The schema of a data source that is ours to write to; "" when there is none. The vendor writes `schema`
    or `database.schema`."""
    return str(_about(connection).get("temp_schema") or "").rpartition(".")[2]


def is_hidden(connection: Connection) -> bool:
    """Whether lists leave it out."""
    return bool(_about(connection).get("hidden"))


def _about(connection: Connection) -> Mapping[str, Any]:
    return connection.extra.get("datafold") or {}


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
    return str(_about(connection).get("type") or _SAID.get(connection.dialect, connection.dialect))


def shape(connection: Connection) -> dict[str, Any]:
    """The common fields of §4."""
    about = _about(connection)
    unset = dict.fromkeys(("group_ids", "groups", "secret_id", "source", "created_from", "oauth_dwh_active"))
    return {
        "id": connection.id,
        "name": connection.name,
        "type": kind_of(connection),
        "options": None,
        "accessible": True,
        **unset,
        **{name: about.get(name, default) for name, default in _COMMON.items()},
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
