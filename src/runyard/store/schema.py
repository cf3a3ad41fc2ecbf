"""Which schema a database has, and bringing it to ours. Called by the stores when they open.

A fresh database is made from `fresh/*.sql` at once and stamped; an older one is upgraded by Alembic; a newer
one is refused. The files are made from tables.py by `python -m runyard.store.schema`, so that no start pays
for SQLAlchemy; tests keep them equal.
"""
# ruff: noqa: S608 - only names of columns and marks are pasted into SQL; every value is bound

from __future__ import annotations

from pathlib import Path

from runyard.model.errors import Conflict

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
HEAD = REVISIONS[-1]
FRESH = Path(__file__).parent / "fresh"


def is_current(version: str) -> bool:
    """False: an upgrade is needed. Conflict: the database was written by a newer program."""
    if version not in REVISIONS:
        raise Conflict(
            f"The database has schema {version}, this program knows up to {HEAD}: it was used by a newer version. "
            "Start that version, or restore a backup made before the upgrade."
        )
    return version == HEAD


def statements(dialect: str) -> tuple[str, ...]:
    """The DDL of a fresh database for "sqlite" or "postgresql", with the stamp; a statement is a line."""
    return tuple((FRESH / f"{dialect}.sql").read_text(encoding="utf-8").splitlines())


def compiled(dialect: str) -> tuple[str, ...]:
    """What `statements` answers, made from tables.py."""
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.schema import CreateIndex, CreateTable

    from runyard.store.tables import metadata

    spoken = sqlite.dialect() if dialect == "sqlite" else postgresql.dialect()  # type: ignore[no-untyped-call]
    made: list[str] = []
    for table in metadata.sorted_tables:
        made.append(str(CreateTable(table).compile(dialect=spoken)))
        made += [
            str(CreateIndex(i).compile(dialect=spoken))
            for i in sorted(table.indexes, key=lambda i: str(i.name))
        ]
    made.append(f"INSERT INTO alembic_version (version_num) VALUES ('{HEAD}')")
    return tuple(" ".join(statement.split()) for statement in made)


if __name__ == "__main__":
    for name in ("sqlite", "postgresql"):
        (FRESH / f"{name}.sql").write_text("\n".join(compiled(name)) + "\n", encoding="utf-8")
