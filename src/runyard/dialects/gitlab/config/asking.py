"""What a pipeline that a person starts by hand is asked for: `spec:inputs`, and the global variables that have a `description` (GitLab's "Run pipeline"
page prefills just those: doc/ci/pipelines, "Prefill variables in manual pipelines"). Called by the dialect."""

from __future__ import annotations

import json
from collections.abc import Sequence

from runyard.dialects.gitlab.config.compile import asked, config_path
from runyard.dialects.gitlab.config.inputs import InputSpec
from runyard.model.offer import Field, Kind, Offer
from runyard.model.trigger import Files, Trigger
from runyard.syntax.yamltree import Mapping, Node, Scalar, YamlError, to_plain
from runyard.syntax.yamltree import Sequence as Items

_KINDS = {"number": Kind.NUMBER, "boolean": Kind.SWITCH, "array": Kind.LIST}


def offers(trigger: Trigger, files: Files) -> Sequence[Offer]:
    """One, where there is a configuration. A broken one is offered without questions, so that starting it says what is wrong."""
    path = config_path(trigger.project)
    found = asked(trigger, files)
    if found is None:
        return ()
    specs, root = found
    variables = root.get("variables") if root is not None else None
    described = tuple(_described(variables)) if isinstance(variables, Mapping) else ()
    return (Offer(path, "web", "", {}, tuple(map(_input, specs.values())), described, takes_variables=True),)


def _input(spec: InputSpec) -> Field:
    kind = Kind.CHOICE if spec.options and spec.type != "array" else _KINDS.get(spec.type, Kind.TEXT)
    default = _written(spec.default)
    return Field(spec.name, kind, default, spec.description, spec.options, required=spec.default is None)


def _written(node: Node | None) -> str:
    if isinstance(node, Scalar):
        return node.text
    try:
        return "" if node is None else json.dumps(to_plain(node), ensure_ascii=False)
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
