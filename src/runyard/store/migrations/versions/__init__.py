"""One file per schema revision, oldest first. Called by Alembic."""
