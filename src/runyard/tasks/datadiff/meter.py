"""Progress of a diff: which step, how far in it, how many rows of how many. What the program's lines, the bar
and an estimate are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

STEPS = (
    "connect",
    "columns",
    "fetch A",
    "fetch B",
    "key",
    "count A",
    "count B",
    "compare",
    "summarise",
    "write",
)
"""In this order; a diff inside one database has no fetching."""
_WEIGHTS = {"fetch A": 30.0, "fetch B": 30.0, "count A": 4.0, "count B": 4.0, "compare": 30.0}


@dataclass(frozen=True, slots=True)
class Tick:
    """Where a diff is. `fraction` of the step 0..1, 0 while unknown; `rows` done in the step of about `of`, 0
    while unknown."""

    step: str
    fraction: float = 0.0
    rows: int = 0
    of: int = 0


Progress = Callable[[Tick], None]


class Meter:
    """Tells a sink; knows how large the sides are believed to be."""

    def __init__(self, sink: Progress) -> None:
        self._sink = sink
        self.rows = 0  # of both sides, once counted

    def step(self, name: str) -> None:
        """A step begins."""
        self._sink(Tick(name))

    def counted(self, name: str, of: int) -> Callable[[int], None]:
        """For a step that counts its rows."""

        def told(rows: int) -> None:
            self._sink(Tick(name, min(0.99, rows / of) if of else 0.0, rows, max(of, rows)))

        return told

    def part(self, name: str) -> Callable[[float], None]:
        """For a step that knows its share."""

        def told(fraction: float) -> None:
            self._sink(Tick(name, fraction, int(self.rows * fraction), self.rows))

        return told


def overall(tick: Tick, fetched: str) -> float:
    """Share of the whole diff that is behind, 0..1; the sides in `fetched` ("", "A", "B" or "AB") are on
    their way. A guess: comparing and fetching take most."""
    steps = [s for s in STEPS if not s.startswith("fetch ") or s[-1] in fetched]
    weights = [_WEIGHTS.get(s, 1.0) for s in steps]
    if tick.step not in steps:
        return 0.0
    at = steps.index(tick.step)
    return (sum(weights[:at]) + weights[at] * tick.fraction) / sum(weights)
