"""Whether there is room for a job whose gate is open: `max_parallel` of its matrix and of its leg, and makers
that run.

A job without room stays waiting and is asked again when a place may be free. Settle asks for every start,
`ending.again` for every retry. What this looks at of a plan is a line in `turns`: all that stand in one get
the same answer at the same moment.
"""

from __future__ import annotations

from runyard.engine.flow import Flow, Node
from runyard.model.state import State


def has_room(flow: Flow, node: Node) -> bool:
    """All of it."""
    return _matrix_has_room(flow, node) and _leg_has_room(flow, node) and makers_run(flow, node)


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


def makers_run(flow: Flow, node: Node) -> bool:
    """What a job has made works only while the job does: its place in a concurrency group or in its own leg
    is theirs, and a new attempt of it may make other jobs. Nor does it wait for a person or a time before:
    both would start it."""
    return all(maker.attempt.state is State.RUNNING for maker in flow.makers(node))
