"""Opens the database a URL names. Called by app and cli; drivers are imported only for the URL that needs
them."""

from __future__ import annotations

from pathlib import Path

from runyard.engine.ports import Bell, Database
from runyard.model.errors import Invalid

SQLITE = "sqlite:///"


def open_database(url: str, data_dir: Path) -> tuple[Database, Bell]:
    """ "" is `data_dir`/runyard.db, "sqlite://" lives in memory, "sqlite:///abs/file" is an absolute path, "postgresql://…".

    Invalid when it is none of these; Conflict when another server uses the file or the schema is newer;
    Unavailable when the database cannot be reached.
    """
    if url.startswith(("postgresql:", "postgres:", "postgresql+psycopg:")):
        from runyard.store.postgres_database import open_postgres

        return open_postgres(url)
    from runyard.store.sqlite_database import open_sqlite

    if url in ("sqlite://", "sqlite:///:memory:"):
        return open_sqlite(None)
    if not url:
        return open_sqlite(data_dir / "runyard.db")
    if not url.startswith(SQLITE):
        scheme = url.partition("://")[0][:40]
        raise Invalid(f"The database is sqlite:///abs/file or postgresql://…, not {scheme!r}.")
    return open_sqlite(Path("/" + url.removeprefix(SQLITE).lstrip("/")))
