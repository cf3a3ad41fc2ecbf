"""Jobs of a workflow whose gate is open and that found no room (`rooms`): who is asked when a place may be
free. Kept by Flow.

Those for whom there is room at the same moments stand in one line; only its first is asked. When that one
starts, the line hears of it as of any change, and the next is asked; so a free place costs one question, not
one for each that waits for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from runyard.model.plan import When
from runyard.model.state import State

if TYPE_CHECKING:
    from runyard.engine.flow import Node


_Line = tuple[
    str, int | None, str, int, int | None, bool
]  # all that `rooms` asks of a plan, and whether it takes no place yet


class Turns:
    """Lines of those who were turned away, and which legs of several jobs are at work."""

    def __init__(self) -> None:
        self.legs_at_work: dict[str, set[int]] = defaultdict(set)  # by the key of their maker
        self._legs: dict[tuple[str, int], list[Node]] = defaultdict(list)
        self._lines: dict[_Line, list[tuple[int, int, Node]]] = {}
        self._standing: set[int] = set()

    def add(self, node: Node) -> None:
        """A job is there."""
        origin = node.plan.origin
        if origin is not None and origin.max_parallel is not None:
            self._legs[origin.parent, origin.leg].append(node)
            self._look_at_leg(node)

    def changed(self, node: Node) -> Iterator[Node]:
        """Who is to be asked now that this one has changed."""
        self._look_at_leg(node)
        if not self._lines:
            return
        maker = node.plan.origin.parent if node.plan.origin is not None else None
        for line in list(self._lines):
            group, _, parent, *_ = line
            if group in node.names or (parent and (parent == maker or node.plan.unfold is not None)):
                yield from self._first(line)

    def next_of(self, node: Node) -> Iterator[Node]:
        """Who is to be asked because this one, whose turn it was, cannot start for another reason."""
        return self._first(_line_of(node))

    def put(self, node: Node) -> None:
        """There was no room for it."""
        if node.job.id not in self._standing:
            self._standing.add(node.job.id)
            heappush(self._lines.setdefault(_line_of(node), []), (node.place, node.job.id, node))

    def reorder(self) -> None:
        """Everyone has another place."""
        for line in self._lines.values():
            line[:] = [(node.place, node.job.id, node) for _, _, node in line]
            heapify(line)

    def _first(self, line: _Line) -> Iterator[Node]:
        heap = self._lines.get(line, [])
        while heap:
            node = heappop(heap)[2]
            self._standing.discard(node.job.id)
            if node.is_waiting and node.flow is not None and node.flow.may_be_asked(node):
                yield node
                break
        if not heap:
            self._lines.pop(line, None)

    def _look_at_leg(self, node: Node) -> None:
        origin = node.plan.origin
        if origin is None or origin.max_parallel is None:
            return
        at_work = self.legs_at_work[origin.parent]
        if _is_at_work(self._legs[origin.parent, origin.leg]):
            at_work.add(origin.leg)
        else:
            at_work.discard(origin.leg)


def _line_of(node: Node) -> _Line:
    plan, origin = node.plan, node.plan.origin
    is_held = plan.gate.when in (When.MANUAL, When.DELAYED)
    made = (origin.parent, origin.leg, origin.max_parallel) if origin is not None else ("", 0, None)
    return plan.matrix_group, plan.max_parallel, *made, is_held


def _is_at_work(leg: list[Node]) -> bool:
    """Begun and not ended; between two of its jobs too, but not when all that is open waits to be done
    again."""
    states = {node.attempt.state for node in leg}
    if states - {State.WAITING, State.DONE}:
        return True
    has_worked = any(node.is_done and node.attempt.started_at is not None for node in leg)
    return has_worked and any(node.is_waiting and node.attempt.number == 1 for node in leg)
