"""One process step: environment, script file, process, output, what it wrote for later steps. Called by
`job.py`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runyard.model.plan import StepPlan
from runyard.model.state import Outcome, Reason
from runyard.runner.control import Control, Stopper
from runyard.runner.facts import Facts
from runyard.runner.room import Room
from runyard.runner.sandbox import Box, SandboxError
from runyard.runner.spoken import Spoken
from runyard.runner.streams import Log, Pump
from runyard.syntax import envfiles
from runyard.syntax.matchers import Matcher

FILES = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
READ_LIMIT_BYTES = 1 << 20
BEST_SHELL = "{bash|sh}"
SCRIPT = re.compile(r"\{script(\.[a-z0-9]+)?\}")
"""In a step's argv the path of the file with its script."""

STARTERS = {
    # GitHub's images have a `python`, Debian has `python3` only.
    "python": ("sh", "-c", 'exec "$(command -v python || command -v python3 || echo python)" "$@"', "python"),
    "pwsh": (
        "sh", "-c",
        'command -v pwsh >/dev/null || { echo "::error::pwsh: command not found. Install PowerShell on the runner or in the image, or use another shell."; exit 127; }; exec pwsh "$@"',
        "pwsh",
    ),
}  # fmt: skip
"""How shells are started of which it is known only inside the box where, or whether, they are there."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a step went. `extra` goes to its row: summary, annotations."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    exit_code: int | None = None
    message: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)  # what an action keeps for its later phases


@dataclass(slots=True)
class Scene:
    """What every step of an attempt works with."""

    box: Box
    log: Log
    facts: Facts
    control: Control
    room: Room
    env: dict[str, str]  # of the job: variables, PATH, HOME
    grace_s: float
    entrypoint: tuple[str, ...] = ()  # of the job's image, before every command
    start: str = ""  # where processes begin, when that is not the workspace
    matchers: list[Matcher] = field(default_factory=list)  # that steps have registered
    shown: Mapping[str, str] = field(
        default_factory=dict
    )  # more names (inside) for places of the box (outside)

    @property
    def base(self) -> dict[str, str]:
        """The environment that a step starts from: the job's, what steps added, what the caller of a
        composite action gave it."""
        scope = self.facts.scope
        return {**self.env, **self.facts.env, **(scope.env if scope is not None else {})}


def run(scene: Scene, step: StepPlan, position: int | str, head: Sequence[str] | None = None) -> Ended:
    """Executes the step; its process has ended when this returns, and what that left running stands still
    (`sandbox/kept.py`). `position` names its files, `head` replaces the lines that show what runs."""
    env, names = _environment(scene, step, position)
    context = scene.facts.context(env)
    argv, cwd = _command(scene, step, position, context)
    limit = timeout_s(scene, step, context)
    if step.commands:
        _show_command(scene.log, step, argv, head)
    process = scene.box.run([*scene.entrypoint, *argv], env, cwd)
    stopper = Stopper(
        process, scene.control, scene.grace_s, limit, scene.box.outside.builds, interrupts=step.commands
    )
    spoken = Spoken(scene.box, scene.log, scene.matchers, scene.shown) if step.commands else None
    take = scene.log.write if spoken is None else spoken.hear
    stopper.look()
    Pump(process, scene.box.lingering).run(take, scene.log, scene.control.wake, stopper.look, stopper.moments)
    if spoken is not None:
        spoken.close()
    code = process.wait()
    if code is None:
        raise SandboxError("The step's end was not told.")
    scene.log.end_stream()
    ended = _judged(scene, step, stopper.why, code, limit)
    if spoken is not None:
        ended = _read_files(scene, names, _with_trouble(ended, spoken.trouble), spoken)
    return ended


def _environment(scene: Scene, step: StepPlan, position: int | str) -> tuple[dict[str, str], dict[str, str]]:
    """The process's whole environment, and the names of its $GITHUB_* files."""
    env = scene.base
    names = {}
    if step.commands:
        for name in FILES:
            names[name] = f"{name.lower()}-{position}"
            env[name] = scene.room.write(names[name], b"")
    if step.env:
        context = scene.facts.context(env) if step.templated else {}
        late = {k: scene.facts.render(v, context) if step.templated else v for k, v in step.env.items()}
        env.update(late)
    if scene.facts.paths:
        env["PATH"] = ":".join([*scene.facts.paths, env.get("PATH", "")])
    return {k: v for k, v in env.items() if k and "=" not in k and "\0" not in k + v}, names


def _command(
    scene: Scene, step: StepPlan, position: int | str, context: Mapping[str, Any]
) -> tuple[list[str], str]:
    """argv with the script's path, and the working directory, which by its name never leaves the workspace,
    or the job's own folders when it is absolute."""
    show = scene.facts.render
    argv = [show(part, context) if step.templated else part for part in step.argv]
    if step.script is not None:
        script = show(step.script, context) if step.templated else step.script
        name = _script_name(step, position)
        path = scene.room.write(name, script.encode("utf-8", "surrogateescape"), 0o700)
        argv = [SCRIPT.sub(lambda _: path, part) for part in argv]
    if step.argv[0] == BEST_SHELL:
        argv[0] = scene.box.find(BEST_SHELL[1:-1].split("|"))
    if step.script is not None and argv[0] in STARTERS:
        argv = [*STARTERS[argv[0]], *argv[1:]]
    workspace = scene.start or scene.box.inside.workspace
    given = show(step.cwd, context) if step.templated else step.cwd
    cwd = _joined(workspace, given)
    is_ours = cwd == workspace or cwd.startswith(workspace + "/")
    if not is_ours and not (given.startswith("/") and scene.box.inside.holds(cwd)):
        raise ValueError(
            f"working directory {given!r} is neither inside the workspace nor in another folder of the job"
        )
    return argv, cwd


def _script_name(step: StepPlan, position: int | str) -> str:
    suffix = next((found[1] or "" for part in step.argv if (found := SCRIPT.search(part))), "")
    return f"script-{position}{suffix}"


def _joined(workspace: str, given: str) -> str:
    return os.path.normpath(given if given.startswith("/") else f"{workspace}/{given}")


def timeout_s(scene: Scene, step: StepPlan, context: Mapping[str, Any]) -> float | None:
    """The step's own time limit."""
    if step.timeout_s is None or isinstance(step.timeout_s, (int, float)):
        return step.timeout_s
    text = scene.facts.render(step.timeout_s, context)
    return float(text) * 60 if text.strip() else None


def _show_command(log: Log, step: StepPlan, argv: list[str], head: Sequence[str] | None) -> None:
    """As GitHub shows a step: a closed group with the script and the shell, or with an action's inputs."""
    lines = [f"##[group]{step.name}", *(head or ())]
    if head is None and step.script is not None:
        lines += [f"\x1b[36;1m{line}\x1b[0m" for line in step.script.splitlines()]
        lines.append("shell: " + " ".join(SCRIPT.sub("{0}", part) for part in step.argv))
    log.system("\n".join([*lines, "##[endgroup]"]))


def _judged(scene: Scene, step: StepPlan, why: str, code: int, limit: float | None) -> Ended:
    match why:
        case "aborted":
            return Ended(Outcome.CANCELED, exit_code=code)
        case "canceled":
            if step.commands:
                scene.log.system("##[error]The operation was canceled.")
            return Ended(Outcome.CANCELED, exit_code=code)
        case "disk_full":
            message = "The disk of this runner is full; the job was ended."
            scene.log.system(f"##[error]{message}" if step.commands else message)
            return Ended(Outcome.ERRORED, Reason.RUNNER_SYSTEM, code, message)
        case "job_timeout":
            message = "The job took longer than its time limit."
            if step.commands:
                scene.log.system(f"##[error]{message}")
            return Ended(Outcome.FAILED, Reason.TIMEOUT, code, message)
        case "step_timeout":
            minutes = f"{(limit or 0) / 60:g}"
            message = f"The action '{step.name}' has timed out after {minutes} minutes."
            scene.log.system(f"##[error]{message}" if step.commands else message)
            return Ended(Outcome.FAILED, Reason.TIMEOUT, code, message)
        case _ if code == 0:
            return Ended(Outcome.PASSED, exit_code=0)
    if scene.box.out_of_memory():
        message = "The job used more memory than it may and was ended."
        scene.log.system(f"##[error]{message}" if step.commands else f"\x1b[31;1m{message}\x1b[0;m")
        return Ended(Outcome.FAILED, Reason.OUT_OF_MEMORY, code, message)
    if step.commands:
        scene.log.system(f"##[error]Process completed with exit code {code}.")
    return Ended(Outcome.FAILED, Reason.SCRIPT, code)


def _with_trouble(ended: Ended, trouble: str) -> Ended:
    """A command that could not be carried out fails the step (GitHub)."""
    if not trouble or ended.outcome is not Outcome.PASSED:
        return ended
    return replace(ended, outcome=Outcome.FAILED, reason=Reason.SCRIPT, message=trouble)


def _read_files(scene: Scene, names: Mapping[str, str], ended: Ended, spoken: Spoken) -> Ended:
    """Also after a failure; a file that cannot be read fails the step (GitHub)."""
    facts, extra = scene.facts, dict(ended.extra)
    read = {name: scene.room.read(file, READ_LIMIT_BYTES) for name, file in names.items()}
    outputs, state = dict(spoken.outputs), dict(spoken.state)
    try:
        outputs.update(envfiles.pairs(read["GITHUB_OUTPUT"]))
        state.update(envfiles.pairs(read["GITHUB_STATE"], "GITHUB_STATE"))
        added = envfiles.environment(read["GITHUB_ENV"])
        facts.env.update(added.variables)
        for name in added.refused:
            scene.log.system(f"##[warning]Can't store {name} output parameter using '$GITHUB_ENV' command.")
        facts.paths = envfiles.with_paths(facts.paths, read["GITHUB_PATH"])
    except envfiles.EnvFileError as error:
        scene.log.system(f"##[error]{error}")
        spoken.complain(str(error))
        ended = replace(
            ended, outcome=Outcome.FAILED, reason=ended.reason or Reason.SCRIPT, message=str(error)
        )
    try:
        if summary := envfiles.summary(read["GITHUB_STEP_SUMMARY"]):
            masked = scene.log.masker.once(summary.encode("utf-8", "replace"))
            extra["summary"] = masked.decode("utf-8", "replace")
    except envfiles.EnvFileError as error:
        spoken.complain(str(error))
    if annotations := spoken.annotations:
        extra["annotations"] = annotations
    return replace(ended, outputs=outputs, state=state, extra=extra)
