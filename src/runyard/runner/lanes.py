"""Steps that run at the same time: each lane works on a snapshot of the job's facts, and what it learned is
joined later.

Called by `job.py` for groups (`StepPlan.lane`), by `background.py` for single steps. Every lane has a thread,
a log of its own and a word of the server of its own; a step's output reaches the job's log when the step has
ended, or while the job only waits for it, so that a step's part of the log is one piece.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import SpooledTemporaryFile

from runyard.engine.dispatch import Finish, Verdict
from runyard.model.plan import StepPlan, StepRetry
from runyard.model.state import Outcome, Reason
from runyard.model.work import Step
from runyard.runner.control import Control
from runyard.runner.facts import Facts
from runyard.runner.link import Taken
from runyard.runner.masking import Masker
from runyard.runner.steps import Ended, Scene, run
from runyard.runner.streams import CHUNK_BYTES, Log

LOOK_S = 0.05
KEPT_IN_MEMORY_BYTES = 1 << 20


class _LaneMasker(Masker):
    """Knows what the job's log hides; what it learns, that log learns too."""

    def __init__(self, whole: Masker) -> None:
        self._whole = whole
        super().__init__((), whole._mask)
        self._known = whole._known

    def add(self, values: Iterable[str]) -> None:
        """For every lane."""
        values = list(values)
        super().add(values)
        if values:
            self._whole.add(values)


@dataclass(frozen=True, slots=True)
class Spool:
    """Where output waits to be handed over, and how much of it."""

    folder: Path
    limit_bytes: int


class LaneLog(Log):
    """Keeps what a lane says, on disk when that is much, until it is handed over: then it is one piece of the
    job's log. Who says more than the job may is told to end (`full`); the server ends the job when it gets
    that."""

    def __init__(self, whole: Log, spool: Spool, full: Callable[[], None]) -> None:
        super().__init__(self._keep, ())
        self.masker = _LaneMasker(whole.masker)
        self._whole = whole
        self._limit_bytes, self._full = spool.limit_bytes, full
        self._guard = threading.Lock()  # of what is kept: the lane's thread adds, the job's takes
        spool.folder.mkdir(parents=True, exist_ok=True)
        self._kept = SpooledTemporaryFile(  # noqa: SIM115 - `close` closes it
            KEPT_IN_MEMORY_BYTES, dir=str(spool.folder)
        )

    def _keep(self, offset: int, data: bytes) -> Future[Taken]:
        with self._guard:
            fits = self._kept.tell() <= self._limit_bytes
            if fits:
                self._kept.write(data)
        if not fits:
            self._full()
        done: Future[Taken] = Future()
        done.set_result(Taken(Verdict.GO, accepted=True, size=offset + len(data)))
        return done

    def hand_over(self) -> tuple[int, int]:
        """Writes what was said since the last time into the job's log; answers where it lies there. Nobody
        else may write there meanwhile."""
        self.end_stream()
        self.flush()
        start = self._whole.size
        self.pass_on()
        self._whole.end_stream()
        return start, self._whole.size

    def pass_on(self) -> None:
        """Writes what is kept into the job's log, also while the lane goes on. Nobody else may write there
        until it is handed over."""
        with self._guard:
            self._kept.seek(0)
            while piece := self._kept.read(CHUNK_BYTES):
                self._whole.write(piece)
            self._kept.seek(0)
            self._kept.truncate()

    def close(self) -> None:
        """Lets go what it keeps."""
        self._kept.close()


@dataclass(slots=True)
class Lane:
    """One of them, at work. `end` is how it went; `overtime`: it was the one that met the job's time
    limit."""

    scene: Scene
    log: LaneLog
    control: Control
    steps: Sequence[tuple[int, StepPlan]]
    env: Mapping[str, str]  # of the job, as the lane began
    paths: tuple[str, ...]
    end: Finish = field(default_factory=lambda: Finish(Outcome.PASSED))
    overtime: bool = False
    stopped: bool = False  # by us alone: the job is not canceled
    begun: tuple[StepPlan, Step] | None = None  # the row of a step in the background
    ended: tuple[StepPlan, Step] | None = None  # a row whose output is not handed over yet
    start: int | None = None  # where its output begins in the job's log, once some of it is there

    def stop(self) -> None:
        """This one, whatever becomes of the job."""
        if self.control.verdict is Verdict.GO:
            self.stopped = True
            self.control.hear(Verdict.STOP)

    def join(self, facts: Facts) -> None:
        """What it learned becomes the job's; where both have set a thing, the lane wins. Whether a failure
        counts is for the caller to say."""
        other = self.scene.facts
        facts.env |= {key: value for key, value in other.env.items() if self.env.get(key) != value}
        facts.paths = (*(path for path in other.paths if path not in self.paths), *facts.paths)
        facts.learn(other)
        facts.canceled |= other.canceled and not self.stopped

    def close(self) -> None:
        """It says and hears nothing any more."""
        self.control.close()
        self.log.close()


def lane(scene: Scene, steps: Sequence[tuple[int, StepPlan]], spool: Spool) -> Lane:
    """A lane for these steps, which begins with what is known now."""
    control, facts = scene.control.lead(), scene.facts.apart()
    log = LaneLog(scene.log, spool, lambda: control.hear(Verdict.STOP))
    apart = replace(scene, log=log, control=control, facts=facts)
    return Lane(apart, log, control, steps, dict(facts.env), facts.paths)


def branches(steps: Sequence[tuple[int, StepPlan]]) -> list[list[tuple[int, StepPlan]]]:
    """The steps of a group, branch by branch."""
    found: dict[int, list[tuple[int, StepPlan]]] = {}
    for number, step in steps:
        found.setdefault(step.lane.branch if step.lane else 0, []).append((number, step))
    return list(found.values())


def drive(
    scene: Scene,
    lanes: Sequence[Lane],
    work: Callable[[Lane], None],
    lock: threading.RLock,
    *,
    fail_fast: bool,
) -> None:
    """Runs them all to their ends and joins what they learned. Trouble of ours in one of them is trouble of
    the job, once all have ended."""
    with ThreadPoolExecutor(len(lanes), thread_name_prefix="lane") as pool:
        running = [pool.submit(work, one) for one in lanes]
        for _ in waited(scene, running, lock):
            troubled = any(future.done() and future.exception() for future in running)
            failed = fail_fast and any(one.scene.facts.failed for one in lanes)
            for one in lanes:
                if troubled or (failed and not one.scene.facts.failed):
                    one.stop()
    for one in lanes:
        one.join(scene.facts)
        scene.facts.failed |= one.scene.facts.failed
        one.close()
    for future in running:
        future.result()


def waited(scene: Scene, futures: Sequence[Future[None]], lock: threading.RLock) -> Iterator[None]:
    """Returns when all have ended; until then looks up again and again, and cares for the job's log and
    figures, which no step of its own does now."""
    while wait(futures, LOOK_S).not_done:
        yield
        meter = scene.control.meter
        if meter is not None and meter.due_at <= time.monotonic():
            meter.look()
        with lock:
            if scene.log.due_in_s() == 0:
                scene.log.flush()


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
