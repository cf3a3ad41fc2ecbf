"""Executes one Assignment in one Box and says how it ended. Called by `loop.py`, one call per slot at a time.

Promises: steps run in order, each judged by its condition; after-steps run after failure and cancel; when
this returns, nothing of the job lives and the server has the whole log before the last word
(contracts/reliability.md §2).
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from runyard.engine.dispatch import Finish, Verdict
from runyard.engine.ports import Clock
from runyard.model.errors import Away, RunyardError
from runyard.model.plan import Assignment, Network, StepKind, StepPlan
from runyard.model.state import Outcome, Reason, State
from runyard.model.usage import Sample
from runyard.model.work import Step
from runyard.runner import containers, lanes, voice
from runyard.runner.actions.acting import Acting
from runyard.runner.actions.reach import reachable
from runyard.runner.background import Background
from runyard.runner.builtins import Builtins
from runyard.runner.cache import Cache
from runyard.runner.control import Control, WatchedControl
from runyard.runner.facts import DEFAULT_PATH, TOOL_CACHE, Facts
from runyard.runner.link import Link, Taken
from runyard.runner.meter import Meter
from runyard.runner.room import Room
from runyard.runner.sandbox import (
    Beside,
    Box,
    BoxPlan,
    ImageUnavailable,
    RootFs,
    Sandbox,
    SandboxError,
)
from runyard.runner.sandbox.container import Images
from runyard.runner.sandbox.services import Asked, up
from runyard.runner.steps import Ended, Scene
from runyard.runner.streams import Log
from runyard.runner.visits import BoxVisits
from runyard.syntax.actions import ActionError
from runyard.syntax.containers import OptionError
from runyard.syntax.expressions import ExpressionError, render
from runyard.syntax.reports.coverage import printed
from runyard.syntax.variables import expand

log = logging.getLogger("runyard.runner")


@dataclass(frozen=True, slots=True)
class Means:
    """What a slot executes with. `network` is the most that a job's own plan may have."""

    link: Link
    sandbox: Sandbox
    images: Images
    cache: Cache
    spool: Path
    now: Clock
    network: Network = Network.INTERNET
    grace_s: float = 10.0
    visits: BoxVisits = field(default_factory=BoxVisits)

    def notes(self) -> list[str]:
        """What an operator should read at start: the level, and a sentence for everything that is less than
        it could be."""
        return [f"sandbox: {self.sandbox.level}", *(f"sandbox: {note}" for note in self.sandbox.notes)]


Act = Callable[[Scene, int, StepPlan], Ended]
"""Does a step, by its number among the job's."""


class Execution:
    """One attempt from claim to finish."""

    def __init__(self, means: Means, work: Assignment, slot: int) -> None:
        self._means = means
        self._work = work
        self._slot = slot
        self._control: Control = WatchedControl(means.link, work)
        mask = b"***" if voice.speaks_actions(work) else b"[MASKED]"
        self._log = Log(self._send, work.masks, mask, keep_tail=bool(work.job.coverage))
        self._voice = voice.Voice(self._log, work)
        self._end = Finish(Outcome.PASSED)
        self._overtime = False
        self._lane: lanes.Lane | None = None
        self._shared = (
            threading.RLock()
        )  # of lanes: the job's log, where it is written from more than one thread, and rows
        self.abandoned = False

    def abandon(self) -> None:
        """The runner shuts down, or reaches nobody any more: end now, say nothing."""
        self.abandoned = True
        self._control.hear(Verdict.ABORT)

    def run(self) -> None:
        """Everything. Trouble of ours becomes the attempt's end, never an exception; only when nobody can be
        told of it, it is no end: then the attempt goes back."""
        try:
            self._judged()
            self._finish()
        except Away as error:
            log.warning(
                "a job is given back, for the server cannot be told of it",
                extra={"attempt": self._work.attempt_id, "error": error.message},
            )
            self.abandon()
            self._finish()
        finally:
            self._control.close()

    def _judged(self) -> None:
        try:
            self._voice.begin(self._means.sandbox.level, self._slot)
            self._in_box()
        except Away:
            raise
        except ImageUnavailable as error:
            self._trouble(Reason.IMAGE_UNAVAILABLE, error.message)
        except (ExpressionError, ActionError, OptionError) as error:
            self._trouble(Reason.BAD_PLAN, str(error))
        except (SandboxError, OSError, ValueError) as error:
            self._trouble(Reason.RUNNER_SYSTEM, str(error))
        except RunyardError as error:
            self._trouble(Reason.RUNNER_SYSTEM, error.message)
        except Exception:
            log.exception("an attempt could not be executed", extra={"attempt": self._work.attempt_id})
            self._trouble(Reason.RUNNER_SYSTEM, "The runner met an error of its own; its log says more.")

    def _trouble(self, reason: Reason, message: str) -> None:
        message = self._log.shown(message)
        self._voice.trouble(message)
        self._end = Finish(Outcome.ERRORED, reason, message=message)

    def _in_box(self) -> None:
        work, job = self._work, self._work.job
        network = self._network
        public = {} if voice.speaks_actions(work) else self._public()
        (image, container), services = containers.asked(work)
        overhear = self._log.later if public.get("CI_DEBUG_SERVICES") == "true" else None
        asked = Asked(
            self._slot, [i for i, _ in services], [c for _, c in services], network, public, self._log.system, overhear
        )  # fmt: skip
        with (
            self._means.images.root(image) as root,
            up(self._means.sandbox, self._means.images, asked) as beside,
        ):
            plan = BoxPlan(
                self._slot, work.project_path, network, job.binds, root, beside, container=container
            )
            box = self._means.sandbox.open(plan)
            try:
                self._at_work(box, root, beside)
            finally:
                left = box.close()
            if left:
                raise SandboxError(f"processes of the job did not end: {left}")

    def _at_work(self, box: Box, root: RootFs | None, beside: Beside | None) -> None:
        """The steps, in their box."""
        work, job = self._work, self._work.job
        meter = self._control.meter = Meter(box.used, self._used, self._means.now)
        room = Room(box.outside.temp, box.inside.temp, box.uid)
        try:
            if voice.speaks_actions(work):
                room.folder(TOOL_CACHE)
            env = self._environment(box, room, root.env if root else {})
            facts = Facts(work, box, self._slot)
            facts.companions(beside, in_container=job.image is not None)
            # GitLab runs what is before the image's command; Actions replaces it.
            before = root.entrypoint if root and job.stock else ()
            scene = Scene(box, self._log, facts, self._control, room, env, self._means.grace_s, before)
            self._means.visits.admit(work.attempt_id, box, lambda: scene.env | facts.env, self._log.later)
            self._steps(scene)
            self._outputs(scene)
        finally:
            self._means.visits.dismiss(work.attempt_id)
            meter.flush()
            room.close()

    @property
    def _network(self) -> Network:
        """What the job asks for, at most what the runner gives."""
        asked = self._work.job.network
        return self._means.network if asked is Network.INTERNET else asked

    @property
    def _spool(self) -> lanes.Spool:
        return lanes.Spool(self._means.spool, self._work.log_limit_bytes)

    def _public(self) -> dict[str, str]:
        """What services get of the job's variables: neither secrets nor files (gitlab-runner)."""
        return {v.key: v.value for v in self._work.variables if v.public and not (v.masked or v.file)}

    def _environment(self, box: Box, room: Room, image: Mapping[str, str]) -> dict[str, str]:
        """PATH and HOME, then the variables; file variables become paths. A stock job's variables may still
        name what only we know (`$CI_PROJECT_DIR`); then unknown names vanish and `$$` is a dollar, as in
        gitlab-runner."""
        env = {
            "PATH": DEFAULT_PATH,
            **image,
            "HOME": box.inside.home,
            **self._voice.environment(self._slot, box),
        }
        for variable in self._work.variables:
            if variable.file:
                env[variable.key] = room.write(
                    variable.key, variable.value.encode("utf-8", "surrogateescape")
                )
            else:
                env[variable.key] = variable.value
        if not self._work.job.stock:
            return env
        open_ = [v for v in self._work.variables if not (v.raw or v.file) and "$" in v.value]
        known = {key: value for key, value in env.items() if key not in {v.key for v in open_}}
        for variable in open_:
            env[variable.key] = value = expand(variable.value, known)
            if variable.masked:
                self._log.masker.add([value])
        return env

    def _steps(self, scene: Scene) -> None:
        work = self._work
        builtins = Builtins(self._means.link, work, self._means.cache, self._means.spool)
        acting = Acting(
            self._means.link,
            work,
            builtins,
            reachable(self._means.link, work, scene.box),
            self._means.images,
            self._means.sandbox,
            self._network,
            self._listen,
        )
        scene.env.update(acting.reach.for_scripts())
        acting.prepare(scene)
        leading = list(acting.leading())
        for position, (number, step) in enumerate(leading):
            self._step(scene, step, position, partial(acting.pre, scene, number), main=False)
        background = Background(self._spool, self._shared, self._noted)
        try:
            self._main_steps(
                scene, len(leading), partial(self._one, acting, builtins, background), background
            )
        finally:
            background.close()
        for position, row in enumerate(acting.posts(), len(leading) + len(work.job.steps)):
            self._step(scene, row.step, position, partial(acting.post, scene, row), main=False)

    def _main_steps(self, scene: Scene, first: int, one: Act, background: Background) -> None:
        """The steps as they are written, and what then still runs in the background."""
        for group, some in groupby(
            enumerate(self._work.job.steps), key=lambda item: item[1].lane and item[1].lane.group
        ):
            steps = list(some)
            self._log.speak_up()
            if group is not None:
                self._lanes(scene, steps, first, one)
                continue
            for number, step in steps:
                if step.background:
                    background.begin(scene, number, step, partial(self._along, first, one))
                else:
                    self._step(scene, step, first + number, partial(one, scene, number))
                background.hand_over()
        untold = background.rest(scene)
        self._overtime_of(background.lanes)
        if untold is not None and not scene.facts.failed:
            scene.facts.failed = True
            self._end = untold

    def _lanes(self, scene: Scene, steps: list[tuple[int, StepPlan]], first: int, one: Act) -> None:
        """Steps that run at the same time."""
        made = [lanes.lane(scene, branch, self._spool) for branch in lanes.branches(steps)]
        rule = steps[0][1].lane
        fail_fast = rule is None or rule.fail_fast
        lanes.drive(scene, made, partial(self._along, first, one), self._shared, fail_fast=fail_fast)
        self._overtime_of(made)
        bad = [
            lane.end for lane in made if lane.end.outcome is not Outcome.PASSED and lane.scene.facts.failed
        ]
        if bad and self._end.outcome is Outcome.PASSED:
            self._end = bad[0]

    def _along(self, first: int, one: Act, lane: lanes.Lane) -> None:
        """A lane's steps, in its own thread."""
        me = copy.copy(self)
        me._log, me._control, me._end = lane.log, lane.control, Finish(Outcome.PASSED)
        me._voice = voice.Voice(lane.log, self._work)
        me._lane = lane
        for number, step in lane.steps:
            me._step(lane.scene, step, first + number, partial(one, lane.scene, number))
        lane.end, lane.overtime = me._end, me._overtime

    def _overtime_of(self, made: Sequence[lanes.Lane]) -> None:
        """The first that meets the job's time limit gives the job its time after it."""
        late = [lane.control.deadline for lane in made if lane.overtime]
        if late and not self._overtime:
            self._overtime, self._control.deadline = True, max(late)

    def _step(
        self,
        scene: Scene,
        planned: StepPlan,
        position: int,
        act: Callable[[StepPlan], Ended],
        *,
        main: bool = True,
    ) -> None:
        """One row. What an action does before and after all steps has a row of its own, and no place in
        `steps.<id>`."""
        self._listen(scene)
        if self._control.verdict is Verdict.ABORT:
            return
        step = scene.facts.named(planned, scene.base)
        row = Step(self._work.attempt_id, position, step.key, step.name)
        if not self._may_run(scene, step):
            if main:
                scene.facts.note(step.key, Outcome.SKIPPED, Outcome.SKIPPED, {})
            self._note(step, replace(row, state=State.DONE, outcome=Outcome.SKIPPED))
            return
        row = replace(row, state=State.RUNNING, started_at=self._means.now(), log_start=self._log.size)
        self._note(step, row)
        self._voice.enter(step)
        try:
            ended = act(step)
        except (ExpressionError, ValueError) as error:
            self._voice.trouble(str(error))
            ended = Ended(Outcome.FAILED, Reason.SCRIPT, message=str(error))
        self._voice.leave(step)
        self._judge(scene, step, ended, main=main)
        self._note(
            step,
            replace(
                row, state=State.DONE, outcome=ended.outcome, exit_code=ended.exit_code, finished_at=self._means.now(),
                log_end=self._log.size, extra=ended.extra,
            ),
        )  # fmt: skip

    def _listen(self, scene: Scene) -> None:
        if self._control.verdict is not Verdict.GO:
            scene.facts.canceled = True

    def _may_run(self, scene: Scene, step: StepPlan) -> bool:
        """After the time limit only what keeps results still runs: the server's own deadline is near. Where
        the plan gives more time then (Actions), the job counts as canceled from its limit on."""
        if (
            self._end.reason is Reason.TIMEOUT
            and time.monotonic() > self._control.deadline
            and step.kind is StepKind.RUN
        ):
            return False
        return scene.facts.wanted(step, scene.base)

    @staticmethod
    def _one(
        acting: Acting, builtins: Builtins, background: Background, scene: Scene, number: int, step: StepPlan
    ) -> Ended:
        match step.kind:
            case StepKind.WAIT:
                return background.wait(scene, step.params.get("steps"))
            case StepKind.CANCEL:
                return background.cancel(scene, step.params["steps"])
            case StepKind.RUN:
                return lanes.tried(scene, step, number)
            case StepKind.ACTION:
                return acting.main(scene, number, step)
            case _ if "with" in step.params:
                return acting.builtin(scene, number, step)
            case _:
                return builtins.run(scene, step)

    def _judge(self, scene: Scene, step: StepPlan, ended: Ended, *, main: bool = True) -> None:
        """What the step's end means for the job."""
        facts = scene.facts
        conclusion = ended.outcome
        if ended.outcome is Outcome.CANCELED:
            facts.canceled = True
        elif ended.outcome not in (Outcome.PASSED, Outcome.SKIPPED):
            tolerated = step.continue_on_error
            if isinstance(tolerated, str):
                tolerated = facts.render(tolerated, facts.context(scene.base)).strip() == "true"
            late = ended.reason is Reason.TIMEOUT and time.monotonic() >= self._control.deadline
            if late and self._work.job.after_limit_s and not self._overtime:
                self._overtime = True
                self._control.deadline += self._work.job.after_limit_s
                facts.canceled = True
            if tolerated and not late:
                conclusion = Outcome.PASSED
            elif not facts.failed:
                facts.failed = True
                self._end = Finish(ended.outcome, ended.reason, ended.exit_code, ended.message)
        if main:
            facts.note(step.key, ended.outcome, conclusion, ended.outputs)

    def _outputs(self, scene: Scene) -> None:
        self._listen(scene)
        if scene.facts.canceled and not self._overtime:
            self._end = replace(self._end, outcome=Outcome.CANCELED, reason=Reason.BY_USER)
        elif self._end.outcome is Outcome.PASSED:
            self._end = replace(self._end, exit_code=0)
        if self._work.job.outputs:
            context = scene.facts.context(scene.base)
            values = {
                k: render(v, context, functions=scene.facts.functions)
                for k, v in self._work.job.outputs.items()
            }
            # GitHub: an output that holds a secret is not set.
            safe = {
                k: v
                for k, v in values.items()
                if self._log.masker.once(v.encode("utf-8", "replace")) == v.encode("utf-8", "replace")
            }
            self._end = replace(self._end, outputs=safe)

    def _note(self, step: StepPlan, row: Step) -> None:
        """A lane's output has its place in the job's log once it is handed over."""
        lane = self._lane
        if lane is not None and step.background:
            with self._shared:
                row = replace(row, log_start=lane.start, log_end=None)
                if row.state is State.RUNNING:
                    lane.begun = (step, row)
                elif row.outcome is not Outcome.SKIPPED:
                    lane.ended = (step, row)
                self._noted(step, row)
            return
        if lane is not None and row.log_end is None:
            row = replace(row, log_start=None)
        elif lane is not None:
            with self._shared:
                start, end = lane.log.hand_over()
            row = replace(row, log_start=start, log_end=end)
        self._noted(step, row)

    def _noted(self, step: StepPlan, row: Step) -> None:
        if not step.hidden:
            shown = replace(row, name=self._log.shown(row.name), extra=_shown(row.extra, self._log))
            with self._shared:
                self._means.link.step(self._work, shown)

    def _used(self, samples: Sequence[Sample]) -> None:
        self._means.link.usage(self._work, samples)

    def _send(self, offset: int, data: bytes) -> Future[Taken]:
        future = self._means.link.log(self._work, offset, data)
        future.add_done_callback(self._told)
        return future

    def _told(self, future: Future[Taken]) -> None:
        with suppress(Exception):
            self._control.hear(future.result().verdict)

    def _finish(self) -> None:
        work = self._work
        if self._control.verdict is Verdict.ABORT:
            if self.abandoned:
                self._means.link.give_back(work)
            return
        self._log.speak_up()
        self._voice.end(self._end)
        self._log.end_stream()
        self._log.flush()
        figure = printed(work.job.coverage, self._log.tail()) if work.job.coverage else None
        message = self._log.shown(self._end.message)
        end = replace(
            self._end, message=message, log_bytes=self._log.size, log_crc=self._log.crc, coverage=figure
        )
        if not self._means.link.finish_if_whole(work, end):
            self._log.drain()
            self._means.link.finish(work, end)


def _shown(value: Any, log: Log) -> Any:
    """Annotations and summaries without secrets."""
    match value:
        case str():
            return log.shown(value)
        case Mapping():
            return {key: _shown(inner, log) for key, inner in value.items()}
        case list() | tuple():
            return [_shown(inner, log) for inner in value]
        case _:
            return value
