"""Text of a Looker expression → its tree. Precedence climbing over a linear scanner, under budgets of length
and height.

From weakest to strongest: OR, AND, NOT, comparison, + and -, * and /, sign. Words are read in any case, as
Looker does. Source of the operators and functions: Google's pages "Looker functions and operators" and "Using
Looker expressions".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from runyard.tasks.lookml.lexp.tree import (
    Call,
    Expression,
    FieldName,
    FilterText,
    LexpError,
    Literal,
    Operation,
)

MAX_LENGTH = 100_000
MAX_HEIGHT = 120

_TOKEN = re.compile(
    r"""(?P<field>\$\{[^{}]*+\})
    |(?P<number>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d{1,3}+)?)
    |(?P<text>"(?:[^"\\]|\\.)*+")
    |(?P<filter>`[^`]*+`)
    |(?P<word>[A-Za-z_]\w*+)
    |(?P<sign>!=|<>|<=|>=|==|&&|\|\||[-+*/=<>(),])""",
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"(?:\s++|\#[^\n]*+)*+")
_HINTS = {
    "'": 'a text stands in double quotes ("…")',
    "{": "a field stands as ${view.field}",
    "$": "a field stands as ${view.field}",
    '"': "this text has no closing quote",
    "`": "this filter expression has no closing backtick",
    "%": "the remainder is mod(a, b)",
    "!": "different is !=, negation is NOT",
}
_WRONG_SIGNS = {"==": "=", "<>": "!=", "&&": "AND", "||": "OR"}

COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_LEVELS = {"or": 1, "and": 2, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6}
_NOT, _NEG = 3, 7
_CONSTANTS = {"yes": True, "no": False, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Expression:
    """The tree, or LexpError with the offset of what is wrong."""
    if len(text) > MAX_LENGTH:
        raise LexpError(f"an expression may have at most {MAX_LENGTH} characters")
    reader = _Reader(_tokens(text), len(text.rstrip()))
    found = reader.level(1, 0)
    if reader.now.kind != "end":
        raise LexpError(f'expected an operator or the end, found "{reader.now.text[:40]}"', reader.now.at)
    return found


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while True:
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        if at >= len(text):
            return found
        match = _TOKEN.match(text, at)
        if match is None:
            hint = _HINTS.get(text[at], "")
            raise LexpError(f'unexpected "{text[at]}"' + (f": {hint}" if hint else ""), at)
        found.append(_Token(str(match.lastgroup), match.group(), at))
        at = match.end()


class _Reader:
    """A place in the tokens."""

    def __init__(self, tokens: list[_Token], end: int) -> None:
        self.tokens = tokens
        self.at = 0
        self.end = _Token("end", "the end", end)

    @property
    def now(self) -> _Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else self.end

    def take(self) -> _Token:
        token = self.now
        self.at += 1
        return token

    def expect(self, sign: str, where: str) -> None:
        token = self.take()
        if token.text != sign or token.kind != "sign":
            raise LexpError(f'expected "{sign}" {where}, found {_shown(token)}', token.at)

    def operator(self) -> str:
        """The binary operator at this place, "" when there is none."""
        token = self.now
        if token.kind == "word" and token.text.lower() in ("and", "or"):
            return token.text.lower()
        if token.kind != "sign":
            return ""
        if token.text in _WRONG_SIGNS:
            right = _WRONG_SIGNS[token.text]
            raise LexpError(
                f'"{token.text}" is not an operator of Looker expressions; write {right}', token.at
            )
        return token.text if token.text in _LEVELS else ""

    def level(self, weakest: int, depth: int) -> Expression:
        """An operand and every following operator that binds at least as strongly as `weakest`."""
        left = self.prefix(depth + 1)
        while (operator := self.operator()) and _LEVELS[operator] >= weakest:
            token = self.take()
            right = self.level(_LEVELS[operator] + 1, depth + 1)
            left = _operation(token.at, operator, left, right)
        return left

    def prefix(self, depth: int) -> Expression:
        if depth > MAX_HEIGHT:
            raise LexpError("the expression is nested too deeply", self.now.at)
        token = self.now
        if token.kind == "sign" and token.text in "+-":
            self.take()
            operand = self.level(_NEG, depth + 1)
            return operand if token.text == "+" else _operation(token.at, "neg", operand)
        if token.kind == "word" and token.text.lower() == "not":
            self.take()
            return _operation(token.at, "not", self.level(_NOT, depth + 1))
        return self.primary(depth)

    def primary(self, depth: int) -> Expression:
        token = self.take()
        match token.kind:
            case "number":
                return Literal(token.at, Decimal(token.text))
            case "text":
                return Literal(token.at, re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL))
            case "field":
                return FieldName(token.at, _field_name(token))
            case "filter":
                return FilterText(token.at, token.text[1:-1])
            case "word":
                return self.word(token, depth)
        if token.kind == "sign" and token.text == "(":
            inside = self.level(1, depth + 1)
            self.expect(")", "after the expression in parentheses")
            return inside
        raise LexpError(f"expected a value, found {_shown(token)}", token.at)

    def word(self, token: _Token, depth: int) -> Expression:
        name = token.text.lower()
        if self.now.kind == "sign" and self.now.text == "(":
            self.take()
            return self.call(token.at, name, depth)
        if name in _CONSTANTS:
            return Literal(token.at, _CONSTANTS[name])
        hint = f"a field stands as ${{view.{name}}}, a text in double quotes"
        raise LexpError(f'unknown word "{token.text[:60]}": {hint}', token.at)

    def call(self, at: int, name: str, depth: int) -> Expression:
        arguments: list[Expression] = []
        while self.now.text != ")" or self.now.kind != "sign":
            if arguments:
                self.expect(",", f'or ")" in the arguments of {name}')
            arguments.append(self.level(1, depth + 1))
        self.take()
        return Call(at, name, tuple(arguments), _height(at, arguments))


def _field_name(token: _Token) -> str:
    name = token.text[2:-1].strip()
    if not re.fullmatch(r"\w+(?:\.\w+)*+", name):
        hint = ": totals and pivots are not served in data tests" if ":" in name else ""
        raise LexpError(f'"{token.text[:80]}" is not a field{hint}', token.at)
    return name


def _operation(at: int, operator: str, *operands: Expression) -> Operation:
    return Operation(at, operator, operands, _height(at, list(operands)))


def _height(at: int, parts: list[Expression]) -> int:
    height = 1 + max((p.height for p in parts), default=0)
    if height > 2 * MAX_HEIGHT:
        raise LexpError("the expression is too long a chain; split it into several asserts", at)
    return height


def _shown(token: _Token) -> str:
    return "the end" if token.kind == "end" else f'"{token.text[:40]}"'
