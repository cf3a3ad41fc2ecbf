"""What expressions in steps may know, growing step by step: env, steps, job.status, runner. Used by `job.py`,
`steps.py`, `builtins.py`."""

from __future__ import annotations

import copy
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runyard.model.plan import Assignment, StepPlan
from runyard.model.state import Outcome
from runyard.runner.artifacts import choose
from runyard.runner.sandbox import Box
from runyard.runner.sandbox.box import Beside
from runyard.syntax.expressions import (
    ExpressionError,
    Functions,
    Status,
    Value,
    condition,
    has_expression,
    render,
    with_late,
)

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURES = {"x86_64": "X64", "aarch64": "ARM64", "i686": "X86", "armv7l": "ARM"}
TOOL_CACHE = "_tool"
OF_STEP = ("action", "env", "output", "path", "state", "step_summary")
"""What `github` knows of the step that runs: as its process has it in $GITHUB_…."""
_WORDS = {Outcome.PASSED: "success", Outcome.SKIPPED: "skipped", Outcome.CANCELED: "cancelled"}


@dataclass(slots=True)
class Scope:
    """What the steps of one composite action see instead of the job's: their own `steps` and `inputs`, their
    caller's environment, no secrets. `failed` decides which of them still run (`github.action_status`)."""

    inputs: Mapping[str, str]
    github: Mapping[str, str]
    env: Mapping[str, str]
    steps: dict[str, Any] = field(default_factory=dict)
    failed: bool = False


class Facts:
    """One attempt's knowledge. `failed` and `canceled` decide what still runs; inside a composite action its
    `scope` does."""

    def __init__(self, work: Assignment, box: Box, slot: int) -> None:
        self.failed = False
        self.canceled = False
        self.env: dict[str, str] = {}
        self.paths: tuple[str, ...] = ()
        self.scope: Scope | None = None
        self._beside: dict[str, Any] = {}
        self._work = work
        self._steps: dict[str, Any] = {}
        self._box = box
        self._workspace = Path(box.outside.workspace)
        self._inside = box.inside.workspace
        given = work.facts.get("runner") or {}
        self._runner = {
            **given,
            "name": given.get("description") or "runyard",
            "os": "Linux",
            "arch": ARCHITECTURES.get(platform.machine(), platform.machine().upper()),
            "temp": box.inside.temp,
            "workspace": box.inside.workspace,
            "tool_cache": f"{box.inside.temp}/{TOOL_CACHE}",
            "slot": slot,
        }
        self.functions: Functions = {"hashfiles": self._hash_files}
        late = work.job.late
        fixed = {place: template for place, template in late.items() if "env." not in template}
        self._fixed = with_late({**work.facts, "runner": self._runner}, fixed)
        self._late = {place: template for place, template in late.items() if place not in fixed}

    def companions(self, beside: Beside | None, *, in_container: bool) -> None:
        """`job.services` and `job.container`. There is one network of the job, so ids and networks are names
        of ours."""
        network = f"runyard-{self._work.attempt_id}"
        if in_container:
            self._beside["container"] = {"id": f"{network}-job", "network": network}
        services = {}
        for image in self._work.job.services:
            name = next(iter(image.alias.split()), "")
            ports = beside.ports.get(name, {}) if beside is not None else {}
            services[name] = {"id": f"{network}-{name}", "network": network, "ports": dict(ports)}
        if services:
            self._beside["services"] = services

    def apart(self) -> Facts:
        """A snapshot for steps that run beside others: what it learns stays its own."""
        other = copy.copy(self)
        other.env, other._steps = dict(self.env), dict(self._steps)
        return other

    def learn(self, other: Facts) -> None:
        """The steps that a snapshot knows of."""
        self._steps |= other._steps

    @property
    def status(self) -> Status:
        """For success(), failure() and cancelled()."""
        failed = self.failed if self.scope is None else self.scope.failed
        return Status(
            success=not (failed or self.canceled),
            failure=failed and not self.canceled,
            cancelled=self.canceled,
        )

    @property
    def job_status(self) -> str:
        """Actions' word for how it stands."""
        return "cancelled" if self.canceled else "failure" if self.failed else "success"

    def context(self, env: Mapping[str, str]) -> dict[str, Any]:
        """Everything, with this environment."""
        facts = {
            **self._fixed,
            "env": env,
            "steps": self._steps,
            "job": {**(self._work.facts.get("job") or {}), **self._beside, "status": self.job_status},
        }
        if self._late:
            facts = with_late(facts, self._late)
        if "GITHUB_ACTION" in env and "github" in facts:
            own = {name: env[key] for name in OF_STEP if (key := f"GITHUB_{name.upper()}") in env}
            facts["github"] = {**facts["github"], **own}
        return facts if self.scope is None else self._scoped(facts, self.scope)

    def _scoped(self, facts: dict[str, Any], scope: Scope) -> dict[str, Any]:
        status = "cancelled" if self.canceled else "failure" if scope.failed else "success"
        github = {**(facts.get("github") or {}), **scope.github, "action_status": status}
        facts.pop("secrets", None)
        return {**facts, "github": github, "inputs": scope.inputs, "steps": scope.steps}

    def wanted(self, step: StepPlan, env: Mapping[str, str]) -> bool:
        """Whether a step's condition holds now, in this environment."""
        if step.condition is None:
            return self.status.success
        return condition(step.condition, self.context(env), self.status, functions=self.functions)

    def named(self, step: StepPlan, env: Mapping[str, str]) -> StepPlan:
        """The step under its rendered name; one that cannot be rendered yet keeps its template."""
        if not (step.templated and has_expression(step.name)):
            return step
        with suppress(ExpressionError):
            return replace(step, name=self.render(step.name, self.context(env)))
        return step

    def render(self, text: str, context: Mapping[str, Any]) -> str:
        """A template's text."""
        return render(text, context, functions=self.functions, status=self.status)

    def deep(self, value: Any, context: Mapping[str, Any]) -> Any:
        """The same for every text inside a built-in's params."""
        if isinstance(value, str):
            return self.render(value, context)
        if isinstance(value, Mapping):
            return {key: self.deep(inner, context) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.deep(inner, context) for inner in value]
        return value

    def note(self, key: str, outcome: Outcome, conclusion: Outcome, outputs: Mapping[str, str]) -> None:
        """`steps.<key>` from now on."""
        steps = self._steps if self.scope is None else self.scope.steps
        known = steps.get(key, {}).get("outputs", {})
        steps[key] = {
            "outcome": _WORDS.get(outcome, "failure"),
            "conclusion": _WORDS.get(conclusion, "failure"),
            "outputs": {**known, **outputs},
        }

    def conclusion(self, key: str) -> str:
        """Of a step of the job, in Actions' word; one that nobody noted was never begun."""
        return str(self._steps.get(key, {}).get("conclusion", "skipped"))

    def _hash_files(self, arguments: Sequence[Value]) -> Value:
        """SHA-256 over the SHA-256 of each matching file, in order of name; empty when none matches."""
        lines = (line.strip() for argument in arguments for line in str(argument).splitlines())
        given = [line for line in lines if line and line != "--follow-symbolic-links"]
        whole, any_file = hashlib.sha256(), False
        with self._box.still():
            found = choose(
                self._workspace,
                [g for g in given if not g.startswith("!")],
                [g[1:] for g in given if g.startswith("!")],
                self._inside,
            )
            for path in sorted(found.paths):
                with suppress(OSError):
                    fd = os.open(self._workspace / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    with os.fdopen(fd, "rb") as file:
                        whole.update(hashlib.file_digest(file, "sha256").digest())
                        any_file = True
        return whole.hexdigest() if any_file else ""
