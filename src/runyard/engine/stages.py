"""How many jobs of each stage of a workflow stand under each word of the composite rule. Kept by Flow; gates
and folds read it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush

from runyard.model.fold import COMPLETED, Word

CLOSED = COMPLETED | {Word.OK_WARN, Word.IGNORED}
"""Words that keep no later stage waiting: the composite of any of these, and of nothing else, is complete."""


class Stages:
    """By stage index."""

    def __init__(self) -> None:
        self.words: Counter[Word] = Counter()  # of the whole workflow
        self._by_stage: dict[int, Counter[Word]] = {}
        self._order: list[int] = []
        self._open: Counter[int] = Counter()
        self._opened: list[int] = []  # a heap of stages that were open once; the first may have closed
        self._before: dict[int, frozenset[Word]] = {}

    def add(self, stage: int, word: Word) -> None:
        """Counts one more job."""
        if stage not in self._by_stage:
            insort(self._order, stage)
            self._by_stage[stage] = Counter()
        self._change(stage, word, 1)

    def swap(self, stage: int, old: Word, new: Word) -> None:
        """A job stands under another word."""
        if old is not new:
            self._change(stage, old, -1)
            self._change(stage, new, 1)

    def _change(self, stage: int, word: Word, by: int) -> None:
        counts = self._by_stage[stage]
        for count in (counts, self.words):
            count[word] += by
            if not count[word]:
                del count[word]
        if counts[word] == max(by, 0):  # the first of its word, or the last
            self._before.clear()
        if word not in CLOSED:
            self._open[stage] += by
            if by > 0 and self._open[stage] == 1:
                heappush(self._opened, stage)

    def before(self, stage: int) -> frozenset[Word]:
        """The words of all jobs of earlier stages."""
        found = self._before.get(stage)
        if found is None:
            earlier = self._order[: bisect_left(self._order, stage)]
            found = self._before[stage] = frozenset().union(*(self._by_stage[s] for s in earlier))
        return found

    def is_open_before(self, stage: int) -> bool:
        """Whether an earlier stage has a job that is yet to end."""
        first = self._first_open()
        return first is not None and first < stage

    def reached_after(self, stage: int) -> Sequence[int]:
        """The later stages that nothing keeps waiting."""
        first = self._first_open()
        if first is not None and first <= stage:
            return ()
        end = len(self._order) if first is None else bisect_right(self._order, first)
        return self._order[bisect_right(self._order, stage) : end]

    def _first_open(self) -> int | None:
        while self._opened and not self._open[self._opened[0]]:
            heappop(self._opened)
        return self._opened[0] if self._opened else None
