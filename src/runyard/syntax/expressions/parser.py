"""Tokens to a tree; precedence and legality after the Actions runner's parser.

`parse(text)` is cached by text, so a plan's conditions are read once. The tree is immutable and knows which
contexts and functions it names, so a caller can refuse them before anything runs. `||` and `&&` are n-ary, as
in the runner, so that long chains cost no depth; everything else is bounded by `MAX_DEPTH`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from runyard.syntax.expressions.errors import MAX_DEPTH, ExpressionError
from runyard.syntax.expressions.lexer import Kind, Token, tokens, unexpected


@dataclass(frozen=True, slots=True)
class Literal:
    """null, a boolean, a number or a string."""

    value: bool | float | str | None
    offset: int


@dataclass(frozen=True, slots=True)
class Name:
    """A context: the root of every dereference."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Index:
    """`of.key`, `of['key']` or `of[expr]`."""

    of: Node
    key: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Star:
    """`of.*` or `of[*]`."""

    of: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments; `name` in lower case."""

    name: str
    spelled: str
    arguments: tuple[Node, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Not:
    """`!of`."""

    of: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Compare:
    """One of `== != < <= > >=`."""

    operator: str
    left: Node
    right: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Chain:
    """`a && b && …` or `a || b || …`."""

    operator: str
    members: tuple[Node, ...]
    offset: int


Node: TypeAlias = Literal | Name | Index | Star | Call | Not | Compare | Chain

_BINDING = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4}
_ARITY: dict[str, tuple[int, int]] = {
    "contains": (2, 2),
    "startswith": (2, 2),
    "endswith": (2, 2),
    "format": (1, 255),
    "join": (1, 2),
    "tojson": (1, 1),
    "fromjson": (1, 1),
    "case": (3, 255),
    "hashfiles": (1, 255),
    "always": (0, 0),
    "cancelled": (0, 0),
    "success": (0, 255),
    "failure": (0, 255),
}


@lru_cache(maxsize=1024)
def parse(text: str) -> Node:
    """The tree of one bare expression."""
    return _Parser(text).whole()


class _Parser:
    """Precedence climbing with one depth counter for recursion and one for the tree."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0
        self.nested = 0

    def whole(self) -> Node:
        node, _ = self.expression(0)
        if self.peek().kind is not Kind.END:
            raise self.unexpected()
        return node

    def peek(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def takes(self, mark: str) -> bool:
        token = self.peek()
        if token.kind is Kind.MARK and token.text == mark:
            self.at += 1
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.takes(mark):
            raise self.unexpected()

    def unexpected(self) -> ExpressionError:
        token = self.peek()
        if token.kind is Kind.END:
            return unexpected("Unexpected end of expression", "", token.offset, self.text)
        return unexpected("Unexpected symbol", token.text, token.offset, self.text)

    def bounded(self, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"Exceeded max expression depth {MAX_DEPTH}", self.peek().offset)
        return depth

    def expression(self, floor: int) -> tuple[Node, int]:
        """The longest expression whose operators bind tighter than `floor`, and its depth."""
        self.nested += 1
        self.bounded(self.nested)
        node, depth = self.unary()
        while (token := self.peek()).kind is Kind.MARK and _BINDING.get(token.text, 0) > floor:
            binding = _BINDING[token.text]
            if binding <= 2:
                members = [node]
                while self.takes(token.text):
                    right, below = self.expression(binding)
                    members.append(right)
                    depth = max(depth, below)
                node, depth = Chain(token.text, tuple(members), token.offset), self.bounded(depth + 1)
            else:
                self.at += 1
                right, below = self.expression(binding)
                node = Compare(token.text, node, right, token.offset)
                depth = self.bounded(max(depth, below) + 1)
        self.nested -= 1
        return node, depth

    def unary(self) -> tuple[Node, int]:
        marks: list[Token] = []
        while (token := self.peek()).kind is Kind.MARK and token.text == "!":
            marks.append(self.take())
        node, depth = self.postfix()
        for mark in reversed(marks):
            node, depth = Not(node, mark.offset), self.bounded(depth + 1)
        return node, depth

    def postfix(self) -> tuple[Node, int]:
        bare = self.peek().text != "("  # of a literal in brackets a property may be asked; there is none
        node, depth = self.atom()
        if bare and isinstance(node, Literal):
            return node, depth
        while True:
            token = self.peek()
            if self.takes("."):
                node = self.after_dot(node)
            elif self.takes("["):
                if self.takes("*"):
                    node = Star(node, token.offset)
                else:
                    key, below = self.expression(0)
                    depth = max(depth, below)
                    node = Index(node, key, token.offset)
                self.expect("]")
            else:
                return node, depth
            depth = self.bounded(depth + 1)

    def after_dot(self, node: Node) -> Node:
        token = self.peek()
        if self.takes("*"):
            return Star(node, token.offset)
        if token.kind is not Kind.PROPERTY:
            raise self.unexpected()
        self.at += 1
        return Index(node, Literal(token.text, token.offset), token.offset)

    def atom(self) -> tuple[Node, int]:
        token = self.peek()
        if token.kind is Kind.LITERAL:
            self.at += 1
            value = token.value
            assert value is None or isinstance(value, bool | float | str)  # noqa: S101 - the promise of the lexer
            return Literal(value, token.offset), 1
        if token.kind is Kind.NAME:
            self.at += 1
            if self.takes("("):
                return self.call(token)
            return Name(token.text, token.offset), 1
        if self.takes("("):
            node, depth = self.expression(0)
            self.expect(")")
            return node, depth
        raise self.unexpected()

    def call(self, name: Token) -> tuple[Node, int]:
        arguments: list[Node] = []
        depth = 0
        if not self.takes(")"):
            while True:
                node, below = self.expression(0)
                arguments.append(node)
                depth = max(depth, below)
                if self.takes(")"):
                    break
                self.expect(",")
        lowered = name.text.lower()
        self.check_arity(lowered, name, len(arguments))
        return Call(lowered, name.text, tuple(arguments), name.offset), self.bounded(depth + 1)

    def check_arity(self, lowered: str, name: Token, count: int) -> None:
        if lowered not in _ARITY:
            raise unexpected("Unrecognized function", name.text, name.offset, self.text)
        least, most = _ARITY[lowered]
        if count < least:
            raise unexpected("Too few parameters supplied", name.text, name.offset, self.text)
        if count > most:
            raise unexpected("Too many parameters supplied", name.text, name.offset, self.text)
        if lowered == "case" and count % 2 == 0:
            what = "Even number of parameters supplied, requires an odd number of parameters"
            raise unexpected(what, name.text, name.offset, self.text)
