"""Steps that run beside those after them (`StepPlan.background`), as the Actions runner has them: what one
sets is known, and its failure counts, from the step on that waits for it; the job's end waits for all. Called
by `job.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from runyard.engine.dispatch import Finish, Verdict
from runyard.model.plan import StepPlan
from runyard.model.state import Outcome
from runyard.model.work import Step
from runyard.runner.lanes import Lane, Spool, lane, waited
from runyard.runner.steps import Ended, Scene

MOST = 10  # at the same time; more wait for their turn (GitHub)


@dataclass(slots=True)
class _Begun:
    step: StepPlan
    lane: Lane
    future: Future[None]
    is_joined: bool = False
    is_told: bool = False  # a step that waited for it has ended as it did

    @property
    def failure(self) -> Ended | None:
        """How it failed, where that counts."""
        end = self.lane.end
        if end.outcome is Outcome.PASSED:
            return None
        return Ended(end.outcome, end.reason, end.exit_code, end.message)


class Background:
    """One attempt's. `lock` guards the job's log while lanes write there, `place` notes the row of a step
    whose output has got its place in it."""

    def __init__(self, spool: Spool, lock: threading.RLock, place: Callable[[StepPlan, Step], None]) -> None:
        self._spool = spool
        self._lock = lock
        self._place = place
        self._pool: ThreadPoolExecutor | None = None
        self._begun: dict[str, _Begun] = {}

    @property
    def lanes(self) -> Sequence[Lane]:
        """Of all that were begun."""
        return [one.lane for one in self._begun.values()]

    def begin(self, scene: Scene, number: int, step: StepPlan, work: Callable[[Lane], None]) -> None:
        """Lets it run, now or when there is a place for it."""
        self._pool = self._pool or ThreadPoolExecutor(MOST, thread_name_prefix="background")
        made = lane(scene, [(number, step)], self._spool)
        self._begun[step.key] = _Begun(step, made, self._pool.submit(work, made))

    def hand_over(self) -> None:
        """Between two steps: the output of those that have ended gets its place."""
        for one in self._begun.values():
            self._close(one)

    def _close(self, one: _Begun) -> None:
        """Where it has ended: the rest of its output gets its place, and the row says where all of it is."""
        lane = one.lane
        if one.future.done() and lane.ended is not None:
            (step, row), lane.ended = lane.ended, None
            start, end = lane.log.hand_over()
            start = start if lane.start is None else lane.start
            self._place(step, replace(row, log_start=start, log_end=end))

    def wait(self, scene: Scene, keys: Sequence[str] | None) -> Ended:
        """Until these have ended, without keys all so far; the first that failed is how this ends."""
        chosen = [one for one in self._begun.values() if keys is None or one.step.key in keys]
        if keys is None:
            chosen = [one for one in chosen if not one.is_joined]
        self._say(scene, "Waiting for", chosen)
        self._join(scene, chosen)
        self._conclude(scene, chosen)
        for one in chosen:
            one.is_told = True
        if scene.control.verdict is not Verdict.GO:
            return Ended(Outcome.CANCELED)
        return next((ended for one in chosen if (ended := one.failure) is not None), Ended(Outcome.PASSED))

    def cancel(self, scene: Scene, keys: Sequence[str]) -> Ended:
        """Ends these: TERM, and KILL to what has not ended in the job's grace."""
        chosen = [one for one in self._begun.values() if one.step.key in keys]
        self._say(scene, "Canceling", chosen)
        for one in chosen:
            if not one.future.done():
                one.lane.control.asks_first = False
                one.lane.stop()
        self._join(scene, chosen)
        self._conclude(scene, chosen)
        return Ended(Outcome.PASSED)

    def rest(self, scene: Scene) -> Finish | None:
        """After the last step: waits for what still runs. The first failure that no step has told of."""
        self._join(scene, [one for one in self._begun.values() if not one.is_joined])
        self.hand_over()
        return next((one.lane.end for one in self._begun.values() if one.failure and not one.is_told), None)

    def close(self) -> None:
        """Ends whatever still runs."""
        for one in self._begun.values():
            one.lane.control.hear(Verdict.ABORT)
        if self._pool is not None:
            self._pool.shutdown()
        for one in self._begun.values():
            one.lane.close()

    def _join(self, scene: Scene, chosen: Sequence[_Begun]) -> None:
        looks = self._following(scene, chosen)
        for _ in waited(scene, [one.future for one in chosen], self._lock):
            next(looks, None)
        next(looks, None)  # all have ended: to its end
        for one in chosen:
            one.future.result()  # trouble of ours
            if not one.is_joined:
                one.is_joined = True
                one.lane.join(scene.facts)

    def _following(self, scene: Scene, chosen: Sequence[_Begun]) -> Iterator[None]:
        """At each look, while nothing else writes into the job's log, the output of the first that runs goes
        there as it comes; then the next one's."""
        for one in chosen:
            while not one.future.done():
                self._open(scene, one.lane)
                if one.lane.start is not None:
                    one.lane.log.pass_on()
                yield
            self._close(one)

    def _open(self, scene: Scene, lane: Lane) -> None:
        """Once the step has begun, its output has its place in the job's log, from here on."""
        with self._lock:
            if lane.start is None and lane.begun is not None and lane.ended is None:
                step, row = lane.begun
                scene.log.end_stream()
                lane.start = scene.log.size
                self._place(step, replace(row, log_start=lane.start))

    @staticmethod
    def _say(scene: Scene, what: str, chosen: Sequence[_Begun]) -> None:
        names = ", ".join(one.step.name for one in chosen) or "no step: none runs in the background"
        scene.log.system(f"{what} {names}")

    @staticmethod
    def _conclude(scene: Scene, chosen: Sequence[_Begun]) -> None:
        for one in chosen:
            scene.log.system(f"{one.step.name}: {scene.facts.conclusion(one.step.key)}")
