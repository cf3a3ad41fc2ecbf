"""The Tx port on SQLite and PostgreSQL; every SQL statement of the house is in this folder. Called by app,
cli and tests.

`open_database` gives the running server its Database and Bell; `sqlite.SqliteStore` gives tests and
simulations plain transactions.
"""

from runyard.store.opening import open_database

__all__ = ["open_database"]
