"""How many bad tokens one address may show before it hears 429 instead of a refusal. Used by front, for every
door alike.

A valid token is never held up: many people may stand behind one proxy's address, and 160 random bits are not
found by trying. What this stops is a guesser's stream of answers, and a broken client's. Memory is bounded
whatever strangers do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

BURST = 1000  # refusals at once from one address
REFILL_PER_S = 10.0
ADDRESSES = 10_000


class Guesses:
    """A bucket of refusals per address. One event loop calls; nothing here waits."""

    def __init__(
        self,
        burst: int = BURST,
        refill_per_s: float = REFILL_PER_S,
        addresses: int = ADDRESSES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._burst, self._refill_per_s, self._addresses, self._clock = burst, refill_per_s, addresses, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def refused(self, address: str) -> bool:
        """Notes one refusal; False when the address has used up its share."""
        now = self._clock()
        left, at = self._left.pop(address, (float(self._burst), now))
        left = min(float(self._burst), left + (now - at) * self._refill_per_s)
        is_within = left >= 1
        self._left[address] = (left - 1 if is_within else left, now)
        if len(self._left) > self._addresses:
            self._left.popitem(last=False)
        return is_within


def is_refusal(status: int, path: str, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether an answer says that a token is not valid. Runners hear 403 for theirs, but `Job-Status` tells
    them about a job, not a token; Looker answers a wrong login with 404 (looker.md §2.2)."""
    match status:
        case 200:  # gRPC without a body; with one the front looks at its trailers
            return (b"grpc-status", b"16") in headers
        case 401:
            return True
        case 403:
            return not any(name.lower() == b"job-status" for name, _ in headers)
        case 404:
            return path.endswith("/login")
        case _:
            return False
