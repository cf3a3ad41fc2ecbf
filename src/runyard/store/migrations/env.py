"""Alembic's entry: runs the revisions on the connection that `upgrade` hands over. Called by Alembic only."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
