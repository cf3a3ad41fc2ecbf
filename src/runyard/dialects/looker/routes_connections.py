"""Connections: the databases that validators query, the same rows as Datafold's data sources. Administrators write, everyone with a token reads.

Passwords are sealed and never shown. Served dialects: duckdb (an absolute file on the server) and postgres.
"""

from __future__ import annotations

import json
from asyncio import to_thread
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker.connections import named, settings_of
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.refusals import Detail, Unprocessable, answer, empty, invalid, missing_field
from runyard.dialects.looker.shapes import time
from runyard.engine.ports import Tx
from runyard.model.errors import NotFound
from runyard.model.work import Connection
from runyard.tasks.lookml.databases import DIALECTS, CannotConnect, connection, open_database

MAX_TEXT = 2048
TEST_TIMEOUT_S = 5.0


def _shape(row: Connection) -> dict[str, Any]:
    known = row.settings
    return {
        "can": {"show": True, "test": True},
        "name": row.name,
        "dialect_name": row.dialect,
        "dialect": {
            "name": row.dialect,
            "label": {"duckdb": "DuckDB", "postgres": "PostgreSQL"}.get(row.dialect, row.dialect),
        },
        "host": known.get("host") or None,
        "port": str(known["port"]) if known.get("port") else None,
        "username": known.get("username") or None,
        "database": known.get("file") or known.get("database") or None,
        "schema": known.get("schema") or None,
        "ssl": known.get("sslmode") in ("require", "verify-ca", "verify-full"),
        "verify_ssl": known.get("sslmode") == "verify-full",
        "db_timezone": "UTC",
        "query_timezone": "UTC",
        "created_at": time(row.created_at),
        "example": False,
    }


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if (
        not isinstance(value, str | int)
        or isinstance(value, bool)
        or len(str(value)) > MAX_TEXT
        or "\0" in str(value)
    ):
        raise invalid(name, f"{name} must be a text of at most {MAX_TEXT} characters.")
    return str(value)


def _read(body: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, str]]:
    """(dialect, settings, secrets) of a create or update body over what was there."""
    merged = {**before, **{k: v for k, v in body.items() if v is not None}}
    dialect = DIALECTS.get(_text(merged, "dialect_name").lower())
    if dialect is None:
        raise invalid("dialect_name", "dialect_name must be duckdb or postgres; others are not served yet.")
    secrets = {"password": _text(body, "password")} if body.get("password") else {}
    if dialect == "duckdb":
        file = _text(merged, "database") or _text(merged, "file")
        if not file:
            raise missing_field("database")
        if not PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise invalid("database", "database must be the absolute path of a DuckDB file on the server.")
        return dialect, {"file": file, "schema": _text(merged, "schema")}, secrets
    for name in ("host", "database"):
        if not _text(merged, name):
            raise missing_field(name)
    port = _text(merged, "port") or "5432"
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise invalid("port", "port must be from 1 to 65535.")
    sslmode = "verify-full" if merged.get("verify_ssl") else "require" if merged.get("ssl") else "prefer"
    settings = {k: _text(merged, k) for k in ("host", "database", "username", "schema")}
    return dialect, {**settings, "port": int(port), "sslmode": sslmode}, secrets


async def _row(ask: Ask) -> Connection:
    wanted = ask.params["connection_name"]
    found = await ask.services.db.read(lambda tx: named(tx, wanted))
    if found is None:
        raise NotFound
    return found


async def create(ask: Ask) -> Response:
    """POST /connections."""
    ask.admin()
    name = _text(ask.body, "name").strip()
    if not name:
        raise missing_field("name")
    dialect, settings, secrets = _read(ask.body, {})
    now = ask.services.now()
    row = Connection(0, name, dialect, settings, _sealed(ask, secrets), now, now)

    def work(tx: Tx) -> Connection:
        if named(tx, name) is not None:
            raise Unprocessable(
                Detail("name", "already_exists", f"There is a connection named {name!r} already.")
            )
        return tx.add(row)

    return ask.answer(_shape(await ask.services.db.write(work)))


def _sealed(ask: Ask, secrets: Mapping[str, str]) -> str:
    return ask.services.vault.seal(json.dumps(secrets)) if secrets else ""


async def listed(ask: Ask) -> Response:
    """GET /connections."""
    found = await ask.services.db.read(lambda tx: tx.connections())
    return ask.answer([_shape(row) for row in found])


async def get(ask: Ask) -> Response:
    """GET /connections/{name}."""
    return ask.answer(_shape(await _row(ask)))


async def update(ask: Ask) -> Response:
    """PATCH /connections/{name}; a password that is not given stays."""
    ask.admin()
    row = await _row(ask)
    old = {
        "dialect_name": row.dialect,
        **row.settings,
        "database": row.settings.get("file") or row.settings.get("database"),
    }
    old |= {
        "ssl": row.settings.get("sslmode") == "require",
        "verify_ssl": row.settings.get("sslmode") == "verify-full",
    }
    dialect, settings, secrets = _read(ask.body, old)
    sealed = _sealed(ask, secrets) or row.sealed
    after = replace(row, dialect=dialect, settings=settings, sealed=sealed, updated_at=ask.services.now())
    await ask.services.db.write(lambda tx: tx.save(after))
    return ask.answer(_shape(after))


async def delete(ask: Ask) -> Response:
    """DELETE /connections/{name}."""
    ask.admin()
    row = await _row(ask)
    await ask.services.db.write(lambda tx: tx.remove(Connection, row.id))
    return empty()


async def test(ask: Ask) -> Response:
    """PUT /connections/{name}/test: opens it and binds one query, read-only."""
    ask.admin()
    row = await _row(ask)
    settings = settings_of(row, ask.services.vault)
    found = await to_thread(_try, row.name, settings)
    return answer(
        [
            {
                "can": {},
                "name": "connect",
                "status": "success" if not found else "error",
                "message": found or "Can connect",
            }
        ]
    )


def _try(name: str, settings: Mapping[str, Any]) -> str:
    """What is wrong with the connection, or nothing."""
    try:
        database = open_database(connection(name, settings), TEST_TIMEOUT_S)
    except CannotConnect as problem:
        return str(problem)
    try:
        refusal = database.bind("SELECT 1")
    except CannotConnect as lost:
        return str(lost)
    finally:
        database.close()
    return refusal.message if refusal else ""


_ALL = "/connections"
_ONE = _ALL + "/{connection_name}"
LINES = [
    Line("POST", _ALL, create),
    Line("GET", _ALL, listed),
    Line("GET", _ONE, get),
    Line("PATCH", _ONE, update),
    Line("DELETE", _ONE, delete),
    Line("PUT", _ONE + "/test", test),
]
