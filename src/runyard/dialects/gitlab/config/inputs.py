"""`spec:inputs`: what a configuration asks of whoever includes or runs it, and the values it gets (gitlab.md
§3.6).

Called by the loader for every file with a `spec:` header. Values are nodes, so that an array keeps its
places; sentences are GitLab's.
"""

import json
from collections.abc import Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from typing import Any

from runyard.dialects.gitlab.config import fields
from runyard.dialects.gitlab.config.expression import Expression, ExpressionError, parse
from runyard.dialects.gitlab.config.findings import Findings, Place, nearest
from runyard.dialects.gitlab.config.interpolation import CLOSE, OPEN
from runyard.syntax.patterns import Pattern, PatternError
from runyard.syntax.patterns import compile as compile_pattern
from runyard.syntax.yamltree import Entry, Mapping, Mark, Node, Scalar, Sequence, to_plain

MAX_INPUTS = 20
MAX_OPTIONS = 50
MAX_VALUE_BYTES = 1 << 20
TYPES = ("string", "number", "boolean", "array")
COMPONENT = ("name", "sha", "version", "reference")
_KEYS = ("type", "default", "description", "options", "regex", "rules")


@dataclass(frozen=True, slots=True)
class InputRule:
    """One of `rules` (18.7): when it holds, its options and default count."""

    condition: Expression | None
    names: Dict[str, str]  # variable in the expression → input
    options: tuple[str, ...] = ()
    default: Node | None = None


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input. `options` are compared as texts; `default` None: it is required."""

    name: str
    at: Mark
    type: str = "string"
    default: Node | None = None
    options: tuple[str, ...] = ()
    pattern: Pattern | None = None
    rules: tuple[InputRule, ...] = ()
    description: str = ""


def read_inputs(node: Node | None, out: Findings) -> dict[str, InputSpec]:
    """`spec:inputs`."""
    place = Place("spec:inputs", out)
    if node is None or fields.is_null(node):
        return {}
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a hash")
        return {}
    found = {}
    for name, entry in node.entries.items():
        spec = read_input(name, entry, place.sub(name))
        if spec is not None:
            found[name] = spec
    return found


def read_input(name: str, entry: Entry, place: Place, keys: tuple[str, ...] = _KEYS) -> InputSpec | None:
    """One input; None after a problem."""
    spec = InputSpec(name, entry.key.at)
    if fields.is_null(entry.value):
        return spec
    found = fields.mapping(entry.value, place, keys)
    if found is None:
        return None
    get = found.get
    kind, options, regex, rules = get("type"), get("options"), get("regex"), get("rules")
    described = get("description")
    spec = replace(
        spec,
        type=(fields.choice(kind, place.sub("type"), TYPES) if kind else None) or "string",
        default=get("default"),
        options=_options(options, place) if options else (),
        pattern=_pattern(regex, place) if regex else None,
        rules=_rules(rules, place.sub("rules")) if rules else (),
        description=described.text if isinstance(described, Scalar) else "",
    )
    if spec.default is not None and (
        problem := problem_of(spec, spec.default, spec.options, "default value")
    ):
        place.out.error(spec.default.at, f"`{name}` input: {problem}")
    return spec


def _options(node: Node, place: Place) -> tuple[str, ...]:
    items = node.items if isinstance(node, Sequence) else ()
    texts = tuple(item.text for item in items if isinstance(item, Scalar))
    if not texts or len(texts) != len(items) or len(texts) > MAX_OPTIONS:
        place.sub("options").wrong(node.at, f"should be an array of 1 to {MAX_OPTIONS} values")
    return texts


def _pattern(node: Node, place: Place) -> Pattern | None:
    text = fields.text(node, place.sub("regex"))
    try:
        return compile_pattern(text) if text is not None else None
    except PatternError as error:
        place.sub("regex").wrong(node.at, f"is not a regular expression: {error}")
        return None


def _rules(node: Node, place: Place) -> tuple[InputRule, ...]:
    found = []
    for item in fields.sequence(node, place, "should be an array of hashes") or ():
        rule = fields.mapping(item, place.sub("rule"), ("if", "options", "default"))
        if rule is None:
            continue
        condition, options = rule.get("if"), rule.get("options")
        parsed, names = _condition(condition, place.sub("rule:if")) if condition else (None, {})
        listed = _options(options, place.sub("rule")) if options else ()
        found.append(InputRule(parsed, names, listed, rule.get("default")))
    return tuple(found)


def _condition(node: Node, place: Place) -> tuple[Expression | None, dict[str, str]]:
    """An expression over other inputs: `$[[ inputs.cloud ]] == "aws"`."""
    text = fields.text(node, place) or ""
    names: dict[str, str] = {}
    while OPEN in text and CLOSE in text[text.index(OPEN) :]:
        start = text.index(OPEN)
        end = text.index(CLOSE, start)
        variable = f"input{len(names)}"
        names[variable] = text[start + len(OPEN) : end].strip().removeprefix("inputs.")
        text = f"{text[:start]}${variable}{text[end + len(CLOSE) :]}"
    try:
        return parse(text), names
    except ExpressionError as error:
        place.wrong(node.at, f"has invalid expression syntax: {error}")
        return None, names


def settled(
    specs: Dict[str, InputSpec], given: Dict[str, Node], at: Mark, owner: str, out: Findings
) -> dict[str, Node]:
    """A value for every input; what is missing, unknown or not allowed is noted at `at`, in the name of the
    file `owner`."""
    prefix = f"`{owner}`: " if owner else ""
    if unknown := [name for name in given if name not in specs]:
        hint = nearest(unknown[0], specs)
        where = given[unknown[0]].at
        out.error(
            where if where.line else at, f"{prefix}unknown input arguments: {', '.join(unknown[:10])}", hint
        )
    values: dict[str, Node] = {}
    for name, spec in specs.items():
        options, default = _by_rules(spec, values, given)
        value = given.get(name, default)
        if value is None:
            out.error(at, f"{prefix}`{name}` input: required value has not been provided")
            continue
        if name in given and (problem := problem_of(spec, value, options, "provided value")):
            out.error(value.at if value.at.line else at, f"{prefix}`{name}` input: {problem}")
        values[name] = value
    return values


def _by_rules(
    spec: InputSpec, values: Dict[str, Node], given: Dict[str, Node]
) -> tuple[tuple[str, ...], Node | None]:
    """Options and default as the first rule that holds has them."""
    known = {**values, **given}
    for rule in spec.rules:
        texts = {
            variable: value.text
            for variable, name in rule.names.items()
            if isinstance(value := known.get(name), Scalar)
        }
        if rule.condition is None or rule.condition.holds(texts):
            return rule.options or spec.options, rule.default if rule.default is not None else spec.default
    return spec.options, spec.default


def problem_of(spec: InputSpec, value: Node, options: tuple[str, ...], what: str) -> str:
    """What is wrong with a value; nothing when it fits."""
    if not _fits(spec.type, value):
        return f"{what} is not a{'n' if spec.type == 'array' else ''} {spec.type}"
    if not isinstance(value, Scalar):
        return ""
    if len(value.text) > MAX_VALUE_BYTES:
        return f"{what} is too long (maximum is {MAX_VALUE_BYTES} bytes)"
    if options and value.text not in options:
        return f"`{value.text[:80]}` cannot be used because it is not in the list of allowed options"
    if spec.pattern is not None and not spec.pattern.found_in(value.text):
        return f"{what} does not match required RegEx pattern"
    return ""


def _fits(kind: str, value: Node) -> bool:
    if kind == "array":
        return isinstance(value, Sequence)
    if not isinstance(value, Scalar) or value.value is None:
        return False
    is_flag = isinstance(value.value, bool)
    match kind:
        case "boolean":
            return is_flag
        case "number":
            return not is_flag and isinstance(value.value, int | float)
        case _:
            return isinstance(value.value, str)


def nodes_of(values: Dict[str, Any], at: Mark) -> dict[str, Node]:
    """Plain values, as an API gives them, as nodes."""
    return {str(name): node_of(value, at) for name, value in values.items()}


def node_of(value: Any, at: Mark) -> Node:
    """One plain value as a node; what JSON has no word for becomes its text."""
    if isinstance(value, dict):
        return Mapping(
            at,
            {
                str(k): Entry(Scalar(at, str(k), str(k), plain=False), node_of(v, at))
                for k, v in value.items()
            },
        )
    if isinstance(value, list | tuple):
        return Sequence(at, tuple(node_of(item, at) for item in value))
    if value is None or isinstance(value, bool):
        return Scalar(at, value, json.dumps(value), plain=True)
    if isinstance(value, int | float):
        return Scalar(at, value, json.dumps(value), plain=True)
    return Scalar(at, str(value), str(value), plain=False)


def component_values(asked: Iterable[str], facts: Dict[str, str], at: Mark) -> dict[str, Node]:
    """`$[[ component.x ]]` for the facts that `spec:component` asks for."""
    return {name: Scalar(at, facts.get(name, ""), facts.get(name, ""), plain=False) for name in asked}


__all__ = [
    "COMPONENT",
    "MAX_INPUTS",
    "InputSpec",
    "component_values",
    "node_of",
    "nodes_of",
    "problem_of",
    "read_input",
    "read_inputs",
    "settled",
    "to_plain",
]
