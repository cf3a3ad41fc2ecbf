"""Fields of a job that are templates (`JobPlan.drawn`) get their values. Pure; settle asks when a gate opens,
`unfolding` when it makes a job.

Raises ExpressionError or Undrawable, whose sentence is for people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from runyard.model.plan import Concurrency, Drawn, EnvironmentUse, JobPlan, Labels
from runyard.model.work import Run
from runyard.syntax.expressions import (
    ExpressionError,
    references,
    render,
    render_value,
    to_string,
    truthy,
    with_late,
)
from runyard.syntax.expressions.values import to_number

MOST_NAME = 255
MOST_GROUP = 400
TROUBLE = (ExpressionError, RecursionError, ValueError, TypeError, ArithmeticError)
"""What a stranger's template may raise."""


class Undrawable(ValueError):
    """A field cannot have the value that its template gives."""


def facts_of(run: Run, plan: JobPlan, needs: Mapping[str, Any]) -> dict[str, Any]:
    """What templates of a job may name before anybody claims it. `run.*` is known here, `attempt.*` and
    `runner.*` are not."""
    known = {
        **plan.context,
        "needs": needs,
        "run": {"id": run.id, "number": run.number, "ref": run.ref, "sha": run.sha, "source": run.source},
    }
    return with_late(known, plan.late) if plan.late else known


def is_ready(drawn: Drawn, facts: Mapping[str, Any]) -> bool:
    """Whether the templates name only facts that are there already."""
    labels = drawn.labels.texts if drawn.labels else ()
    texts = (drawn.name, drawn.timeout_minutes, drawn.allow_failure, drawn.group, drawn.cancel_in_progress)
    roots: set[str] = set()
    try:
        for text in (*texts, drawn.environment, *labels):
            roots |= {path.split(".", 1)[0] for path in references(text)}
    except ExpressionError:
        return False
    return roots <= facts.keys()


def draw(plan: JobPlan, facts: Mapping[str, Any]) -> JobPlan:
    """The plan with its fields filled in. The templates stay, so that a retry after other needs draws
    anew."""
    drawn = plan.drawn
    if drawn is None:
        return plan
    changes: dict[str, Any] = {}
    if drawn.name and (name := render(drawn.name, facts).strip()):
        changes["name"] = f"{drawn.prefix}{name}{drawn.suffix}"[:MOST_NAME]
    if drawn.timeout_minutes:
        changes["timeout_s"] = math.ceil(number(drawn.timeout_minutes, facts, "The time limit") * 60)
        if changes["timeout_s"] <= 0:
            raise Undrawable("The time limit of this job must be greater than 0.")
    if drawn.allow_failure:
        changes["allow_failure"] = boolean(drawn.allow_failure, facts)
    if drawn.group or drawn.cancel_in_progress:
        changes["concurrency"] = _concurrency(plan.concurrency, drawn, facts)
    if drawn.environment:
        name = render(drawn.environment, facts).strip()
        use = plan.environment or EnvironmentUse(name)
        changes["environment"] = replace(use, name=name) if name else None
    if drawn.labels:
        changes["tags"] = tags_of(_labels(drawn.labels, facts), drawn.labels)
    return replace(plan, **changes)


def tags_of(labels: Iterable[str], rule: Labels) -> tuple[str, ...]:
    """The runner tags that labels mean."""
    said = [label.strip() for label in labels if label.strip()]
    if rule.only_with and rule.only_with not in {label.lower() for label in said}:
        return ()
    kept = [label.lower() for label in said if not label.lower().startswith(rule.without or ("\0",))]
    return tuple(dict.fromkeys(label for label in kept if label != rule.only_with))


def number(text: float | str, facts: Mapping[str, Any], what: str) -> float:
    """A finite number."""
    found = text if isinstance(text, float | int) else to_number(render_value(text, facts))
    if not math.isfinite(found):
        raise Undrawable(f"{what} of this job must be a number.")
    return float(found)


def boolean(text: bool | str, facts: Mapping[str, Any]) -> bool:
    """true, or a text that says so."""
    found = text if isinstance(text, bool) else render_value(text, facts)
    return found.strip().lower() == "true" if isinstance(found, str) else truthy(found)


def _concurrency(known: Concurrency | None, drawn: Drawn, facts: Mapping[str, Any]) -> Concurrency:
    rule = known or Concurrency("")
    if drawn.group:
        group = render(drawn.group, facts).strip().lower()
        if not group or len(group) >= MOST_GROUP:
            raise Undrawable(f"The concurrency group must have 1 to {MOST_GROUP - 1} characters.")
        rule = replace(rule, group=group)
    if drawn.cancel_in_progress:
        rule = replace(rule, cancel_in_progress=boolean(drawn.cancel_in_progress, facts))
    return rule


def _labels(rule: Labels, facts: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for text in rule.texts:
        value = render_value(text, facts)
        found += map(to_string, value) if isinstance(value, list | tuple) else [to_string(value)]
    if not any(found):
        raise Undrawable("The job names no runner: its labels are empty.")
    return found
