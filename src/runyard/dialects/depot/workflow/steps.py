"""Steps of a job to StepPlans: shells, built-in actions, keys and names (actions.md §6). Called by
`build`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from runyard.dialects.depot.workflow import actions
from runyard.dialects.depot.workflow.document import ControlDoc, Defaults, StepDoc
from runyard.dialects.depot.workflow.facts import STEP_ENVIRONMENT
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.static import Static
from runyard.model.plan import StepKind, StepPlan
from runyard.syntax.actions import shell_argv, shell_script

UNSET = ("bash", "-e", "{script}")
UNSET_IN_CONTAINER = ("sh", "-e", "{script}")
IMPLICIT_WAIT = "__implicit_wait_all"
_WINDOWS = frozenset(("powershell", "cmd"))


def plans(
    docs: tuple[StepDoc, ...], defaults: Defaults, in_container: bool, static: Static, *, builtin: bool
) -> Iterator[StepPlan]:
    """A StepPlan for every step that can be served; findings for the others. `builtin`: well-known actions
    are steps of the runner's own."""
    taken: dict[str, int] = {}
    for doc in docs:
        if doc.control is not None:
            yield _control(doc, doc.control, taken)
            continue
        key = doc.id or _generated(doc, taken)
        made = _run(doc, defaults, in_container, static) if doc.run else _action(doc, static, builtin=builtin)
        if made is not None:
            yield StepPlan(
                key=key,
                name=doc.name.value if doc.name and doc.name.value else _name(doc),
                env={
                    **STEP_ENVIRONMENT,
                    "GITHUB_ACTION": key,
                    **{name: text.value for name, text in doc.env.items()},
                },
                condition=doc.condition.value if doc.condition and doc.condition.value.strip() else None,
                timeout_s=_timeout_s(doc, static),
                continue_on_error=_tolerates(doc),
                templated=True,
                commands=True,
                lane=doc.lane,
                background=doc.background,
                retry=doc.retry,
                **made,
            )
    yield from _last(docs)


def _last(docs: tuple[StepDoc, ...]) -> Iterator[StepPlan]:
    """The wait that GitHub adds for background steps that no step waits for or cancels."""
    named: set[str] = set()
    for doc in reversed(docs):
        if doc.control is not None:
            if doc.control.targets is None:
                return
            named.update(target.value for target in doc.control.targets)
        elif doc.background and doc.id not in named:
            yield StepPlan(
                IMPLICIT_WAIT, "Wait for all background steps", StepKind.WAIT, condition="always()"
            )
            return


def _control(doc: StepDoc, control: ControlDoc, taken: dict[str, int]) -> StepPlan:
    """Such a step always runs and has no process."""
    names = None if control.targets is None else [target.value for target in control.targets]
    name = "Cancel" if control.kind is StepKind.CANCEL else "Wait" if names is not None else "Wait for all"
    return StepPlan(
        key=doc.id or _counted(f"__{name.lower().replace(' for ', '-')}", taken),
        name=doc.name.value if doc.name and doc.name.value else name,
        kind=control.kind,
        params={} if names is None else {"steps": names},
        condition="always()",
        continue_on_error=_tolerates(doc),
        templated=True,
        commands=True,
    )


def _tolerates(doc: StepDoc) -> bool | str:
    return doc.continue_on_error.value if isinstance(doc.continue_on_error, Text) else doc.continue_on_error


def _generated(doc: StepDoc, taken: dict[str, int]) -> str:
    """`__run`, `__run_2`, `__actions_checkout`: what `github.action` shows for steps without an id."""
    if doc.run is not None:
        base = "__run"
    else:
        name = (doc.uses.value if doc.uses else "").partition("@")[0]
        base = "__" + re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return _counted(base, taken)


def _counted(base: str, taken: dict[str, int]) -> str:
    taken[base] = taken.get(base, 0) + 1
    return base if taken[base] == 1 else f"{base}_{taken[base]}"


def _name(doc: StepDoc) -> str:
    if doc.run is not None:
        lines = doc.run.value.strip().splitlines()
        return f"Run {lines[0].strip()}" if lines else "Run"
    return f"Run {doc.uses.value}" if doc.uses else "Run"


def _run(doc: StepDoc, defaults: Defaults, in_container: bool, static: Static) -> dict[str, Any]:
    assert doc.run is not None  # noqa: S101 - the caller looked
    chosen = Defaults(doc.shell, doc.cwd).under(defaults)
    argv = shell(chosen.shell, in_container, static)
    return {
        "argv": argv,
        "script": shell_script(argv, doc.run.value),
        "cwd": chosen.cwd.value if chosen.cwd else "",
    }


def shell(chosen: Text | None, in_container: bool, static: Static) -> tuple[str, ...]:
    """The argv of a shell, with `{script}` for the script's path."""
    if chosen is None:
        return UNSET_IN_CONTAINER if in_container else UNSET
    name = static.text(chosen, "`shell`").strip()
    if name.lower() in _WINDOWS:
        # One such step in one leg must not keep all other jobs of the file from running.
        message = f"the shell '{name.lower()}' is only on Windows: this step will fail here"
        static.findings.warning(chosen.at, message, "use bash or pwsh, or an `if` that leaves the step out")
        return ("sh", "-c", f"echo '::error::The shell {name.lower()} is only on Windows, and this runner is none. Use bash or pwsh.'; exit 127",
            "sh", "{script}")  # fmt: skip
    argv = shell_argv(name)
    if argv is None:
        message = (
            "Invalid shell option. Shell must be a valid built-in (bash, sh, python, pwsh) or a format string containing "
            "'{0}' after the program"
        )
        static.findings.error(chosen.at, message)
    return argv or UNSET


def _action(doc: StepDoc, static: Static, *, builtin: bool) -> dict[str, Any] | None:
    if doc.uses is None:
        return {"kind": StepKind.RUN, "argv": ("true",)}
    return actions.planned(static.findings, doc.uses, doc.inputs, builtin=builtin)


def _timeout_s(doc: StepDoc, static: Static) -> float | str | None:
    """Seconds; minutes where the runner has to find out."""
    if doc.timeout_minutes is None:
        return None
    if isinstance(doc.timeout_minutes, Text) and not static.knows(doc.timeout_minutes):
        return doc.timeout_minutes.value
    return static.number(doc.timeout_minutes, "`timeout-minutes` of a step") * 60
