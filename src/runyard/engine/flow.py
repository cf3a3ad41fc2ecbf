"""One workflow of a board: its jobs with their latest attempts, who needs whom, and whom a change concerns.

A flow hears of every change of its nodes and keeps counts, so that settle asks only those whose gate may say
something new: an end costs what it touches, not what waits. A job is asked when the last thing that it looks
at has closed, again when that changes, and when a place becomes free that it was turned away from.
`tests/simulation/sim_plain.py` is the same by plain recomputation; the simulation compares the two at every
step.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from runyard.engine.moves import share
from runyard.engine.order import arrange
from runyard.engine.stages import CLOSED, Stages
from runyard.engine.turns import Turns
from runyard.model.fold import Word, word
from runyard.model.plan import JobPlan, Order
from runyard.model.state import State
from runyard.model.work import Attempt, Job, Workflow

CANCELED = (
    "canceled"  # in a workflow's extra: someone canceled it as a whole, and `cancelled()` is true in it
)
_TAKES_A_PLACE = frozenset({Word.PENDING, Word.RUNNING, Word.STOPPING, Word.RESOURCE})


class Node:
    """A job with its latest attempt."""

    __slots__ = ("_attempt", "_word", "awaits", "counted", "flow", "job", "place", "plan")

    def __init__(self, job: Job, attempt: Attempt) -> None:
        self.job = job
        self.plan: JobPlan = job.plan
        self.flow: Flow | None = None
        self.counted = Word.CREATED  # the word under which its flow counts it
        self.awaits = 0  # of its needs, those that are open
        self.place = 0  # in the order of who looks at whom
        self._attempt = attempt
        self._word: Word | None = None

    @property
    def attempt(self) -> Attempt:
        """The latest one."""
        return self._attempt

    @attempt.setter
    def attempt(self, attempt: Attempt) -> None:
        before, self._attempt, self._word = self._attempt, attempt, None
        if self.flow is not None:
            self.flow.changed(self, before)

    @property
    def is_done(self) -> bool:
        """Whether its latest attempt has ended."""
        return self._attempt.state is State.DONE

    @property
    def is_waiting(self) -> bool:
        """Whether its gate has yet to open."""
        return self._attempt.state is State.WAITING

    @property
    def word(self) -> Word:
        """As the composite rule sees it."""
        if self._word is None:
            self._word = word(share(self.job, self._attempt))
        return self._word

    @property
    def names(self) -> tuple[str, ...]:
        """What needs may call it: its key, and the group of its matrix."""
        key, group = self.plan.key, self.plan.matrix_group
        return (key,) if group == key else (key, group)

    @property
    def is_strict(self) -> bool:
        """Whether a manual job that may stay so keeps it waiting: a condition wants an end, GitLab's table
        does not."""
        return self.plan.gate.expression is not None

    @property
    def looks_at_needs(self) -> bool:
        """Whether its gate does."""
        return self.is_strict or self.plan.gate.order is Order.NEEDS


@dataclass(slots=True, eq=False)
class Flow:
    """One workflow's nodes, in position order."""

    row: Workflow
    nodes: list[Node] = field(default_factory=list)
    named: dict[str, list[Node]] = field(default_factory=lambda: defaultdict(list))
    followers: dict[str, list[Node]] = field(default_factory=lambda: defaultdict(list))  # name → who needs it
    lineage: dict[int, frozenset[str]] = field(default_factory=dict)  # gates' notes on who is above whom
    bridges: list[Node] = field(default_factory=list)
    unfolding: list[Node] = field(default_factory=list)  # nodes that make others
    made: dict[str, list[Node]] = field(
        default_factory=lambda: defaultdict(list)
    )  # key of such a node → what it made
    stages: Stages = field(default_factory=Stages)
    _by_stage: dict[int, list[Node]] = field(default_factory=lambda: defaultdict(list))
    turns: Turns = field(default_factory=Turns)
    groups: set[str] = field(default_factory=set)  # concurrency groups that the workflow as a whole is in
    begun_at: int | None = None  # when the first of all attempts that it has seen began
    open_parts: Counter[str] = field(default_factory=Counter)  # of `made`, by the same key
    taken: Counter[str] = field(
        default_factory=Counter
    )  # places of a name's legs: queued, at work, or held for their group
    _open: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    _waiting: dict[int, Node] = field(default_factory=dict)
    _staged: dict[int, dict[int, Node]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # of these, who looks at stages, by stage
    _due: dict[int, Node] = field(default_factory=dict)
    _asked: list[tuple[int, int, Node]] | None = None  # a heap, while `due` goes through it
    _reached: int = -1  # the place of the last one asked
    _is_arranged: bool = False
    _was_canceled: bool = False

    def add(self, node: Node) -> None:
        """Takes a node in and makes it findable by key and by matrix group."""
        node.flow = self
        self.nodes.append(node)
        self._is_arranged = False
        if node.plan.bridge is not None:
            self.bridges.append(node)
        if node.plan.unfold is not None:
            self.unfolding.append(node)
        if node.plan.origin is not None:
            self.made[node.plan.origin.parent].append(node)
        if node.plan.concurrency is not None and node.plan.concurrency.by_workflow:
            self.groups.add(node.plan.concurrency.group)
        for need in node.plan.needs:
            self.followers[need.group].append(node)
        for name in node.names:
            self.named[name].append(node)
        node.counted = node.word
        self._note_begin(node)
        self.stages.add(node.plan.stage_index, node.counted)
        self._by_stage[node.plan.stage_index].append(node)
        for name in node.names:
            self._count(node, name, None, node.counted)
        node.awaits = sum(self._open[node.is_strict][need.group] > 0 for need in node.plan.needs)
        self._count_part(node, 0, _is_open(node.counted, strict=True))
        self.turns.add(node)
        self._forget_lineage(node)
        if node.is_waiting:
            self._begin_waiting(node)

    def changed(self, node: Node, before: Attempt) -> None:
        """Hears that a node has another attempt, or the same one in another state."""
        after = node.attempt
        if after.id == before.id and after.state is before.state and after.hold is before.hold:
            return
        old, new = node.counted, node.word
        node.counted = new
        self._note_begin(node)
        self.stages.swap(node.plan.stage_index, old, new)
        for name in node.names:
            self._count(node, name, old, new)
        self._count_part(node, _is_open(old, strict=True), _is_open(new, strict=True))
        if before.state is State.WAITING:
            self._waiting.pop(node.job.id, None)
            self._staged[node.plan.stage_index].pop(node.job.id, None)
        if node.is_waiting:
            self._begin_waiting(node)
        self._forget_lineage(node)
        if new in CLOSED:
            self._mark_followers(node)
        self._mark_stages_after(node.plan.stage_index)
        for head in self.turns.changed(node):
            self._mark(head)

    def _note_begin(self, node: Node) -> None:
        at = node.attempt.started_at
        if at is not None and (self.begun_at is None or at < self.begun_at):
            self.begun_at = at

    def _count(self, node: Node, name: str, old: Word | None, new: Word) -> None:
        """A name is open while one of its legs is; who needs it hears of the first and of the last."""
        self.taken[name] += (new in _TAKES_A_PLACE) - (old in _TAKES_A_PLACE)
        for strict in (False, True):
            by = _is_open(new, strict=strict) - (old is not None and _is_open(old, strict=strict))
            if not by:
                continue
            counts = self._open[strict]
            counts[name] += by
            if counts[name] == (1 if by > 0 else 0):
                for follower in self.followers.get(name, ()):
                    if follower.is_strict is strict:
                        follower.awaits += by

    def _count_part(self, node: Node, was_open: int, is_open: int) -> None:
        if node.plan.origin is not None:
            self.open_parts[node.plan.origin.parent] += is_open - was_open

    def _begin_waiting(self, node: Node) -> None:
        self._waiting[node.job.id] = node
        if node.plan.gate.order is Order.STAGE:
            self._staged[node.plan.stage_index][node.job.id] = node
        self._mark(node)

    # who is to be asked
    def _mark(self, node: Node) -> None:
        if self._asked is not None and node.place > self._reached:
            heappush(self._asked, (node.place, node.job.id, node))
        else:
            self._due[node.job.id] = node

    def _mark_followers(self, node: Node) -> None:
        for name in node.names:
            if not self._open[True][name] or not self._open[False][name]:
                for follower in self.followers.get(name, ()):
                    if follower.is_waiting and not follower.awaits:
                        self._mark(follower)

    def _mark_stages_after(self, stage: int) -> None:
        for later in self.stages.reached_after(stage):
            for node in self._staged.get(later, {}).values():
                self._mark(node)

    def _forget_lineage(self, node: Node) -> None:
        """What was noted of those behind it no longer holds. Who is not noted has nobody behind it that is:
        notes are made from above."""
        if not self.lineage:
            return
        names = list(node.names)
        while names:
            for follower in self.followers.get(names.pop(), ()):
                if self.lineage.pop(follower.job.id, None) is not None:
                    names += follower.names
                    if follower.is_waiting:
                        self._mark(follower)

    @property
    def has_due(self) -> bool:
        """Whether someone is to be asked."""
        return bool(self._due) or self._was_canceled is not self.is_canceled

    def due(self) -> Iterator[Node]:
        """Waiting nodes whose gate may say something new, everyone after those it looks at. Who becomes due
        meanwhile and comes earlier is left for next time."""
        if self._was_canceled is not self.is_canceled:
            self._was_canceled = self.is_canceled
            self._due |= self._waiting
        if not self._due:
            return
        self.arrange()
        self._asked, self._reached = sorted((n.place, n.job.id, n) for n in self._due.values()), -1
        self._due.clear()
        try:
            while self._asked:
                place, _, node = heappop(self._asked)
                self._reached = place
                if node.is_waiting and self.may_be_asked(node):
                    yield node
                elif node.is_waiting:
                    for head in self.turns.next_of(node):
                        self._mark(head)
        finally:
            self._asked = None

    def may_be_asked(self, node: Node) -> bool:
        """Whether nothing is open that its gate looks at."""
        if node.looks_at_needs and node.awaits:
            return False
        return node.plan.gate.order is Order.NEEDS or not self.stages.is_open_before(node.plan.stage_index)

    def turn_away(self, node: Node) -> None:
        """Its gate is open, but there is no room for it: it is asked again when a place may be free."""
        self.turns.put(node)

    def arrange(self) -> None:
        """Gives everyone a place after those it looks at."""
        if not self._is_arranged:
            for place, i in enumerate(arrange([n.plan for n in self.nodes])[0]):
                self.nodes[i].place = place
            self.turns.reorder()
            self._is_arranged = True

    def rearrange(self, nodes: Iterable[Node]) -> None:
        """Holds these instead of those it had: some were taken out, came back, or have another plan."""
        nodes, was_canceled = sorted(nodes, key=lambda n: (n.job.position, n.job.id)), self._was_canceled
        for node in self.nodes:
            node.flow = None
        Flow.__init__(self, self.row)
        for node in nodes:
            self.add(node)
        self._was_canceled = was_canceled

    # what gates look at
    @property
    def is_canceled(self) -> bool:
        """Whether someone canceled the workflow as a whole, and nobody has retried anything of it since."""
        return CANCELED in self.row.extra

    def legs(self, name: str) -> Sequence[Node]:
        """The nodes that a need of this name means; none when it was optional and is not there."""
        return self.named.get(name, ())

    def makers(self, node: Node) -> Iterator[Node]:
        """Who made it, who made that one, and so on."""
        while (origin := node.plan.origin) is not None:
            node = next(maker for maker in self.legs(origin.parent) if maker.plan.key == origin.parent)
            yield node

    def needed(self, node: Node) -> Iterable[Node]:
        """All nodes that its needs mean."""
        return (leg for need in node.plan.needs for leg in self.legs(need.group))

    def before(self, stage_index: int) -> frozenset[Word]:
        """The words of all jobs of earlier stages."""
        return self.stages.before(stage_index)

    def of_stages_before(self, stage_index: int) -> list[Node]:
        """The nodes of earlier stages."""
        return [node for stage, nodes in self._by_stage.items() if stage < stage_index for node in nodes]

    def behind(self, nodes: Iterable[Node]) -> set[int]:
        """Ids of jobs that look at one of these, directly or through others."""
        found: set[int] = set()
        lowest: int | None = None  # of later stages all who look at stages are found
        todo = list(nodes)
        while todo:
            node = todo.pop()
            reached = [follower for name in node.names for follower in self.followers.get(name, ())]
            if lowest is None or node.plan.stage_index < lowest:
                reached += self._look_back(node.plan.stage_index, lowest)
                lowest = node.plan.stage_index
            for other in reached:
                if other.job.id not in found:
                    found.add(other.job.id)
                    todo.append(other)
        return found

    def _look_back(self, after: int, until: int | None) -> Iterator[Node]:
        """Who looks at stages, of those after the one and, if it is given, up to the other."""
        for stage, nodes in self._by_stage.items():
            if after < stage and (until is None or stage <= until):
                yield from (node for node in nodes if node.plan.gate.order is Order.STAGE)


def _is_open(word: Word, *, strict: bool) -> bool:
    """Whether it keeps its followers waiting."""
    return word not in CLOSED or (strict and word is Word.IGNORED)
