"""Settings of connections with their secrets, for whoever asks a database. The rows are made by
routes_connections or Datafold's door."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runyard.engine.ports import Tx, Vault
from runyard.http.services import Services
from runyard.model.work import Connection
from runyard.tasks.lookml.sql.dialects import Dialect, dialect_named


def settings_of(row: Connection, vault: Vault) -> dict[str, Any]:
    """What a task gets: settings with secrets."""
    secrets = json.loads(vault.open(row.sealed)) if row.sealed else {}
    return {**row.settings, "dialect": row.dialect, **secrets}


def named(tx: Tx, name: str) -> Connection | None:
    """The connection of that name."""
    return next((c for c in tx.connections() if c.name == name), None)


async def settings_named(services: Services, name: str) -> dict[str, Any] | None:
    """The settings of that name's connection; None when there is none."""
    row = await services.db.read(lambda tx: named(tx, name))
    return settings_of(row, services.vault) if row else None


def dialects_of(settings: Mapping[str, Any]) -> tuple[Dialect, Dialect | None]:
    """(what the database speaks, what the project is written in when that is another); DuckDB's where nothing
    is said, as for no connection."""
    spoken = dialect_named(str(settings.get("dialect") or "duckdb")) or "duckdb"
    written = dialect_named(str(settings.get("written") or ""))
    return spoken, written if written != spoken else None
