"""What a person who starts something by hand is asked for. A pipeline: `spec:inputs`, and the global
variables that have a `description` (GitLab's "Run pipeline" page prefills just those: doc/ci/pipelines,
"Prefill variables in manual pipelines"). A job: its own `inputs`. Called by the dialect."""

from __future__ import annotations

import json
from collections.abc import Sequence

from runyard.dialects.gitlab.config.compile import asked, config_path
from runyard.dialects.gitlab.config.inputs import InputSpec
from runyard.dialects.gitlab.config.jobinputs import known_of, taken
from runyard.model.offer import Field, JobInputs, Kind, Offer
from runyard.model.plan import JobPlan, When
from runyard.model.trigger import Files, Trigger
from runyard.syntax.yamltree import Mapping, Node, Scalar, YamlError, to_plain
from runyard.syntax.yamltree import Sequence as Items

_KINDS = {"number": Kind.NUMBER, "boolean": Kind.SWITCH, "array": Kind.LIST}


def offers(trigger: Trigger, files: Files) -> Sequence[Offer]:
    """One, where there is a configuration. A broken one is offered without questions, so that starting it
    says what is wrong."""
    path = config_path(trigger.project)
    found = asked(trigger, files)
    if found is None:
        return ()
    specs, root = found
    variables = root.get("variables") if root is not None else None
    described = tuple(_described(variables)) if isinstance(variables, Mapping) else ()
    return (Offer(path, "web", "", {}, tuple(map(_input, specs.values())), described, takes_variables=True),)


def _input(spec: InputSpec) -> Field:
    default = _written(spec.default)
    return _field(spec.name, spec.type, default, spec.description, spec.options, spec.default is None)


def _job_fields(plan: JobPlan) -> Sequence[Field]:
    return [
        _field(name, about["type"], _as_text(about["default"]), about["description"], tuple(about["options"]))
        for name, about in known_of(plan).items()
    ]


def _is_manual(plan: JobPlan) -> bool:
    """GitLab asks for variables where a person starts the job (doc/ci/jobs: "Specify variables when running
    manual jobs")."""
    return plan.gate.when is When.MANUAL


JOB_INPUTS = JobInputs(_job_fields, taken, _is_manual)


def _field(
    name: str, type: str, default: str, description: str, options: tuple[str, ...], required: bool = False
) -> Field:
    kind = Kind.CHOICE if options and type != "array" else _KINDS.get(type, Kind.TEXT)
    return Field(name, kind, default, description, options, required)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _written(node: Node | None) -> str:
    if isinstance(node, Scalar):
        return node.text
    try:
        return "" if node is None else _as_text(to_plain(node))
    except YamlError:
        return ""


def _described(variables: Mapping) -> list[Field]:
    found = []
    for key, entry in variables.entries.items():
        config = entry.value
        if not isinstance(config, Mapping) or not isinstance(said := config.get("description"), Scalar):
            continue
        value, options = config.get("value"), config.get("options")
        texts = (
            tuple(o.text for o in options.items if isinstance(o, Scalar))
            if isinstance(options, Items)
            else ()
        )
        kind = Kind.CHOICE if texts else Kind.TEXT
        found.append(Field(key, kind, value.text if isinstance(value, Scalar) else "", said.text, texts))
    return found
