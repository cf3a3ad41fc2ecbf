"""Several variants of one secret or variable, side by side. Called by Alembic."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE secret_variables ADD COLUMN variant TEXT",
    "DROP INDEX secret_variables_key",
    "CREATE UNIQUE INDEX secret_variables_key ON secret_variables"
    " (coalesce(project_id, 0), coalesce(group_id, 0), kind, key, environment_scope, coalesce(variant, ''))",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Restore a backup instead.")
