"""Steps that use actions, stage by stage: what runs before all steps, the step itself, what runs after all of
them. Called by `job.py`.

A composite action is expanded here, at run time, because its steps may name what earlier ones found. Its
inner steps are no rows of their own; they write into their step's log, and their pre and post phases join in
the row of the step that uses them (as the Actions runner shows them).
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runyard.model.plan import Assignment, Network, StepKind, StepPlan
from runyard.model.state import Outcome, Reason
from runyard.runner.actions import inputs as well_known
from runyard.runner.actions import ssh
from runyard.runner.actions.container import Order, execute, words
from runyard.runner.actions.reach import Reachable
from runyard.runner.actions.trees import Instance, Trees
from runyard.runner.builtins import Builtins
from runyard.runner.facts import Scope
from runyard.runner.link import Link
from runyard.runner.sandbox import Sandbox
from runyard.runner.sandbox.container import Images
from runyard.runner.steps import Ended, Scene, run, timeout_s
from runyard.syntax.actions import (
    ActionError,
    Composite,
    Container,
    Inner,
    Script,
    Uses,
    parse_uses,
    shell_argv,
    shell_script,
)
from runyard.syntax.expressions import condition, has_expression

PASSED = Ended(Outcome.PASSED)
WORKED = (Outcome.PASSED, Outcome.SKIPPED)


@dataclass
class _Post:
    """Something that runs after all steps."""

    condition: str
    run: Callable[[Scene], Ended]


@dataclass
class _Row:
    """The posts of one step of the job."""

    number: int
    step: StepPlan
    posts: list[_Post]


@dataclass
class Acting:
    """One attempt's actions."""

    link: Link
    work: Assignment
    builtins: Builtins
    reach: Reachable
    images: Images
    sandbox: Sandbox
    network: Network
    hear: Callable[[Scene], None]  # notes a cancel between inner steps
    _instances: dict[int, Instance] = field(default_factory=dict)
    _posts: list[_Row] = field(default_factory=list)
    _now: threading.local = field(
        default_factory=threading.local
    )  # `fresh`: posts of the step that this thread runs now (lanes have threads)
    _trees: Trees | None = None
    _tags: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def prepare(self, scene: Scene) -> None:
        """`Set up job`: everything remote is fetched and read. RunyardError or ActionError: then the job
        cannot begin."""
        self._trees = Trees(self.link, self.work, scene.box, scene.log, self._is_builtin)
        for number, step in enumerate(self.work.job.steps):
            if step.kind is StepKind.ACTION:
                uses = parse_uses(str(step.params.get("uses")))
                if not uses.is_local:
                    self._instances[number] = self._of(scene).remote(uses)

    def _of(self, scene: Scene) -> Trees:
        assert self._trees is not None  # noqa: S101 - `prepare` comes first
        return replace(self._trees, log=scene.log)

    def _is_builtin(self, uses: Uses) -> bool:
        return self.work.job.builtin_actions and well_known.kind_of(uses) is not None

    # before all steps

    def leading(self) -> Iterator[tuple[int, StepPlan]]:
        """(number of the step, its `Pre …` step) for each that has something to run before."""
        for number, instance in self._instances.items():
            if any(True for _ in _with_pre(instance)):
                step = self.work.job.steps[number]
                yield number, replace(step, name=f"Pre {step.name}", condition="always()")

    def pre(self, scene: Scene, number: int, step: StepPlan) -> Ended:
        """All pre phases below one step, in order."""
        self._now.fresh = []
        try:
            ended = self._pre(
                scene, self._instances[number], _rendered(scene, _given(step)), _own_env(scene, step)
            )
        finally:
            self._keep_posts(step.name.removeprefix("Pre "), step, number)
        return ended

    def _pre(self, scene: Scene, it: Instance, given: Mapping[str, str], env: Mapping[str, str]) -> Ended:
        manifest = it.manifest
        if manifest is None or not any(True for _ in _with_pre(it)):
            return PASSED
        self._fill(scene, it, given, env)
        if isinstance(manifest.runs, Composite):
            with _inside(scene, self._scope(it)):
                for number, child in it.children.items():
                    inner = manifest.runs.steps[number]
                    ended = self._pre(
                        scene, child, _rendered(scene, inner.inputs), self._inner_env(scene, it, inner)
                    )
                    if ended.outcome not in WORKED:
                        return ended
            return PASSED
        runs = manifest.runs
        if not runs.pre or not self._holds(scene, runs.pre_if):
            return PASSED
        self._begin(it, it.uses.text)
        return self._phase(scene, it, "pre")

    # the step itself

    def main(self, scene: Scene, number: int, step: StepPlan) -> Ended:
        """The step. ActionError or ExpressionError when it cannot be run: the step's failure."""
        self._now.fresh = []
        try:
            uses = parse_uses(str(step.params.get("uses")))
            limit = timeout_s(scene, step, scene.facts.context(scene.base))
            self._now.until = None if limit is None else time.monotonic() + limit
            it = self._instances.get(number) or self._of(scene).local(uses)
            return self._play(scene, step, it, 1)
        finally:
            self._now.until = None
            self._keep_posts(step.name, step, number)

    def _left(self) -> float | None:
        """What is left of the time limit of the job's step that runs now; all processes of its action share
        it."""
        until: float | None = getattr(self._now, "until", None)
        return None if until is None else max(0.01, until - time.monotonic())

    def builtin(self, scene: Scene, number: int, step: StepPlan) -> Ended:
        """A well-known action of the job's own steps, built in by the plan."""
        self._now.fresh = []
        try:
            plan = replace(
                step,
                params={**step.params, "with": _rendered(scene, _given(step), _own_env(scene, step))},
                templated=False,
            )
            return self._built_in(scene, plan)
        finally:
            self._keep_posts(step.name, step, number)

    def _play(self, scene: Scene, step: StepPlan, it: Instance, depth: int) -> Ended:
        if self._is_builtin(it.uses):
            plan = replace(step, kind=well_known.kind_of(it.uses) or step.kind, templated=False)
            action = f"{it.uses.repository}/{it.uses.path}".rstrip("/").lower()
            given = _rendered(scene, _given(step), _own_env(scene, step))
            return self._built_in(scene, replace(plan, params={"action": action, "with": given}))
        env = _own_env(scene, step)
        given = _rendered(scene, _given(step), env)
        if it.manifest is None:
            return self._image(scene, step, it, given, env)
        self._fill(scene, it, given, env)
        self._warn(scene, it, given)
        if isinstance(it.manifest.runs, Composite):
            return self._composite(scene, step, it, depth)
        self._begin(it, step.name)
        return self._phase(scene, it, "main", step.name)

    def _built_in(self, scene: Scene, plan: StepPlan) -> Ended:
        """A step of our own, and what it wants to do at the end (actions/cache saves)."""
        ended = self.builtins.run(scene, plan)
        later = self.builtins.later(plan, ended)
        if later is not None:
            self._now.fresh.append(_Post("success()", lambda scene: self.builtins.run(scene, later)))
        if key := ended.state.get(ssh.STATE):
            self._now.fresh.append(_Post("always()", lambda scene: _without_key(scene, key)))
        return ended

    def _composite(self, scene: Scene, step: StepPlan, it: Instance, depth: int) -> Ended:
        assert it.manifest is not None and isinstance(it.manifest.runs, Composite)  # noqa: S101 - the caller looked
        scene.log.system(f"##[group]{step.name}\n##[endgroup]")
        extras: list[Mapping[str, Any]] = []
        scope, worst = self._scope(it), PASSED
        with _inside(scene, scope):
            for number, inner in enumerate(it.manifest.runs.steps):
                self.hear(scene)
                ended = self._inner(scene, it, number, inner, depth)
                extras.append(ended.extra)
                if ended.outcome is Outcome.CANCELED:
                    scene.facts.canceled = True
                if ended.outcome not in WORKED and worst.outcome is Outcome.PASSED:
                    worst = ended
            outputs = _rendered(scene, it.manifest.outputs)
        return replace(worst, outputs=outputs, extra=_together(extras), state={})

    def _inner(self, scene: Scene, it: Instance, number: int, inner: Inner, depth: int) -> Ended:
        """One step of a composite action: judged, run, noted; what it tolerates has passed for the others."""
        facts = scene.facts
        base = StepPlan(
            key=inner.id or f"__{number}", name=_name(inner), condition=inner.condition or None, env=self._inner_env(scene, it, inner),
            commands=True, templated=False, timeout_s=self._left(),
        )  # fmt: skip
        if not facts.wanted(base, {**scene.base, **base.env}):
            facts.note(base.key, Outcome.SKIPPED, Outcome.SKIPPED, {})
            return replace(PASSED, outcome=Outcome.SKIPPED)
        if has_expression(base.name):
            base = replace(base, name=facts.render(base.name, facts.context({**scene.base, **base.env})))
        try:
            ended = self._one(scene, it, number, inner, base, depth)
        except ValueError as error:
            scene.log.system(f"##[error]{error}")
            ended = Ended(Outcome.FAILED, Reason.SCRIPT, message=str(error))
        conclusion = ended.outcome
        if ended.outcome not in (*WORKED, Outcome.CANCELED):
            tolerated = inner.continue_on_error
            if tolerated and facts.render(tolerated, facts.context(scene.base)).strip().lower() == "true":
                conclusion = Outcome.PASSED
            elif facts.scope is not None:
                facts.scope.failed = True
        facts.note(base.key, ended.outcome, conclusion, ended.outputs)
        return replace(ended, outcome=conclusion)

    def _one(
        self, scene: Scene, it: Instance, number: int, inner: Inner, base: StepPlan, depth: int
    ) -> Ended:
        if inner.uses is None:
            argv = shell_argv(
                scene.facts.render(inner.shell, scene.facts.context({**scene.base, **base.env}))
            )
            if argv is None:
                raise ActionError(
                    f"Invalid shell option '{inner.shell[:80]}' in {it.uses.text}: use bash, sh, python, pwsh or a command with {{0}}"
                )
            context = scene.facts.context({**scene.base, **base.env})
            script = scene.facts.render(inner.run, context)
            plan = replace(
                base,
                argv=argv,
                script=shell_script(argv, script),
                cwd=scene.facts.render(inner.cwd, context),
            )
            return run(scene, plan, self._next())
        child = it.children.get(number)
        if child is None:
            child = it.children[number] = self._of(scene).local(inner.uses, depth + 1)
        return self._play(scene, replace(base, params={"with": inner.inputs}), child, depth + 1)

    def _inner_env(self, scene: Scene, it: Instance, inner: Inner) -> dict[str, str]:
        """The environment of one inner step beside what its caller handed on; literal."""
        own = {
            "GITHUB_ACTION": inner.id or "__run",
            "GITHUB_ACTION_PATH": it.inside,
            "GITHUB_ACTION_REPOSITORY": it.uses.repository,
            "GITHUB_ACTION_REF": it.uses.ref,
        }
        context = scene.facts.context({**scene.base, **own})
        return {**own, **{name: scene.facts.render(value, context) for name, value in inner.env.items()}}

    def _scope(self, it: Instance) -> Scope:
        github = {
            "action_path": it.inside,
            "action_repository": it.uses.repository,
            "action_ref": it.uses.ref,
        }
        return Scope(inputs=it.inputs, github=github, env=it.env)

    # processes

    def _phase(self, scene: Scene, it: Instance, phase: str, name: str = "") -> Ended:
        """One process of an action: `pre`, `main` or `post`."""
        assert it.manifest is not None  # noqa: S101 - images have a way of their own
        runs = it.manifest.runs
        name = name or f"Pre {it.uses.text}"
        if isinstance(runs, Container):
            ended = self._container(scene, it, runs, phase, name)
        else:
            assert isinstance(runs, Script)  # noqa: S101 - composites have no process
            ended = self._script(
                scene, it, runs, {"pre": runs.pre, "main": runs.main, "post": runs.post}[phase], name
            )
        it.state.update(ended.state)
        return replace(ended, state={})

    def _script(self, scene: Scene, it: Instance, runs: Script, file: str, name: str) -> Ended:
        node = self.reach.node(scene, runs.node)
        path = os.path.normpath(f"{it.inside}/{file}")
        outside = Path(os.path.normpath(it.outside / file))
        if not _is_file_of(outside, it):
            raise ActionError(f"File not found: '{file[:200]}' of the action '{it.uses.text}'")
        env = self._environment(scene, it)
        plan = StepPlan(key="", name=name, argv=(node, path), env=env, commands=True, timeout_s=self._left())
        return run(scene, plan, self._next(), _shown(it.inputs))

    def _container(self, scene: Scene, it: Instance, runs: Container, phase: str, name: str) -> Ended:
        image = runs.image
        if runs.built:
            made = self._built(scene, it, runs.image)
            if isinstance(made, Ended):
                return made
            image = made
        base = {**scene.base, **it.env}
        context = {**scene.facts.context(base), "inputs": it.inputs}
        entrypoint = {
            "pre": runs.pre,
            "main": it.inputs.get("entrypoint") or runs.entrypoint,
            "post": runs.post,
        }[phase]
        args: tuple[str, ...] | None = () if phase != "main" else None
        if phase == "main" and runs.args is not None:
            args = tuple(scene.facts.render(one, context) for one in runs.args)
        elif phase == "main" and it.inputs.get("args"):
            args = words(it.inputs["args"])
        own = {key: scene.facts.render(value, context) for key, value in runs.env.items()}
        order = Order(image, scene.facts.render(entrypoint, context), args)
        return execute(
            self._left(),
            scene,
            self.images,
            order,
            name,
            {**own, **self._environment(scene, it)},
            self._next(),
            _shown(it.inputs),
        )

    def _built(self, scene: Scene, it: Instance, path: str) -> str | Ended:
        """The name of the image that the action's Dockerfile makes, or how a RUN of it ended; its folder is
        what it may copy from."""
        from runyard.runner.actions.building import (  # only here: other jobs begin sooner without
            Builder,
            BuildFailed,
        )

        with scene.box.still():  # what is looked at here is what is copied
            file = Path(os.path.normpath(it.outside / path))
            is_inside = it.outside in (file.parent, *file.parents)
            if not is_inside or os.path.realpath(file.parent) != str(file.parent):
                raise ActionError(f"'{path[:200]}' is not a file of the action '{it.uses.text}'")
            shown = f"{it.uses.text.partition('@')[0]}/{path}"
            builder = Builder(self.sandbox, self.images, self.network, self.work.project_id)
            try:
                return builder.image(scene, file, shown, self._left())
            except BuildFailed as failed:
                if failed.ended.message:
                    scene.log.system(f"##[error]{failed.ended.message}")
                return failed.ended

    def _image(
        self, scene: Scene, step: StepPlan, it: Instance, given: Mapping[str, str], env: Mapping[str, str]
    ) -> Ended:
        """`docker://image` as a step."""
        it.inputs, it.env = dict(given), dict(env)
        order = Order(
            it.uses.image, given.get("entrypoint", ""), words(given["args"]) if given.get("args") else None
        )
        return execute(
            self._left(),
            scene,
            self.images,
            order,
            step.name,
            self._environment(scene, it),
            self._next(),
            _shown(given),
        )

    def _environment(self, scene: Scene, it: Instance) -> dict[str, str]:
        """What a process of an action gets beside the job's environment; later ones win."""
        found = {f"INPUT_{name.replace(' ', '_').upper()}": value for name, value in it.inputs.items()}
        state = {f"STATE_{name}": value for name, value in it.state.items()}
        about = {"GITHUB_ACTION_REPOSITORY": it.uses.repository, "GITHUB_ACTION_REF": it.uses.ref}
        return {**it.env, **about, **found, **state, **self.reach.environment(scene)}

    # what both need

    def _begin(self, it: Instance, name: str) -> None:
        """Once anything of an action has run, its post phase will too."""
        if it.began or it.manifest is None or isinstance(it.manifest.runs, Composite):
            return
        it.began = True
        if it.manifest.runs.post:
            self._now.fresh.append(
                _Post(it.manifest.runs.post_if, lambda scene: self._phase(scene, it, "post", f"Post {name}"))
            )

    def _fill(self, scene: Scene, it: Instance, given: Mapping[str, str], env: Mapping[str, str]) -> None:
        """Every declared input is set; names fold case, undeclared ones are passed on too. Given values are
        no templates any more: what an expression gave may look like one."""
        assert it.manifest is not None  # noqa: S101 - the caller looked
        context = scene.facts.context({**scene.base, **env})
        left = {name.lower(): value for name, value in given.items()}
        found = {}
        for name, default in it.manifest.inputs.items():
            found[name] = (
                left.pop(name.lower()) if name.lower() in left else scene.facts.render(default, context)
            )
        it.inputs, it.env = {**found, **left}, dict(env)

    def _warn(self, scene: Scene, it: Instance, given: Mapping[str, str]) -> None:
        assert it.manifest is not None  # noqa: S101 - the caller looked
        known = {name.lower() for name in it.manifest.inputs}
        known |= {"entrypoint", "args"} if isinstance(it.manifest.runs, Container) else set()
        if unknown := [name for name in given if name.lower() not in known]:
            valid = ", ".join(f"'{name}'" for name in it.manifest.inputs)
            scene.log.system(
                f"##[warning]Unexpected input(s) {', '.join(repr(n) for n in unknown)}, valid inputs are [{valid}]"
            )
        for name, message in it.manifest.deprecated.items():
            if name.lower() in {key.lower() for key in given}:
                scene.log.system(f"##[warning]Input '{name}' has been deprecated with message: {message}")

    def _holds(self, scene: Scene, text: str) -> bool:
        return condition(
            text, scene.facts.context(scene.base), scene.facts.status, functions=scene.facts.functions
        )

    def _next(self) -> str:
        return f"a{next(self._tags)}"

    # after all steps

    def _keep_posts(self, name: str, step: StepPlan, number: int) -> None:
        """A step whose pre phase ran has its row already; its main phase adds to it."""
        if self._now.fresh:
            known = next((row for row in self._posts if row.number == number), None)
            if known is not None:
                known.posts += self._now.fresh
            else:
                self._posts.append(
                    _Row(number, replace(step, name=f"Post {name}", condition="always()"), self._now.fresh)
                )
        self._now.fresh = []

    def posts(self) -> list[_Row]:
        """What is to run now, last first."""
        return self._posts[::-1]

    def post(self, scene: Scene, row: _Row, _: StepPlan) -> Ended:
        """The post phases below one step, last first; all are tried."""
        worst = replace(PASSED, outcome=Outcome.SKIPPED)
        for post in row.posts[::-1]:
            self.hear(scene)
            if not self._holds(scene, post.condition):
                continue
            try:
                ended = post.run(scene)
            except ValueError as error:
                scene.log.system(f"##[error]{error}")
                ended = Ended(Outcome.FAILED, Reason.SCRIPT, message=str(error))
            if worst.outcome in WORKED:
                worst = ended
        return worst


def _without_key(scene: Scene, key: str) -> Ended:
    ssh.forget(scene, key)
    return PASSED


class _inside:
    """`with _inside(scene, scope)`: expressions and steps see the scope."""

    def __init__(self, scene: Scene, scope: Scope) -> None:
        self._facts, self._scope, self._before = scene.facts, scope, scene.facts.scope

    def __enter__(self) -> None:
        self._facts.scope = self._scope

    def __exit__(self, *error: object) -> None:
        self._facts.scope = self._before


def _together(extras: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Summaries and annotations of inner steps are their step's."""
    found: dict[str, Any] = {}
    if summary := "\n".join(str(one["summary"]) for one in extras if one.get("summary")):
        found["summary"] = summary[: 1 << 20]
    if annotations := [note for one in extras for note in one.get("annotations", ())]:
        found["annotations"] = annotations[:30]
    return found


def _with_pre(it: Instance) -> Iterator[Instance]:
    if it.manifest is not None and not isinstance(it.manifest.runs, Composite) and it.manifest.runs.pre:
        yield it
    for child in it.children.values():
        yield from _with_pre(child)


def _given(step: StepPlan) -> Mapping[str, str]:
    found = step.params.get("with") or {}
    return {str(name): str(value) for name, value in found.items()}


def _rendered(scene: Scene, given: Mapping[str, str], env: Mapping[str, str] | None = None) -> dict[str, str]:
    context = scene.facts.context({**scene.base, **(env or {})})
    return {name: scene.facts.render(value, context) for name, value in given.items()}


def _own_env(scene: Scene, step: StepPlan) -> dict[str, str]:
    """The step's `env`, rendered, over what its caller handed on."""
    handed = dict(scene.facts.scope.env) if scene.facts.scope is not None else {}
    if not step.templated:
        return {**handed, **step.env}
    context = scene.facts.context(scene.base)
    return {**handed, **{name: scene.facts.render(value, context) for name, value in step.env.items()}}


def _is_file_of(path: Path, it: Instance) -> bool:
    """Inside the tree that the action came with, links and all; the process itself is confined by the box
    anyway."""
    return path.is_file() or path.is_symlink()


def _name(inner: Inner) -> str:
    if inner.name:
        return inner.name
    if inner.uses is not None:
        return f"Run {inner.uses.text}"
    lines = inner.run.strip().splitlines()
    return f"Run {lines[0].strip()}" if lines else "Run"


def _shown(inputs: Mapping[str, str]) -> list[str]:
    """The inputs that have a value, as the log's group shows them."""
    rows = [f"  {name}: {value}" for name, value in inputs.items() if value]
    return ["with:", *rows] if rows else []
