"""The database of a model: found by the connection's name, opened, closed. Shared by the validators that run
SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from runyard.tasks.lookml.connections import CannotConnect, Connection
from runyard.tasks.lookml.databases import Database, open_database
from runyard.tasks.lookml.language.model import Model


@contextmanager
def opened(model: Model, connections: Mapping[str, Connection], timeout_s: float) -> Iterator[Database]:
    """A session for the model's queries; CannotConnect says what is missing."""
    if not model.connection:
        raise CannotConnect(f'model "{model.name}" names no connection')
    wanted = connections.get(model.connection)
    if wanted is None:
        known = ", ".join(sorted(connections)) or "none"
        raise CannotConnect(
            f'connection "{model.connection}" of model "{model.name}" does not exist here (there are: {known})'
        )
    database = open_database(wanted, timeout_s)
    try:
        yield database
    finally:
        database.close()
