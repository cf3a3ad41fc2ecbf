"""What a job used of the machine, as two small curves with their figures: CPU and memory over its time. Pure;
called by the job page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.model.usage import Sample
from runyard.web.format import size

WIDTH, HEIGHT = 160, 24
POINTS = 80  # of more samples the highest of each stretch is shown, so that peaks stay


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure: its SVG points in a box of WIDTH by HEIGHT, and what it comes to in words."""

    title: str
    points: str
    said: str


def curves(samples: Sequence[Sample]) -> tuple[Curve, ...]:
    """CPU as a share of the cores the job may use, memory against its limit (or against its own peak where
    there is none); none of what nobody took."""
    if len(samples) < 2:
        return ()
    found = []
    cpu = [(one.at, one.cpu) for one in samples if one.cpu is not None]
    if cpu:  # the first sample knows no share yet, so a short job has one less
        mean, peak = sum(share for _, share in cpu) / len(cpu), max(share for _, share in cpu)
        found.append(Curve("CPU", _points(cpu, 1.0), f"{mean:.0%} on average, {peak:.0%} at most"))
    memory = [(one.at, one.memory_bytes) for one in samples if one.memory_bytes is not None]
    if len(memory) > 1:
        most = max(taken for _, taken in memory)
        limit = max((one.limit_bytes or 0 for one in samples), default=0)
        of = f" of {size(limit)}" if limit else ""
        found.append(Curve("Memory", _points(memory, max(most, 1)), f"{size(most)}{of} at most"))
    return tuple(found)


def _points(rows: Sequence[tuple[int, float]], full: float) -> str:
    start, end = rows[0][0], rows[-1][0]
    span = max(1, end - start)
    if start == end:
        rows = [rows[0], (start + span, rows[0][1])]
    highest: dict[int, float] = {}
    for at, value in rows:
        place = (at - start) * (POINTS - 1) // span
        highest[place] = max(value, highest.get(place, 0.0))
    return " ".join(
        f"{place * WIDTH / (POINTS - 1):.1f},{HEIGHT - 1 - min(1.0, value / full) * (HEIGHT - 2):.1f}"
        for place, value in highest.items()
    )
