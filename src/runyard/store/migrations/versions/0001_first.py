"""The first schema, as DDL frozen per database: a revision must not change when tables.py does. Called by
Alembic."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    for statement in Path(__file__).with_name(f"0001_first.{dialect}.sql").read_text().split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Restore a backup instead.")
