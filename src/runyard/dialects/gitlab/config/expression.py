"""The language of `rules:if`: parsed once, evaluated over variables, exactly as odd as GitLab's (gitlab.md
§3.4).

Called by rules and only/except. `parse` raises `ExpressionError`; evaluation never fails. Quirks kept on
purpose: an empty string is true inside `&&` and `||` but false as the whole, `${NAME}` is a syntax error, a
pattern needs two characters, 100 tokens are too many, and `=~` with a plain string on its right asks whether
the right contains the left.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from runyard.syntax.patterns import Pattern, PatternError, literal

MAX_TOKENS = 100

Value: TypeAlias = "str | bool | Pattern | None"
Evaluate: TypeAlias = Callable[[Mapping[str, str]], Value]

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<paren>[()])
    |\$(?P<variable>[A-Za-z0-9_]+)
    |"(?P<double>[^"]*)"|'(?P<single>[^']*)'
    |(?P<pattern>/(?:\\/|[^/])+[^\\]/[ismU]*)
    |(?P<null>null)
    |(?P<operator>==|!=|=~|!~|&&|\|\|)""",
    re.VERBOSE,
)
_SLIPS = {
    "${": "write $NAME, without braces",
    "=": "compare with `==`",
    "&": "write `&&`",
    "|": "write `||`",
    "and ": "write `&&`",
    "or ": "write `||`",
    "!": 'there is no `!`: compare with `== null` or `== ""`',
    "not ": 'there is no `not`: compare with `== null` or `== ""`',
    ">": "only `==`, `!=`, `=~` and `!~` compare",
    "<": "only `==`, `!=`, `=~` and `!~` compare",
    "/": "a pattern is written /…/, and has at least two characters",
    '"': "a closing quote is missing",
    "'": "a closing quote is missing",
    "true": 'variables are texts: write == "true"',
    "false": 'variables are texts: write == "false"',
}


class ExpressionError(ValueError):
    """The text is no expression; `suggestion` says what was probably meant."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed `if`."""

    source: str
    _evaluate: Evaluate

    def holds(self, variables: Mapping[str, str]) -> bool:
        """Whether the whole is true: not null, not blank."""
        value = self._evaluate(variables)
        if isinstance(value, str):
            return bool(value.strip())
        return bool(value)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@lru_cache(maxsize=4096)
def parse(source: str) -> Expression:
    """The expression of a text."""
    tokens = _tokens(source)
    if not tokens:
        raise ExpressionError("the expression is empty")
    parser = _Parser(tokens)
    evaluate = parser.disjunction()
    if parser.at != len(tokens):
        raise ExpressionError(f"{tokens[parser.at].text} is not expected here")
    return Expression(source, evaluate)


def _suggestion(rest: str) -> str:
    """For what people write who know other languages."""
    for start, hint in _SLIPS.items():
        if rest.startswith(start):
            return hint
    return "put texts in quotes" if re.match(r"\w", rest) else ""


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None or found.lastgroup is None:
            rest = source[at:]
            raise ExpressionError(f"{rest[:12]!r} is not expected", _suggestion(rest))
        at = found.end()
        if found.lastgroup != "space":
            tokens.append(_Token(found.lastgroup, found[found.lastgroup]))
        if len(tokens) >= MAX_TOKENS:
            raise ExpressionError(f"an expression must have fewer than {MAX_TOKENS} parts")
    return tokens


class _Parser:
    """Comparisons bind tighter than `&&`, that tighter than `||`; all group to the left."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens, self.at = tokens, 0

    def _accept(self, *operators: str) -> str | None:
        if self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind == "operator" and token.text in operators:
                self.at += 1
                return token.text
        return None

    def disjunction(self) -> Evaluate:
        left = self.conjunction()
        while self._accept("||"):
            left = _either(left, self.conjunction())
        return left

    def conjunction(self) -> Evaluate:
        left = self.comparison()
        while self._accept("&&"):
            left = _both(left, self.comparison())
        return left

    def comparison(self) -> Evaluate:
        left = self.operand()
        while operator := self._accept("==", "!=", "=~", "!~"):
            left = _compare(operator, left, self.operand())
        return left

    def operand(self) -> Evaluate:
        if self.at >= len(self.tokens):
            raise ExpressionError("the expression ends too early")
        token = self.tokens[self.at]
        self.at += 1
        match token.kind:
            case "variable":
                name = token.text
                return lambda variables: variables.get(name)
            case "double" | "single":
                text = token.text
                return lambda _: text
            case "null":
                return lambda _: None
            case "pattern":
                return _constant(_pattern(token.text))
            case "paren" if token.text == "(":
                return self._group()
        raise ExpressionError(f"{token.text} is not expected here")

    def _group(self) -> Evaluate:
        inner = self.disjunction()
        if (
            self.at >= len(self.tokens)
            or self.tokens[self.at].text != ")"
            or self.tokens[self.at].kind != "paren"
        ):
            raise ExpressionError("a closing parenthesis is missing")
        self.at += 1
        return inner


def _constant(value: Value) -> Evaluate:
    return lambda _: value


def _pattern(text: str) -> Pattern:
    try:
        pattern = literal(text)
    except PatternError as error:
        raise ExpressionError(str(error)) from None
    if pattern is None:
        raise ExpressionError(f"{text} is not a pattern")
    return pattern


def _is_true(value: Value) -> bool:
    return value is not None and value is not False


def _either(left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(variables: Mapping[str, str]) -> Value:
        value = left(variables)
        return value if _is_true(value) else right(variables)

    return evaluate


def _both(left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(variables: Mapping[str, str]) -> Value:
        value = left(variables)
        return right(variables) if _is_true(value) else value

    return evaluate


def _compare(operator: str, left: Evaluate, right: Evaluate) -> Evaluate:
    if operator in ("==", "!="):
        wanted = operator == "=="
        return lambda variables: (left(variables) == right(variables)) is wanted
    wanted = operator == "=~"
    return lambda variables: _matches(left(variables), right(variables)) is wanted


def _matches(left: Value, right: Value) -> bool:
    text = _text(left)
    if isinstance(right, str):
        try:
            pattern = literal(right)
        except PatternError:
            return False
        return pattern.found_in(text) if pattern else text in right
    return isinstance(right, Pattern) and right.found_in(text)


def _text(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Pattern():
            return value.source
    return value
