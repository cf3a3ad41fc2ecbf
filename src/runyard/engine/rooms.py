"""Whether there is room for a job whose gate is open: `max_parallel` of its matrix and of its leg, and its maker's place in a concurrency group.

A job without room stays waiting and is asked again when somebody ends. Settle asks for every start, `ending.again` for every retry.
"""

from __future__ import annotations

from collections.abc import Iterator

from runyard.engine.board import Flow, Node
from runyard.model.state import Hold, State

_ACTIVE = frozenset({State.QUEUED, State.RUNNING, State.STOPPING})


def has_room(flow: Flow, node: Node) -> bool:
    """All of it."""
    return _matrix_has_room(flow, node) and _leg_has_room(flow, node) and _makers_have_their_place(flow, node)


def _matrix_has_room(flow: Flow, node: Node) -> bool:
    most = node.plan.max_parallel
    if most is None:
        return True
    taken = sum(
        leg.attempt.state in _ACTIVE
        or (leg.attempt.state is State.HELD and leg.attempt.hold is Hold.CONCURRENCY)
        for leg in flow.legs(node.plan.matrix_group)
    )
    return taken < most


def _leg_has_room(flow: Flow, node: Node) -> bool:
    """A leg of several jobs may begin while fewer than `max_parallel` others have begun and not ended."""
    origin = node.plan.origin
    if origin is None or origin.max_parallel is None:
        return True
    legs: dict[int, list[Node]] = {}
    for other in flow.made[origin.parent]:
        if other.plan.origin is not None:
            legs.setdefault(other.plan.origin.leg, []).append(other)
    at_work = {leg for leg, nodes in legs.items() if _is_at_work(nodes)}
    return origin.leg in at_work or len(at_work) < origin.max_parallel


def _is_at_work(leg: list[Node]) -> bool:
    """Begun and not ended; between two of its jobs too, but not when all that is open waits to be done again."""
    states = {node.attempt.state for node in leg}
    if states - {State.WAITING, State.DONE}:
        return True
    has_worked = any(node.is_done and node.attempt.started_at is not None for node in leg)
    return has_worked and any(
        node.attempt.state is State.WAITING and node.attempt.number == 1 for node in leg
    )


def _makers_have_their_place(flow: Flow, node: Node) -> bool:
    """What a member of a concurrency group has made works only while the member does: a retry of one part waits until the group is free."""
    makers = list(_makers(flow, node))
    if all(maker.plan.concurrency is None for maker in makers):
        return True
    return all(maker.attempt.state is State.RUNNING for maker in makers)


def _makers(flow: Flow, node: Node) -> Iterator[Node]:
    while (origin := node.plan.origin) is not None:
        node = next(maker for maker in flow.unfolding if maker.plan.key == origin.parent)
        yield node
