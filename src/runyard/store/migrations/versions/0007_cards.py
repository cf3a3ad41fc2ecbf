"""Attempts that are done carry how lists show them; what was done before is drawn little by little. Called by
Alembic."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INDEX = "CREATE INDEX attempts_undrawn ON attempts (id) WHERE state = 'done' AND card IS NULL"


def upgrade() -> None:
    kind = "BLOB" if op.get_bind().dialect.name == "sqlite" else "BYTEA"
    op.execute(f"ALTER TABLE attempts ADD COLUMN card {kind}")
    op.execute(INDEX)


def downgrade() -> None:
    raise NotImplementedError("Restore a backup instead.")
