"""Runners of a group. Called by Alembic."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TYPES = {"sqlite": "INTEGER", "postgresql": "BIGINT"}


def upgrade() -> None:
    op.execute(f"ALTER TABLE runners ADD COLUMN group_id {TYPES[op.get_bind().dialect.name]}")
    op.execute("CREATE INDEX runners_group ON runners (group_id)")


def downgrade() -> None:
    raise NotImplementedError("Restore a backup instead.")
