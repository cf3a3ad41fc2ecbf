"""Upgrades of an older schema by Alembic. Called by the stores when schema.py says the database is behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any


def upgrade_sqlite(connection: sqlite3.Connection) -> None:
    """On the store's own connection, in one transaction: the old schema or the new one, never between."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import StaticPool

    engine = create_engine(
        "sqlite://", creator=lambda: connection, poolclass=StaticPool, skip_autocommit_rollback=True
    )

    @event.listens_for(engine, "begin")
    def begin(made: Any) -> None:
        made.exec_driver_sql("BEGIN IMMEDIATE")

    upgrade(engine)


def upgrade(engine: Any, revision: str = "head") -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "runyard.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def upgrade_postgres(connect: Callable[[], Any], lock: int) -> None:
    """In one transaction, under a lock that replicas starting at the same time wait for."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    def creator() -> Any:
        connection = connect()
        connection.autocommit = False
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
        connection.execute("SET LOCAL statement_timeout = 0")
        return connection

    engine = create_engine("postgresql+psycopg://", creator=creator, poolclass=NullPool)
    upgrade(engine)
