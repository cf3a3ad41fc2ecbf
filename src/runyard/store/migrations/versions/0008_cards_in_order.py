"""On SQLite the cards of a project lie in an index in the order of lists, so that a page is neighbouring pages of the file. Called by Alembic."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INDEX = (
    "CREATE INDEX attempts_cards ON attempts (project_id, id, run_id, runner_id, actor_id, card) WHERE id > 0"
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(INDEX)


def downgrade() -> None:
    raise NotImplementedError("Restore a backup instead.")
