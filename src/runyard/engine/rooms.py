"""Whether there is room for a job whose gate is open: `max_parallel` of its matrix and of its leg, and its maker's place in a concurrency group.

A job without room stays waiting and is asked again when a place may be free. Settle asks for every start, `ending.again` for every retry.
What this looks at of a plan is a line in `turns`: all that stand in one get the same answer at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator

from runyard.engine.flow import Flow, Node
from runyard.model.state import State


def has_room(flow: Flow, node: Node) -> bool:
    """All of it."""
    return _matrix_has_room(flow, node) and _leg_has_room(flow, node) and _makers_have_their_place(flow, node)


def _matrix_has_room(flow: Flow, node: Node) -> bool:
    most = node.plan.max_parallel
    return most is None or flow.taken[node.plan.matrix_group] < most


def _leg_has_room(flow: Flow, node: Node) -> bool:
    """A leg of several jobs may begin while fewer than `max_parallel` others have begun and not ended."""
    origin = node.plan.origin
    if origin is None or origin.max_parallel is None:
        return True
    at_work = flow.turns.legs_at_work[origin.parent]
    return origin.leg in at_work or len(at_work) < origin.max_parallel


def _makers_have_their_place(flow: Flow, node: Node) -> bool:
    """What a member of a concurrency group has made works only while the member does: a retry of one part waits until the group is free."""
    makers = list(_makers(flow, node))
    if all(maker.plan.concurrency is None for maker in makers):
        return True
    return all(maker.attempt.state is State.RUNNING for maker in makers)


def _makers(flow: Flow, node: Node) -> Iterator[Node]:
    while (origin := node.plan.origin) is not None:
        node = next(maker for maker in flow.legs(origin.parent) if maker.plan.key == origin.parent)
        yield node
