"""The Tx port over SQLAlchemy Core, on SQLite and PostgreSQL; called by app."""
