"""Work spread over sessions of one database: at most so many threads, results in the order of the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from runyard.tasks.lookml.connections import CannotConnect
from runyard.tasks.lookml.databases import Database

Work = TypeVar("Work")
Result = TypeVar("Result")

MAX_THREADS = 32


def spread(
    database: Database, work: Sequence[Work], threads: int, do: Callable[[Database, Work], Result]
) -> Iterator[Result]:
    """`do` for each piece; the given session is one of those used. A server that gives fewer sessions gets
    fewer threads."""
    sessions = [database]
    wanted = min(threads, MAX_THREADS, len(work))
    try:
        while len(sessions) < wanted:
            try:
                sessions.append(database.session())
            except CannotConnect:
                break
        if len(sessions) == 1:
            yield from (do(database, piece) for piece in work)
            return
        free: SimpleQueue[Database] = SimpleQueue()
        for session in sessions:
            free.put(session)

        def one(piece: Work) -> Result:
            session = free.get()
            try:
                return do(session, piece)
            finally:
                free.put(session)

        with ThreadPoolExecutor(len(sessions)) as pool:
            yield from pool.map(one, work)
    finally:
        for session in sessions[1:]:
            session.close()
