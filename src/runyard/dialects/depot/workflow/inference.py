"""What an expression gives, and what is wrong with it although it can be read: properties that do not exist,
objects used as texts, arguments of other kinds. Called by `lint`; every complaint is a sentence, an offset in
the expression and a hint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runyard.dialects.depot.workflow.findings import nearest
from runyard.dialects.depot.workflow.value_shapes import (
    ANY,
    BOOLEAN,
    NULL,
    STRING,
    Shape,
    array,
    merged,
    of_value,
)
from runyard.syntax.expressions.parser import Call, Chain, Compare, Index, Literal, Name, Node, Not, Star

_SLOT = re.compile(r"\{\{|\}\}|\{(\d+)\}")
_STEP_STATUS = frozenset(("success", "failure"))


@dataclass(slots=True)
class Inference:
    """One expression in its place: `contexts` by name. Complaints are collected as (message, offset,
    hint)."""

    contexts: Mapping[str, Shape]
    complaints: list[tuple[str, int, str]] = field(default_factory=list)

    def say(self, message: str, node: Node, hint: str = "") -> Shape:
        """Notes a complaint; what is wrong once is not judged again, so its shape is any."""
        self.complaints.append((message, node.offset, hint))
        return ANY

    def of(self, node: Node) -> Shape:
        """The shape of a tree."""
        match node:
            case Literal():
                return of_value(node.value) if node.value is not None else NULL
            case Name():
                return self.contexts.get(node.name.lower(), ANY)
            case Index():
                return self._index(node)
            case Star():
                return self._star(node)
            case Call():
                return self._call(node)
            case Not():
                self.of(node.of)
                return BOOLEAN
            case Compare():
                return self._compare(node)
            case Chain():
                return merged([self.of(member) for member in node.members])

    def _index(self, node: Index) -> Shape:
        of = self.of(node.of)
        if isinstance(node.key, Literal) and isinstance(node.key.value, str):
            return self._property(node, of, node.key.value)
        self.of(node.key)
        match of.kind:
            case "array":
                return of.item or ANY
            case "object":
                return merged(filter(None, (of.rest, *of.known.values())))
            case "any":
                return ANY
            case _:
                return self.say(f"{shown(node.of)} is a {of.kind}, which has no members", node)

    def _property(self, node: Index, of: Shape, name: str) -> Shape:
        if of.kind == "any":
            return ANY
        if of.kind == "array" and of.filtered:
            inner = of.item or ANY
            return array(self._property(node, inner, name) if inner.kind == "object" else ANY, filtered=True)
        if of.kind == "object":
            found = of.known.get(name.lower(), of.rest)
            if found is None:
                hint = nearest(name, of.known) or (
                    "there are " + ", ".join(sorted(of.known)) if 0 < len(of.known) <= 8 else ""
                )
                return self.say(f"{shown(node.of)} has no property '{name}'", node.key, hint)
            return found
        what = "an array" if of.kind == "array" else f"a {of.kind}"
        return self.say(f"{shown(node.of)} is {what}, which has no property '{name}'", node.key)

    def _star(self, node: Star) -> Shape:
        of = self.of(node.of)
        match of.kind:
            case "array":
                inner = of.item or ANY
                return array(
                    inner.item or ANY if of.filtered and inner.kind == "array" else inner, filtered=True
                )
            case "object":
                return array(merged(filter(None, (of.rest, *of.known.values()))), filtered=True)
            case "any":
                return array(ANY, filtered=True)
            case _:
                return self.say(f"{shown(node.of)} is a {of.kind}, which has no members", node)

    def _compare(self, node: Compare) -> Shape:
        left, right = self.of(node.left), self.of(node.right)
        for one, other, side in ((left, right, node.left), (right, left, node.right)):
            if one.kind in ("object", "array") and other.kind in ("string", "number", "boolean"):
                self.say(
                    f"{shown(side)} is an {one.kind}: compared with a {other.kind} it is never equal", side
                )
                break
        return BOOLEAN

    def _call(self, node: Call) -> Shape:
        shapes = [self.of(argument) for argument in node.arguments]
        match node.name:
            case "contains":
                if shapes[0].kind == "object":
                    self.say(
                        f"{shown(node.arguments[0])} is an object; contains() looks in texts and arrays",
                        node.arguments[0],
                    )
                return BOOLEAN
            case "startswith" | "endswith":
                self._texts(node, shapes)
                return BOOLEAN
            case "format":
                self._format(node, shapes)
                return STRING
            case "join":
                if shapes[0].kind == "object":
                    self.say(
                        f"{shown(node.arguments[0])} is an object; join() takes an array", node.arguments[0]
                    )
                return STRING
            case "fromjson":
                return self._from_json(node, shapes)
            case "tojson" | "hashfiles":
                return STRING
            case "case":
                return merged([*shapes[1:-1:2], shapes[-1]]) if shapes else ANY
            case _:
                return BOOLEAN

    def _texts(self, node: Call, shapes: list[Shape]) -> None:
        for argument, shape in zip(node.arguments, shapes, strict=True):
            if not shape.is_text and shape.kind != "null":
                self.say(f"{shown(argument)} is an {shape.kind}; {node.spelled}() takes texts", argument)

    def _format(self, node: Call, shapes: list[Shape]) -> None:
        first = node.arguments[0]
        for argument, shape in zip(node.arguments[1:], shapes[1:], strict=True):
            if shape.kind in ("object", "array"):
                self.say(
                    f"{shown(argument)} is an {shape.kind}, of which format() makes '{shape.kind.title()}'",
                    argument,
                    "toJSON() shows it",
                )
        if not (isinstance(first, Literal) and isinstance(first.value, str)):
            return
        used = {int(match[1]) for match in _SLOT.finditer(first.value) if match[1]}
        given = len(node.arguments) - 1
        for number in sorted(used):
            if number >= given:
                self.say(f"the format has a place {{{number}}}, but only {given} arguments are given", node)
        for number in range(given):
            if number not in used:
                self.say(
                    f"the format has no place {{{number}}} for an argument that is given",
                    node.arguments[number + 1],
                )

    def _from_json(self, node: Call, shapes: list[Shape]) -> Shape:
        if not shapes[0].is_text and shapes[0].kind != "null":
            return self.say(
                f"{shown(node.arguments[0])} is an {shapes[0].kind}; fromJSON() takes a text",
                node.arguments[0],
            )
        argument = node.arguments[0]
        if not (isinstance(argument, Literal) and isinstance(argument.value, str)):
            return ANY
        try:
            return of_value(json.loads(argument.value))
        except (ValueError, RecursionError):
            return self.say("fromJSON() is given a text that is not JSON", argument)


def shown(node: Node) -> str:
    """A context path as it is written; any other expression as such."""
    match node:
        case Name():
            return f"`{node.name}`"
        case Index(of=of, key=Literal(value=str() as key)):
            inner = shown(of)
            return f"`{inner.strip('`')}.{key}`" if inner.startswith("`") else inner
        case Index(of=of):
            inner = shown(of)
            return f"`{inner.strip('`')}[…]`" if inner.startswith("`") else inner
        case Star(of=of):
            inner = shown(of)
            return f"`{inner.strip('`')}.*`" if inner.startswith("`") else inner
        case Call():
            return f"{node.spelled}()"
        case _:
            return "this value"


def flowing(node: Node) -> list[Node]:
    """The context paths whose text becomes part of what the expression gives: not those that are only
    compared or looked into."""
    match node:
        case Index() | Star() | Name():
            return [node]
        case Call(name="tojson" | "format" | "join" | "fromjson" | "case"):
            return [found for argument in node.arguments for found in flowing(argument)]
        case Chain():
            return [found for member in node.members for found in flowing(member)]
        case _:
            return []
