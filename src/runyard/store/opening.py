"""Opens the database a URL names. Called by app and cli; drivers are imported only for the URL that needs them."""

from __future__ import annotations

from pathlib import Path

from runyard.engine.ports import Bell, Database


def open_database(url: str, data_dir: Path) -> tuple[Database, Bell]:
    """ "" is `data_dir`/runyard.db, "sqlite://" lives in memory, "sqlite:///file", "postgresql://…".

    Conflict when another server uses the file or the schema is newer; Unavailable when the database cannot be reached.
    """
    if url.startswith(("postgresql:", "postgres:", "postgresql+psycopg:")):
        from runyard.store.postgres_database import open_postgres

        return open_postgres(url)
    from runyard.store.sqlite_database import open_sqlite

    if url in ("sqlite://", "sqlite:///:memory:"):
        return open_sqlite(None)
    return open_sqlite(Path(url.removeprefix("sqlite:///")) if url else data_dir / "runyard.db")
