"""Settle by plain recomputation: every waiting job is asked in every turn, every fold looks at every job. The
oracle of `engine.flow`.

A `Twin` lives beside the world's own store: it gets the same verbs with the plain settle, forgets its boards
after each, and must hold the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from runyard.engine import ending, groups, settle, unfolding
from runyard.engine.board import Board
from runyard.engine.flow import Flow, Node
from runyard.engine.following import follow
from runyard.engine.groups import ACTIVE
from runyard.engine.order import arrange
from runyard.engine.ports import Kept, Tx
from runyard.model.errors import RunyardError
from runyard.model.fold import fold_words
from runyard.model.plan import JobPlan
from runyard.model.state import Hold, State
from runyard.model.work import Workflow
from runyard.store.link import KeptRuns
from runyard.store.sqlite import SqliteStore


@contextmanager
def plainly() -> Iterator[None]:
    """Settle recomputes everything, inside this block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settle, "advance", _advance)
        patch.setattr(settle, "_folded_workflow", _folded_workflow)
        for glance in ("_free_at_a_glance", "_next_at_a_glance"):
            patch.setattr(groups, glance, lambda *_: None)
        for module in (settle, ending):
            patch.setattr(module, "has_room", _has_room)
        yield


class Twin:
    """A store that has been told the same as another one."""

    def __init__(self) -> None:
        self.store = SqliteStore(":memory:")
        self.store.kept = _Forgetful()

    def do(self, verb: Callable[[Tx], Any]) -> None:
        """The verb's errors have been seen by whoever called it on the other store."""
        with plainly(), suppress(RunyardError), self.store.begin() as tx:
            verb(tx)

    def close(self) -> None:
        self.store.close()


class _Forgetful(KeptRuns):
    def of(self, run_id: int) -> Kept:
        return Kept()


class Blind:
    """A transaction that knows of no kept board, so that `load` reads."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def kept(self, run_id: int) -> None:
        return None


def _advance(board: Board) -> None:
    while True:
        board.restless = False
        follow(board)
        unfolding.unfold(board)
        settle._consequences(board)
        for flow in board.flows.values():
            for i in arrange([node.plan for node in flow.nodes])[0]:
                if flow.nodes[i].is_waiting:
                    flow.lineage.clear()
                    settle._ask(board, flow, flow.nodes[i])
        if not board.failed and not board.restless:
            return


def _folded_workflow(flow: Flow, now: int) -> Workflow:
    if not flow.nodes:
        return flow.row
    folded = fold_words(frozenset(node.word for node in flow.nodes))
    attempts = [node.attempt for node in flow.nodes]
    started = [a.started_at for a in attempts if a.started_at is not None]
    ends = [a.finished_at for a in attempts if a.finished_at is not None]
    return settle._with_fold(flow.row, folded, started, ends, now)


def _has_room(flow: Flow, node: Node) -> bool:
    return _matrix_has_room(flow, node) and _leg_has_room(flow, node) and _makers_work(flow, node)


def _matrix_has_room(flow: Flow, node: Node) -> bool:
    most, legs = node.plan.max_parallel, flow.legs(node.plan.matrix_group)
    held = [leg for leg in legs if leg.attempt.hold is Hold.CONCURRENCY]
    return most is None or len(held) + sum(leg.attempt.state in ACTIVE for leg in legs) < most


def _leg_has_room(flow: Flow, node: Node) -> bool:
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
    if any(node.attempt.state not in (State.WAITING, State.DONE) for node in leg):
        return True
    worked = any(node.is_done and node.attempt.started_at is not None for node in leg)
    return worked and any(node.is_waiting and node.attempt.number == 1 for node in leg)


def _makers_work(flow: Flow, node: Node) -> bool:
    by_key: dict[str, Node] = {other.plan.key: other for other in flow.nodes}
    plan: JobPlan = node.plan
    makers = []
    while plan.origin is not None:
        makers.append(by_key[plan.origin.parent])
        plan = makers[-1].plan
    return all(maker.attempt.state is State.RUNNING for maker in makers)
