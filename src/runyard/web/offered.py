"""What a branch offers to be started by hand, what a job asks for, and what a person said in their forms.
Called by `starting` and routes; nothing here says HTML."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runyard.engine.reopening import INPUTS as GIVEN
from runyard.http.services import Principal, RunRequest, Services
from runyard.model.errors import Forbidden, Invalid, NotFound, Problem
from runyard.model.offer import Field, JobInputs, Kind, Offer
from runyard.model.plan import JobPlan, Variable
from runyard.model.trigger import Files, Trigger
from runyard.model.work import Attempt, Project
from runyard.syntax.variables import KEY

Makers = Mapping[str, Callable[[Trigger, Files], Sequence[Offer]]]
INPUT, VARIABLE, MORE, FORM = "input:", "variable:", "more", "form"
MOST_VARIABLES = 100


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch or tag as the form shows it. `may_start` is whether its protection lets this person."""

    name: str
    sha: str
    offers: Sequence[tuple[str, Offer]]  # with their dialects
    may_start: bool


async def branch(services: Services, makers: Makers, project: Project, person: Principal, ref: str) -> Branch:
    """NotFound for a ref that is not there."""
    name, sha, may_start, found = ref, "", False, []
    for dialect, make in makers.items():
        trigger, files = await services.draft(RunRequest(project, dialect, "web", person.user, ref))
        found += [(dialect, offer) for offer in await asyncio.to_thread(make, trigger, files)]
        name, sha = trigger.ref, trigger.commit.sha
        may_start = person.may_run_on(project, trigger.ref, trigger.tag)
    return Branch(name, sha, found, may_start)


def request(
    project: Project, person: Principal, there: Branch, form: Mapping[str, str], ref: str
) -> RunRequest:
    """What the form asks for. Invalid with every field that cannot be taken; the compiler judges the rest."""
    wanted = (form.get("dialect", ""), form.get("path", ""))
    offer = next((o for dialect, o in there.offers if (dialect, o.path) == wanted), None)
    if offer is None:
        raise NotFound("The branch does not offer this any more: load the page again.")
    if not there.may_start:
        raise Forbidden(f"{there.name} is protected: ask a maintainer to let you start runs there.")
    problems: list[Problem] = []
    inputs = _answers(offer.inputs, form, problems)
    told = [(field.name, _given(form, VARIABLE, field)) for field in offer.variables]
    variables = [Variable(name, text) for name, text in told if text is not None]
    if offer.takes_variables:
        variables += _more(form.get(MORE, ""), problems)
    if problems:
        raise Invalid(problems=problems)
    return RunRequest(
        project, wanted[0], offer.source, person.user, ref, variables=tuple(variables), inputs=inputs, options=offer.options
    )  # fmt: skip


def job_fields(asks: JobInputs | None, plan: JobPlan, attempt: Attempt) -> Sequence[Field]:
    """The job's questions, each with what it was given last."""
    given = attempt.extra.get(GIVEN, {})
    fields = asks.fields(plan) if asks else ()
    return [
        replace(field, default=_as_text(given[field.name])) if field.name in given else field
        for field in fields
    ]


def job_inputs(asks: JobInputs | None, plan: JobPlan, form: Mapping[str, str]) -> Mapping[str, Any]:
    """The answers of a job's form; none of a bare button, which leaves all as it is. Invalid for what the job
    does not take."""
    if asks is None or FORM not in form:
        return {}
    problems: list[Problem] = []
    answers = _answers(asks.fields(plan), form, problems)
    if problems:
        raise Invalid(problems=problems)
    return asks.read(plan, answers)


def job_variables(
    asks: JobInputs | None, plan: JobPlan, attempt: Attempt, form: Mapping[str, str]
) -> tuple[Variable, ...] | None:
    """What a job's form says of its variables; None of a bare button. Those of several lines, which the form
    cannot show, stay."""
    if asks is None or MORE not in form or not asks.takes_variables(plan):
        return None
    problems: list[Problem] = []
    told = _more(form[MORE], problems)
    if problems:
        raise Invalid(problems=problems)
    names = {variable.key for variable in told}
    kept = [v for v in attempt.variables if "\n" in v.value and v.key not in names]
    return (*kept, *told)


def job_lines(asks: JobInputs | None, plan: JobPlan, attempt: Attempt) -> str | None:
    """The variables that the job was given last, one a line; None where it takes none."""
    if asks is None or not asks.takes_variables(plan):
        return None
    return "\n".join(f"{v.key}={v.value}" for v in attempt.variables if "\n" not in v.value)


def _answers(fields: Sequence[Field], form: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    found = {}
    for field in fields:
        text = _given(form, INPUT, field)
        if text or (text is not None and field.kind is Kind.TEXT):
            found[field.name] = _value(field, text, problems)
    return found


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _given(form: Mapping[str, str], prefix: str, field: Field) -> str | None:
    """None: not asked, so the default holds."""
    if field.kind is Kind.SWITCH:  # a browser leaves out what is not ticked
        return "true" if form.get(prefix + field.name) == "true" else "false"
    text = form.get(prefix + field.name)
    return None if text is None else text.replace("\r\n", "\n")


def _value(field: Field, text: str, problems: list[Problem]) -> Any:
    if field.kind is not Kind.LIST:
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        problems.append(Problem(f'{field.name}: write an array as JSON, like ["a", "b"]'))
    return found


def _more(text: str, problems: list[Problem]) -> list[Variable]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or not KEY.fullmatch(key.strip()):
            problems.append(
                Problem(f"more variables, line {number}: write KEY=value, with letters, digits and _")
            )
        found.append(Variable(key.strip(), value))
    if len(found) > MOST_VARIABLES:
        problems.append(Problem(f"more variables: at most {MOST_VARIABLES}"))
    return found
