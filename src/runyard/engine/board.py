"""The board: one run as settle sees it, read once: its workflows and the latest attempt of every job, with
who needs whom.

Nodes change as settle moves attempts, so decisions later in the same pass see the earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runyard.engine.flow import Flow, Node
from runyard.engine.moves import is_failure, move
from runyard.engine.ports import AttemptFilter, Kept, Page, Tx
from runyard.model.errors import NotFound
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Attempt, Run, Workflow

MOST_TRIES = 10_000
DOWNSTREAM = "downstream_run_id"  # in the extra of a bridge's attempt: the run that it has started or follows
# in a run's extra: {attempt_id, job_id, run_id, project_id, child} of the bridge that started it
UPSTREAM = "upstream"
FOLLOWERS = (
    "followers"  # in a run's extra: ids of runs with bridges that follow it though they did not start it
)
# a graceful end (after-scripts, uploads) may take so long (GitLab: after_script 5 min), then the server ends
# it
STOP_LIMIT_S = 300


@dataclass(slots=True, eq=False)
class Board:
    """A run in memory, written through."""

    tx: Tx
    now: int
    run: Run
    flows: dict[int, Flow]
    nodes: dict[int, Node]  # by job id
    failed: list[Node] = field(default_factory=list)  # ended badly in this settle, not yet told to siblings
    groups: set[str] = field(default_factory=set)  # concurrency groups that someone may have left
    restless: bool = False  # someone was ended whose dependants may have been asked already
    others: set[int] = field(default_factory=set)  # runs whose attempts were moved from here
    orphans: dict[int, tuple[Reason, str]] = field(
        default_factory=dict
    )  # runs that end because their bridge was ended, and why
    kept: Kept | None = None  # where the nodes come from, when the store keeps them

    def afresh(self) -> Board:
        """The same nodes with nothing noted: what was noted has been seen to."""
        return Board(self.tx, self.now, self.run, self.flows, self.nodes)

    def move(self, node: Node, state: State, **changes: Any) -> None:
        """Moves a node's attempt and remembers whom that concerns."""
        node.attempt = move(self.tx, node.job, node.attempt, state, self.now, **changes)
        if state is State.DONE:
            self.ended(node)

    def ended(self, node: Node) -> None:
        """Notes an end: siblings may have to stop, a concurrency group may be free."""
        if is_failure(node.attempt):
            self.failed.append(node)
        if node.plan.concurrency is not None:
            self.groups.add(node.plan.concurrency.group)
        if node.plan.origin is not None or node.plan.unfold is not None:
            self.restless = True  # its maker may end with it; what it had made may be left over

    def hand_back(self) -> None:
        """Its verb has finished: another one of the same transaction may go on with these nodes."""
        if self.kept is not None:
            self.kept.is_lent = False

    def cancel(self, node: Node, reason: Reason, message: str = "", actor_id: int | None = None) -> None:
        """Ends an open node: at once when nobody runs it, else by asking its runner to stop."""
        stop(self, node, reason, message, actor_id)


def stop(board: Board, node: Node, reason: Reason, message: str, actor_id: int | None) -> None:
    """The one cancel: RUNNING → STOPPING, other open states → DONE; done and stopping stay as they are."""
    who = {} if actor_id is None else {"actor_id": actor_id}
    match node.attempt.state:
        case State.RUNNING if node.plan.unfold is not None:  # it ends with what it has made
            for made in board.flows[node.job.workflow_id].made.get(node.plan.key, ()):
                stop(board, made, reason, message, actor_id)
        case State.RUNNING if node.plan.claimable:
            limit = board.now + STOP_LIMIT_S * 1000
            deadline = min(node.attempt.deadline_at or limit, limit)
            board.move(node, State.STOPPING, reason=reason, message=message, deadline_at=deadline, **who)
        case (
            State.WAITING | State.HELD | State.QUEUED | State.RUNNING
        ):  # nobody holds it who could be asked to stop
            child = child_of(node)
            board.move(node, State.DONE, outcome=Outcome.CANCELED, reason=reason, message=message, **who)
            if child is not None:
                board.orphans[child] = (reason, message)
        case State.STOPPING | State.DONE:
            pass


def child_of(node: Node) -> int | None:
    """The run of the same project that this bridge has started, whether it follows it or not."""
    return _child(node.attempt) if _starts_children(node) else None


def children_of(tx: Tx, node: Node) -> list[int]:
    """All runs of the same project that this bridge has started, by earlier attempts too."""
    if not _starts_children(node):
        return []
    tries = tx.attempts(AttemptFilter(job_id=node.job.id), Page(limit=MOST_TRIES))
    return [child for _, attempt in tries if (child := _child(attempt)) is not None]


def _starts_children(node: Node) -> bool:
    bridge = node.plan.bridge
    return bridge is not None and not bridge.project and not bridge.existing


def _child(attempt: Attempt) -> int | None:
    found = attempt.extra.get(DOWNSTREAM)
    return int(found) if found is not None else None


@dataclass(slots=True)
class _Read:
    """What `load` read of a run, as the store keeps it."""

    flows: dict[int, Flow]
    nodes: dict[int, Node]


def load(tx: Tx, run_id: int, now: int) -> Board:
    """Reads a run: three queries, whatever its size; where the store keeps it, two, and only what was saved
    since is looked at."""
    run = tx.get(Run, run_id)
    if run is None:
        raise NotFound(f"Run {run_id} does not exist.")
    rows = tx.workflows(run_id)
    kept = tx.kept(run_id)
    read = _again(kept, rows) if kept is not None else None
    if read is None:
        read = _read(tx, run_id, rows)
        if kept is not None:
            kept.board, kept.size = read, len(read.nodes)
            kept.saved.clear()
    return Board(tx, now, run, read.flows, read.nodes, kept=kept)


def _read(tx: Tx, run_id: int, rows: Sequence[Workflow]) -> _Read:
    read = _Read({row.id: Flow(row) for row in rows}, {})
    for job, attempt in tx.graph(run_id):
        node = read.nodes[job.id] = Node(job, attempt)
        read.flows[job.workflow_id].add(node)
    return read


def _again(kept: Kept, rows: Sequence[Workflow]) -> _Read | None:
    """What an earlier transaction read, brought up to date; None when there is nothing, or a workflow was
    added."""
    read: _Read | None = kept.board
    if read is None or len(read.flows) != len(rows) or not kept.saved.keys() <= read.nodes.keys():
        return None
    for row in rows:
        read.flows[row.id].row = row
    for job_id, attempt in kept.saved.items():
        read.nodes[job_id].attempt = attempt
    kept.saved.clear()
    return read
