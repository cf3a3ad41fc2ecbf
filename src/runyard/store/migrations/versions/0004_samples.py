"""What attempts used of the machine, and when pieces of logs arrived. Called by Alembic."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = {
    "sqlite": (
        "CREATE TABLE samples ( attempt_id INTEGER NOT NULL, at INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (attempt_id, at),"
        " FOREIGN KEY(attempt_id) REFERENCES attempts (id) ON DELETE CASCADE ) STRICT",
        "ALTER TABLE log_chunks ADD COLUMN taken_at INTEGER",
    ),
    "postgresql": (
        "CREATE TABLE samples ( attempt_id BIGINT NOT NULL, at BIGINT NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (attempt_id, at),"
        " FOREIGN KEY(attempt_id) REFERENCES attempts (id) ON DELETE CASCADE )",
        "ALTER TABLE log_chunks ADD COLUMN taken_at BIGINT",
    ),
}


def upgrade() -> None:
    for statement in TABLES[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Restore a backup instead.")
