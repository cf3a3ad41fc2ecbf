"""What hot readers have read already, for as long as the database is the same. Made by doors; used on the
event loop.

Exact: everything is forgotten at the first commit (`Database.version`), and with each second of the clock,
because tokens and memberships expire on whole seconds. Where only the database could tell whether something
was written (PostgreSQL with replicas) nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")
MOST = 4096
MOST_BYTES = 8 << 20


class Moment:
    """Answers of one version and second. Ask for it before the transaction begins, so that nothing older than
    the version is ever kept."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}
        self._free_bytes = MOST_BYTES

    def of(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` answers, or answered for this key; what it raises is raised and not kept."""
        try:
            return cast(T, self._known[key])
        except KeyError:
            pass
        found = read()
        if len(self._known) < MOST:
            self._known[key] = found
        return found

    def known(self, key: Hashable) -> Any:
        """What was kept for this key; None when nothing was."""
        return self._known.get(key)

    def keep(self, key: Hashable, found: object, size_bytes: int) -> None:
        """For who can read only between two asks. Of that size in memory, and not at all when there is too
        much already."""
        if len(self._known) < MOST and size_bytes <= self._free_bytes:
            self._free_bytes -= size_bytes
            self._known[key] = found


class Fleeting(Moment):
    """Keeps nothing."""

    def keep(self, key: Hashable, found: object, size_bytes: int) -> None:
        pass

    def of(self, key: Hashable, read: Callable[[], T]) -> T:
        return read()


FLEETING = Fleeting()


class Recall:
    """The current moment of one database."""

    def __init__(self) -> None:
        self._at: tuple[int, int] | None = None
        self._moment = Moment()

    def moment(self, version: int | None, now: int) -> Moment:
        """The one to use for the request that begins now, in milliseconds, at this version of the
        database."""
        if version is None:
            return FLEETING
        at = (version, now // 1000)
        if at != self._at:
            self._at, self._moment = at, Moment()
        return self._moment
