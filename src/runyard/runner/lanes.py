"""Steps that run at the same time (`StepPlan.lane`): each lane works on a snapshot of the job's facts, and what it learned is joined when all have ended.

Called by `job.py`. Every lane has a thread, a log of its own and a word of the server of its own; a step's output reaches the job's log whole, when the
step has ended, so that a step's part of the log is one piece.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from runyard.engine.dispatch import Finish, Verdict
from runyard.model.plan import StepPlan, StepRetry
from runyard.model.state import Outcome, Reason
from runyard.runner.control import Control
from runyard.runner.facts import Facts
from runyard.runner.link import Taken
from runyard.runner.masking import Masker
from runyard.runner.steps import Ended, Scene, run
from runyard.runner.streams import Log

LOOK_S = 0.05


class LaneControl(Control):
    """What a lane hears: the server's word as it is passed on, and the word of a lane that failed."""

    def __init__(self, deadline: float) -> None:
        self.verdict = Verdict.GO
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.deadline = deadline
        self.meter = None
        self._ended = threading.Event()
        self._lock = threading.Lock()


class _LaneMasker(Masker):
    """Knows what the job's log hides; what it learns, that log learns too."""

    def __init__(self, whole: Masker, lock: threading.RLock) -> None:
        super().__init__()
        self.__dict__.update(whole.__dict__, _held=b"", _covered=0)
        self._whole = whole
        self._whole_lock = lock

    def add(self, values: Iterable[str]) -> None:
        """For every lane."""
        values = list(values)
        super().add(values)
        if values:
            with self._whole_lock:
                self._whole.add(values)


class LaneLog(Log):
    """Keeps what a step says until the step has ended."""

    def __init__(self, whole: Log, lock: threading.RLock) -> None:
        super().__init__(self._keep, ())
        self.masker = _LaneMasker(whole.masker, lock)
        self._whole = whole
        self._whole_lock = lock
        self._kept: list[bytes] = []

    def _keep(self, offset: int, data: bytes) -> Future[Taken]:
        self._kept.append(data)
        done: Future[Taken] = Future()
        done.set_result(Taken(Verdict.GO, accepted=True, size=offset + len(data)))
        return done

    def hand_over(self) -> tuple[int, int]:
        """Writes the step's output into the job's log; answers where it lies there."""
        self.end_stream()
        self.flush()
        with self._whole_lock:
            start = self._whole.size
            self._whole.write(b"".join(self._kept))
            self._whole.end_stream()
            self._kept.clear()
            return start, self._whole.size


@dataclass(slots=True)
class Lane:
    """One of them, at work. `end` is how it went."""

    scene: Scene
    log: LaneLog
    control: LaneControl
    steps: Sequence[tuple[int, StepPlan]]
    end: Finish = field(default_factory=lambda: Finish(Outcome.PASSED))
    stopped: bool = False  # by a lane that failed


def lanes_of(scene: Scene, steps: Sequence[tuple[int, StepPlan]], lock: threading.RLock) -> list[Lane]:
    """A lane for every branch of a group of steps."""
    branches: dict[int, list[tuple[int, StepPlan]]] = {}
    for number, step in steps:
        branches.setdefault(step.lane.branch if step.lane else 0, []).append((number, step))
    found = []
    for branch in branches.values():
        log = LaneLog(scene.log, lock)
        control = LaneControl(scene.control.deadline)
        facts = scene.facts.apart()
        found.append(Lane(replace(scene, log=log, control=control, facts=facts), log, control, branch))
    return found


def drive(
    scene: Scene,
    lanes: Sequence[Lane],
    work: Callable[[Lane], None],
    lock: threading.RLock,
    *,
    fail_fast: bool,
) -> None:
    """Runs them all to their ends and joins what they learned."""
    before = copy.copy(scene.facts.env), scene.facts.paths
    threads = [threading.Thread(target=work, args=(lane,), name="lane", daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        next(thread for thread in threads if thread.is_alive()).join(LOOK_S)
        for lane in lanes:
            lane.control.hear(scene.control.verdict)
        failed = [lane for lane in lanes if lane.scene.facts.failed]
        if fail_fast and failed:
            for lane in lanes:
                if lane not in failed and not lane.stopped and scene.control.verdict is Verdict.GO:
                    lane.stopped = True
                    lane.control.hear(Verdict.STOP)
        with lock:
            if scene.log.due_in_s() == 0:
                scene.log.flush()
    for lane in lanes:
        lane.control.close()
        _join(scene.facts, lane, *before)


def _join(facts: Facts, lane: Lane, env: dict[str, str], paths: tuple[str, ...]) -> None:
    """Later lanes win over earlier ones where both have set a thing."""
    other = lane.scene.facts
    facts.env |= {key: value for key, value in other.env.items() if env.get(key) != value}
    facts.paths = (*(path for path in other.paths if path not in paths), *facts.paths)
    facts.learn(other)
    facts.failed |= other.failed
    facts.canceled |= other.canceled and not lane.stopped


def tried(scene: Scene, step: StepPlan, number: int) -> Ended:
    """A process step, again as often as its rule says while it fails."""
    rule, tries = step.retry, 0
    while True:
        ended = run(scene, step, number)
        late = time.monotonic() >= scene.control.deadline or ended.reason is Reason.RUNNER_SYSTEM
        tries += 1
        if rule is None or ended.outcome is not Outcome.FAILED or late or tries > rule.retries:
            return ended
        delay_s = delay_of(rule, tries)
        scene.log.system(
            f"##[warning]{step.name} failed; trying again in {delay_s:g} seconds ({tries} of {rule.retries})"
        )
        until = time.monotonic() + delay_s
        while time.monotonic() < until:
            if scene.control.verdict is not Verdict.GO or time.monotonic() >= scene.control.deadline:
                return ended
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))


def delay_of(rule: StepRetry, tries: int) -> float:
    """Before the try after this many."""
    grown = rule.delay_s * 2 ** (tries - 1) if rule.exponential else rule.delay_s
    return min(grown, rule.max_delay_s) if rule.exponential else grown
