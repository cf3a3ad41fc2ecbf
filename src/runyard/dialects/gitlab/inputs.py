"""Variables that clients give to pipelines and jobs, in every form they send them. Called by routes of
pipelines, jobs and triggers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from runyard.dialects.gitlab.asking import Parameters
from runyard.dialects.gitlab.config.jobinputs import taken
from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors
from runyard.model.plan import JobPlan, Variable

MOST = 500
MOST_INPUTS = 100
VALUE_BYTES = 128 << 10  # execve refuses longer strings
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def pipeline_variables(parameters: Parameters) -> tuple[Variable, ...]:
    """`variables: [{key, value, variable_type}]`; a map is taken too, as curl users write it."""
    given = parameters.values.get("variables")
    if given is None or given == "":
        return ()
    if isinstance(given, Mapping):
        items: list[Any] = [{"key": key, "value": value} for key, value in given.items()]
    elif isinstance(given, list):
        items = given
    else:
        raise BadParameter("variables is invalid")
    if len(items) > MOST:
        raise BadParameter(f"variables may have at most {MOST} entries")
    variables = tuple(_variable(item) for item in items)
    if twice := [key for key, times in Counter(one.key for one in variables).items() if times > 1]:
        plural = "s" if len(twice) > 1 else ""
        raise FieldErrors("base", [f"Duplicate variable name{plural}: {', '.join(twice)}"])
    return variables


def pipeline_inputs(parameters: Parameters) -> dict[str, Any]:
    """`inputs: {name: value}`; values are texts, numbers, booleans or lists. The compiler says whether the
    configuration knows them."""
    given = parameters.values.get("inputs")
    if given is None or given == "":
        return {}
    if not isinstance(given, Mapping) or len(given) > MOST_INPUTS:
        raise BadParameter("inputs is invalid")
    return dict(given)


def job_variables(parameters: Parameters) -> tuple[Variable, ...]:
    """`job_variables_attributes`. python-gitlab's own `play(job_variables_attributes=…)` garbles it into
    texts, which are ignored (contract §1.3)."""
    given = parameters.values.get("job_variables_attributes")
    items = list(given.values()) if isinstance(given, Mapping) else given if isinstance(given, list) else []
    return tuple(_variable(item) for item in items[:MOST] if isinstance(item, Mapping))


def job_inputs(parameters: Parameters, plan: JobPlan) -> dict[str, Any]:
    """`job_inputs: {name: value}` of play and retry, as the job's own `inputs` allow them."""
    given = parameters.values.get("job_inputs")
    if given is None or given == "":
        return {}
    if not isinstance(given, Mapping) or len(given) > MOST_INPUTS:
        raise BadParameter("job_inputs is invalid")
    return taken(plan, given)


def _variable(item: object) -> Variable:
    if not isinstance(item, Mapping):
        raise BadParameter("variables is invalid")
    key, value = item.get("key"), item.get("value", item.get("secret_value"))
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise BadParameter("variables[key] is invalid")
    if isinstance(value, bool):
        value = str(value).lower()
    if value is not None and not isinstance(value, str | int | float):
        raise BadParameter("variables[value] is invalid")
    text = "" if value is None else str(value)
    if len(text.encode("utf-8", "surrogatepass")) > VALUE_BYTES or "\x00" in text:
        raise BadParameter("variables[value] is invalid")
    kind = item.get("variable_type", "env_var")
    if kind not in ("env_var", "file"):
        raise BadParameter("variables[variable_type] does not have a valid value")
    return Variable(key, text, file=kind == "file", raw=item.get("raw") is True)
