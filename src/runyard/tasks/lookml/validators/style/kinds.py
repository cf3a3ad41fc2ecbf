"""The checkers, one per kind of rule: each yields the offending entity, the node to point at, and what was
found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.validators.style.rule import Condition, Entity, Kind, Rule


@dataclass(frozen=True, slots=True)
class Offence:
    """`node` is where to look, `detail` what is wrong with this one."""

    entity: Entity
    node: Node
    detail: str


def offences(rule: Rule, entities: Iterable[Entity]) -> Iterator[Offence]:
    """Every violation of one rule."""
    if rule.kind is Kind.PATTERN_MATCH:
        return _patterns(rule, entities)
    if rule.kind is Kind.PROPERTY:
        return _properties(rule, entities)
    if rule.kind is Kind.UNIQUE:
        return _unique(rule, entities)
    return _order(rule, entities) if rule.kind is Kind.ORDER else _first(rule, entities)


def _concerned(rule: Rule, entities: Iterable[Entity]) -> Iterator[tuple[Entity, str]]:
    """(entity, parameter or "") for each selector that fits it."""
    selectors = [s.partition(".") for s in rule.select]
    kinds = {kind for kind, _, _ in selectors}
    for entity in entities:
        if entity.kind not in kinds or (entity.is_refinement and not rule.refinements):
            continue
        if all(_holds(condition, entity.node) for condition in rule.filters):
            for kind, _, parameter in selectors:
                if kind == entity.kind:
                    yield entity, parameter


def _holds(condition: Condition, node: Node) -> bool:
    """A condition on `block.a|b`: one of those parameters of that inner block is there."""
    inner, dot, names = condition.parameter.rpartition(".")
    if not dot:
        return condition.holds(node)
    blocks = list(node.all(inner))
    return (
        any(block.get(name) is not None for block in blocks for name in names.split("|"))
        is not condition.negative
    )


def _patterns(rule: Rule, entities: Iterable[Entity]) -> Iterator[Offence]:
    for entity, parameter in _concerned(rule, entities):
        node = entity.node.get(parameter) if parameter else entity.node
        if node is None or rule.pattern is None:
            continue
        value = node.value.removeprefix("+")
        if rule.pattern.found_in(value) is rule.negative:
            what = f'{parameter} "{_short(value)}"' if parameter else f'"{value}"'
            yield Offence(
                entity,
                node,
                f"{what} {'matches' if rule.negative else 'does not match'} {rule.pattern.source}",
            )


def _properties(rule: Rule, entities: Iterable[Entity]) -> Iterator[Offence]:
    wanted = Condition(rule.parameter, rule.pattern)
    for entity, _ in _concerned(rule, entities):
        if "." in rule.parameter:
            has = _holds(wanted, entity.node)
        else:
            has = any(Condition(p, rule.pattern).holds(entity.node) for p in rule.parameter.split("|"))
        if has is rule.negative:
            node = entity.node.get(rule.parameter) if rule.negative else None
            yield Offence(
                entity,
                node or entity.node,
                f"it has {'a' if rule.negative else 'no'} {rule.parameter.replace('|', ' or ')}",
            )


def _families(rule: Rule, entities: Iterable[Entity]) -> Iterator[list[Entity]]:
    """The concerned entities of each block, in order."""
    found: dict[Node, list[Entity]] = {}
    for entity, _ in _concerned(rule, entities):
        if entity.owner is not None:
            found.setdefault(entity.owner, []).append(entity)
    yield from found.values()


def _order(rule: Rule, entities: Iterable[Entity]) -> Iterator[Offence]:
    for family in _families(rule, entities):
        for before, after in pairwise(family):
            if after.node.value < before.node.value:
                yield Offence(after, after.node, f'"{after.node.value}" stands after "{before.node.value}"')


def _first(rule: Rule, entities: Iterable[Entity]) -> Iterator[Offence]:
    for family in _families(rule, entities):
        wanted, owner = family[0], family[0].owner
        first = next((n for n in owner.children if n.key == wanted.kind), None) if owner is not None else None
        if first is not None and first is not wanted.node:
            yield Offence(wanted, wanted.node, f'"{first.value}" stands before it')


def _unique(rule: Rule, entities: Iterable[Entity]) -> Iterator[Offence]:
    seen: dict[str, Node] = {}
    for entity, _ in _concerned(rule, entities):
        node = entity.node.get(rule.parameter) if rule.parameter else entity.node
        if node is None:
            continue
        first = seen.setdefault(" ".join(node.value.split()).lower(), node)
        if first is not node:
            yield Offence(entity, node, f'"{_short(node.value)}" is also at {first.file.path}:{first.line}')


def _short(text: str) -> str:
    clean = " ".join(text.split())
    return clean if len(clean) <= 60 else clean[:57] + "…"
