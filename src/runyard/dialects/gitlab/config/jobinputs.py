"""`inputs` of one job (GitLab 18.10): typed values with a default, which whoever plays or retries the job may
change.

Called by the job reader, jobplan and the routes that take values. `${{ job.inputs.NAME }}` may stand in
scripts, artifacts, cache, image and services of a job that has inputs; without any such text means itself, as
in GitLab. Of GitLab's expressions there only plain names are served.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from runyard.dialects.gitlab.config.findings import Place, nearest
from runyard.dialects.gitlab.config.inputs import InputSpec, node_of, problem_of, read_input
from runyard.dialects.gitlab.config.scope import input_pieces
from runyard.model.errors import Invalid
from runyard.model.plan import JobPlan
from runyard.syntax.patterns import compile as compile_pattern
from runyard.syntax.yamltree import Mapping as MappingNode
from runyard.syntax.yamltree import Mark, Node, Scalar, to_plain, walk

MAX_INPUTS = 50
TAKING = ("script", "before_script", "after_script", "artifacts", "cache", "image", "services")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_KEYS = ("type", "default", "description", "options", "regex")
_NOWHERE = Mark(0, 0, "")


def job_inputs(node: Node, place: Place) -> dict[str, InputSpec]:
    """`inputs` of a job; every one has a default, because nobody is asked when a pipeline runs by itself."""
    if not isinstance(node, MappingNode):
        place.wrong(node.at, "should be a hash")
        return {}
    if len(node.entries) > MAX_INPUTS:
        place.wrong(node.at, f"is too long (maximum is {MAX_INPUTS})")
        return {}
    found = {}
    for name, entry in node.entries.items():
        if not _NAME.fullmatch(name):
            place.wrong(entry.key.at, f"has an invalid name: {name[:60]!r}", "letters, digits and `_` only")
            continue
        spec = read_input(name, entry, place.sub(name), _KEYS)
        if spec is not None and spec.default is None:
            place.sub(name).wrong(entry.key.at, "input must have a default value")
        elif spec is not None:
            found[name] = spec
    return found


def check_references(
    taking: Iterable[tuple[Node, Place]], inputs: Mapping[str, InputSpec], place: Place
) -> None:
    """Every `${{ }}` of a job with inputs names one of them."""
    for node, mine in taking:
        for text in walk(node):
            if not isinstance(text, Scalar) or "${{" not in text.text:
                continue
            for literal, name in input_pieces(text.text):
                if name and name not in inputs:
                    place.error(
                        text.at,
                        f"{mine.path}: unknown job input: `{name[:60]}`",
                        nearest(name, inputs),
                    )
                elif not name and "${{" in literal and "\\${{" not in text.text:
                    hint = "write `\\${{` for the signs themselves"
                    place.error(
                        text.at, f"{mine.path}: only `job.inputs.NAME` is known in `${{{{ }}}}`", hint
                    )


def told(inputs: Mapping[str, InputSpec]) -> dict[str, Any]:
    """What the plan keeps of them, JSON-able."""
    return {
        name: {
            "type": spec.type,
            "default": to_plain(spec.default) if spec.default is not None else None,
            "options": list(spec.options),
            "regex": spec.pattern.source if spec.pattern else "",
            "description": spec.description,
        }
        for name, spec in inputs.items()
    }


def known_of(plan: JobPlan) -> Mapping[str, Mapping[str, Any]]:
    """A planned job's inputs, as `told` keeps them."""
    found: Mapping[str, Mapping[str, Any]] = plan.extra.get("gitlab", {}).get("inputs") or {}
    return found


def taken(plan: JobPlan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a job's inputs, or Invalid; an array may come as JSON, a number or boolean as text."""
    known, values = known_of(plan), {}
    for name, value in given.items():
        about = known.get(name)
        if about is None:
            raise Invalid(f"unknown input: {name[:80]}")
        read = _typed(about["type"], value)
        pattern = compile_pattern(about["regex"]) if about["regex"] else None
        spec = InputSpec(name, _NOWHERE, about["type"], None, tuple(about["options"]), pattern)
        if problem := problem_of(spec, node_of(read, _NOWHERE), spec.options, "provided value"):
            raise Invalid(f"`{name}` input: {problem}")
        values[name] = read
    return values


def _typed(kind: str, value: Any) -> Any:
    if kind == "string" or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def filled(value: Any, texts: Mapping[str, str]) -> Any:
    """A payload's part with the inputs' texts in place, for runners that know nothing of inputs."""
    if isinstance(value, str):
        return "".join(literal + texts.get(name, "") for literal, name in input_pieces(value))
    if isinstance(value, Mapping):
        return {key: filled(one, texts) for key, one in value.items()}
    return [filled(one, texts) for one in value] if isinstance(value, list | tuple) else value


__all__ = ["TAKING", "check_references", "filled", "job_inputs", "known_of", "taken", "told"]
