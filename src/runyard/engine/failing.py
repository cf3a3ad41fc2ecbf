"""Where people look first when an attempt has failed: the end of what its broken step wrote. Depot's
diagnosis and the page of a run read it.

Which of these lines tell most is `syntax.telling`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runyard.engine import views
from runyard.engine.ports import Blobs, Tx
from runyard.model.state import Outcome
from runyard.model.work import Attempt, Step

BROKEN = (Outcome.FAILED, Outcome.ERRORED)


@dataclass(frozen=True, slots=True)
class Tail:
    """`data` begins at byte `start` of the log, with a whole line; what it is the end of begins at
    `begins`."""

    begins: int
    start: int
    data: bytes

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return self.start == self.begins


def broken_step(steps: Iterable[Step]) -> Step | None:
    """The first that failed; None where nobody noted steps."""
    return next((step for step in steps if step.outcome in BROKEN), None)


def tail(tx: Tx, blobs: Blobs, attempt: Attempt, step: Step | None, limit_bytes: int) -> Tail:
    """The last bytes of the step, or of the whole log without one."""
    begins = step.log_start if step is not None and step.log_start is not None else 0
    end = step.log_end if step is not None and step.log_end is not None else views.log_size(attempt)
    start = max(begins, end - limit_bytes)
    data = views.log_from(tx, blobs, attempt, start, end - start)[: end - start]
    if start > begins:  # from the middle of a line
        cut = data.find(b"\n") + 1
        start, data = start + cut, data[cut:]
    return Tail(begins, start, data)
