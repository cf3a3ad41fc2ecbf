"""One at a time, by name: who makes what others want too. Used by `objects` and `actions`."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary


class _Turn:
    """A lock that may be weakly referred to."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Turns:
    """A name that nobody holds or waits for is forgotten: most are strangers' words."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[Hashable, _Turn] = WeakValueDictionary()
        self._taking = threading.Lock()

    def __len__(self) -> int:
        return len(self._turns)

    @contextmanager
    def of(self, name: Hashable) -> Iterator[None]:
        """Waits until nobody else has the turn of this name."""
        with self._taking:
            turn = self._turns.setdefault(name, _Turn())
        with turn.lock:
            yield
