"""Sessions of warehouses through the vendors' own DB-API drivers (extras `snowflake`, `bigquery`,
`databricks`, `redshift`).

Shared by the tasks that query: `connect` gives a driver's connection, `trouble` says what an exception of any
driver means. A driver is imported when a connection asks for it. What each session sets comes from the
vendor's reference. Only Redshift's can promise to be read-only; elsewhere the role's rights are the fence.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

CONNECT_S = 10


class Why(StrEnum):
    """What kind of trouble it is."""

    SETTINGS = "settings"
    CONNECTION = "connection"
    QUERY = "query"
    TIMEOUT = "timeout"


class DriverTrouble(Exception):
    """A driver did not do what was asked; `message` is one line, free of credentials. `is_retryable`: the
    service was away, not against it."""

    def __init__(self, why: Why, message: str, *, is_retryable: bool = False) -> None:
        self.why = why
        self.message = message
        self.is_retryable = is_retryable
        super().__init__(message)


def connect(
    dialect: str, where: Mapping[str, Any], timeout_s: float, session: Mapping[str, str] | None = None
) -> Any:
    """A DB-API connection whose statements end after `timeout_s`. `where` has the fields of
    `datadiff.spec.Connection`; DriverTrouble otherwise."""
    return _OPENERS[dialect](where, timeout_s, session or {})


def trouble(name: str, error: Exception) -> DriverTrouble:
    """An exception of any driver: their hierarchies are not imported here, but they name their classes
    alike."""
    line = str(error).strip().split("\n", 1)[0][:500].rstrip(".") or type(error).__name__
    kind = type(error).__name__
    if "timeout" in line.lower() or "timed out" in line.lower():
        return DriverTrouble(Why.TIMEOUT, f"{name}: {line}.")
    if kind in ("OperationalError", "InterfaceError", "ServiceUnavailable"):
        return DriverTrouble(Why.CONNECTION, f"{name}: {line}.", is_retryable=True)
    return DriverTrouble(Why.QUERY, f"{name}: {line}.")


def _driver(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        message = f"The driver {module} is not installed: install runyard[{extra}]."
        raise DriverTrouble(Why.CONNECTION, message) from None


def _opened(name: str, open: Callable[..., Any], **given: Any) -> Any:
    try:
        return open(**{k: v for k, v in given.items() if v is not None and v != ""})
    except Exception as error:  # noqa: BLE001 - four drivers, four hierarchies; none is imported here
        raise trouble(name, error) from None


def _no_session(name: str, session: Mapping[str, str]) -> None:
    if session:
        raise DriverTrouble(Why.SETTINGS, f"{name}: session parameters are not served.")


_SNOWFLAKE_FORMATS = {
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "TIME_OUTPUT_FORMAT": "HH24:MI:SS.FF6",
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6",
    "TIMESTAMP_LTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6 TZHTZM",
    "TIMESTAMP_TZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6 TZHTZM",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "TIMEZONE": "UTC",
}


def _snowflake(where: Mapping[str, Any], timeout_s: float, session: Mapping[str, str]) -> Any:
    """Formats and time zone are fixed, so that texts mean the same everywhere."""
    unknown = sorted(session.keys() - {"QUERY_TAG", "USE_CACHED_RESULT"})
    if unknown:
        raise DriverTrouble(Why.SETTINGS, f"The session parameter {unknown[0]!r} may not be set.")
    driver = _driver("snowflake.connector", "snowflake")
    return _opened(
        "snowflake",
        driver.connect,
        account=where.get("account") or where.get("host"),
        user=where.get("username"),
        password=where.get("password"),
        private_key=_private_key(str(where.get("private_key_pem") or "")),
        warehouse=where.get("warehouse"),
        role=where.get("role"),
        database=where.get("database"),
        schema=where.get("schema"),
        login_timeout=CONNECT_S,
        application="runyard",
        session_parameters={
            **_SNOWFLAKE_FORMATS,
            "STATEMENT_TIMEOUT_IN_SECONDS": max(1, int(timeout_s)),
            "MULTI_STATEMENT_COUNT": 1,
            **session,
        },
    )


def _private_key(pem: str) -> bytes | None:
    if not pem:
        return None
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        loaded = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        message = "snowflake: private_key_pem is not an unencrypted private key in PEM form."
        raise DriverTrouble(Why.CONNECTION, message) from None
    return loaded.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _bigquery(where: Mapping[str, Any], timeout_s: float, session: Mapping[str, str]) -> Any:
    """Through the client's DB-API; a job that lasts too long is cancelled by the service."""
    _no_session("bigquery", session)
    return _driver("google.cloud.bigquery.dbapi", "bigquery").connect(bigquery_client(where, timeout_s))


def bigquery_client(where: Mapping[str, Any], timeout_s: float, *, dataset: str = "") -> Any:
    """BigQuery's own client, which can also plan a query without running it. `dataset` is where unqualified
    names are looked for."""
    client_module = _driver("google.cloud.bigquery", "bigquery")
    config = client_module.QueryJobConfig(use_query_cache=True)
    config.job_timeout_ms = max(1, int(timeout_s * 1000))
    project = where.get("project") or where.get("database")
    if dataset:
        config.default_dataset = f"{project}.{dataset}"
    given: dict[str, Any] = {
        "project": project,
        "location": where.get("location"),
        "default_query_job_config": config,
    }
    make = client_module.Client
    if where.get("service_account_json"):
        try:
            given["info"] = json.loads(where["service_account_json"])
        except ValueError:
            message = "bigquery: service_account_json is not JSON."
            raise DriverTrouble(Why.CONNECTION, message) from None
        make = client_module.Client.from_service_account_info
    return _opened("bigquery", make, **given)


def bigquery_dry_run() -> Any:
    """The configuration of a query that is planned and not run: it costs nothing and finds every error of
    names and types."""
    config = _driver("google.cloud.bigquery", "bigquery").QueryJobConfig
    return config(dry_run=True, use_query_cache=False)


def _databricks(where: Mapping[str, Any], timeout_s: float, session: Mapping[str, str]) -> Any:
    """ANSI mode and UTC are set by the session."""
    _no_session("databricks", session)
    driver = _driver("databricks.sql", "databricks")
    return _opened(
        "databricks",
        driver.connect,
        server_hostname=where.get("host"),
        http_path=where.get("http_path"),
        access_token=where.get("token") or where.get("password"),
        catalog=where.get("catalog"),
        schema=where.get("schema"),
        session_configuration={
            "timezone": "UTC",
            "ansi_mode": "true",
            "statement_timeout": str(max(1, int(timeout_s))),
        },
    )


def _redshift(where: Mapping[str, Any], timeout_s: float, session: Mapping[str, str]) -> Any:
    """By Amazon's driver; a transaction of its own that is read-only and never committed."""
    _no_session("redshift", session)
    driver = _driver("redshift_connector", "redshift")
    connection = _opened(
        "redshift",
        driver.connect,
        host=where.get("host"),
        port=where.get("port") or 5439,
        database=where.get("database"),
        user=where.get("username"),
        password=where.get("password"),
        timeout=CONNECT_S,
        ssl=where.get("sslmode") != "disable",
        application_name="runyard",
    )
    try:
        redshift_begin(connection, where, timeout_s)
    except DriverTrouble:
        connection.close()
        raise
    return connection


def redshift_begin(connection: Any, where: Mapping[str, Any], timeout_s: float) -> None:
    """The read-only transaction with its settings; once more after a statement that failed, since that ends
    both."""
    schema = str(where.get("schema") or "").replace('"', '""')
    cursor = connection.cursor()
    try:
        for statement in (
            "BEGIN READ ONLY",
            *([f'SET search_path TO "{schema}"'] if schema else []),
            f"SET statement_timeout TO {max(1, int(timeout_s * 1000))}",
            "SET timezone TO 'UTC'",
            "SET datestyle TO 'ISO, YMD'",
            "SET extra_float_digits TO 2",
        ):
            cursor.execute(statement)
    except Exception as error:  # noqa: BLE001 - the driver's own hierarchy
        raise trouble("redshift", error) from None


_OPENERS: dict[str, Callable[[Mapping[str, Any], float, Mapping[str, str]], Any]] = {
    "snowflake": _snowflake,
    "bigquery": _bigquery,
    "databricks": _databricks,
    "redshift": _redshift,
}
