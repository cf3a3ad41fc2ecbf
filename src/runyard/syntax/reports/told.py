"""What a report says, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

ROWS = 20
CELL = 300


@dataclass(frozen=True, slots=True)
class Told:
    """One line, the table's first rows, links that it gives (label, address), or why it cannot be read."""

    title: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    left_out: int = 0
    links: tuple[tuple[str, str], ...] = ()
    problem: str = ""

    @property
    def json(self) -> dict[str, Any]:
        """As it is kept with the artifact."""
        return {key: value for key, value in asdict(self).items() if value}


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Told:
    """A title and the first rows; texts are cut to one line that fits a page."""
    every = list(rows)
    shown = tuple(tuple(cell(one) for one in row) for row in every[:ROWS])
    return Told(title, tuple(head) if shown else (), shown, max(0, len(every) - ROWS))


def cell(value: object) -> str:
    """One line of text."""
    first = str(value).strip().partition("\n")[0].strip()
    return first if len(first) <= CELL else first[: CELL - 1] + "…"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 test`, `1,200 tests`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(counts: Mapping[str, int], order: Sequence[str]) -> str:
    """`2 high, 1 low`; what `order` does not name comes last."""
    names = [*(name for name in order if name in counts), *sorted(counts.keys() - set(order))]
    return ", ".join(f"{counts[name]:,} {name}" for name in names if counts[name])
