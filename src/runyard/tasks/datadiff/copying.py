"""Several COPY statements of PostgreSQL into one sink, each on its own connection in its own thread. Only
`postgres` calls it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import psycopg
from psycopg import sql as pgsql

from runyard.tasks.datadiff.servers import Sink

_PIECES = 2_000  # rows that are joined before they are handed on; libpq gives them one by one


class Copying:
    """Whole rows reach the sink, in no order. The first failure ends all: `failed` holds it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._turn = threading.Lock()
        self.failed: list[Exception] = []

    def run(self, connection: psycopg.Connection[Any], waiting: deque[str]) -> None:
        """Copies queries until none is waiting."""
        try:
            while not self.failed:
                self._copy(connection, waiting.popleft())
        except IndexError:
            return
        except (psycopg.Error, OSError) as error:
            self.failed.append(error)

    def _copy(self, connection: psycopg.Connection[Any], select: str) -> None:
        pieces: list[bytes] = []
        statement = pgsql.SQL(f"COPY ({select}) TO STDOUT (FORMAT csv)")
        with connection.cursor() as cursor, cursor.copy(statement) as out:
            for piece in out:
                pieces.append(bytes(piece))
                if len(pieces) >= _PIECES:
                    self._hand_on(pieces)
                    pieces = []
        self._hand_on(pieces)

    def _hand_on(self, rows: list[bytes]) -> None:
        with self._turn:
            self._sink.rows += len(rows)
            self._sink.write(b"".join(rows))
