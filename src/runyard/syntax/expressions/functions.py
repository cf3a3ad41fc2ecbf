"""The built-in functions that need only their arguments: contains, startsWith, endsWith, format, join,
toJSON, fromJSON.

Called by the evaluator with evaluated arguments and the evaluation's budget. `case` and the status functions
are the evaluator's, hashFiles is the caller's. Pure; errors name the function, never a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from runyard.syntax.expressions.budget import Budget
from runyard.syntax.expressions.errors import MAX_JSON_DEPTH, ExpressionError
from runyard.syntax.expressions.values import (
    Value,
    equal,
    folded,
    is_array,
    is_primitive,
    number_text,
    to_number,
    to_string,
)

Builtin = Callable[[Sequence[Value], Budget, int], Value]


def contains(arguments: Sequence[Value], budget: Budget, offset: int) -> Value:
    """Any element equal, or a substring without case."""
    where, what = arguments
    if isinstance(where, list | tuple):
        budget.spend(len(where), offset)
        return any(equal(item, what) for item in where)
    if is_primitive(where) and is_primitive(what):
        return folded(to_string(what)) in folded(to_string(where))
    return False


def starts_with(arguments: Sequence[Value], budget: Budget, offset: int) -> Value:
    """Without case; false for arrays and objects."""
    text, start = arguments
    if not (is_primitive(text) and is_primitive(start)):
        return False
    return folded(to_string(text)).startswith(folded(to_string(start)))


def ends_with(arguments: Sequence[Value], budget: Budget, offset: int) -> Value:
    """Without case; false for arrays and objects."""
    text, end = arguments
    if not (is_primitive(text) and is_primitive(end)):
        return False
    return folded(to_string(text)).endswith(folded(to_string(end)))


def format_text(arguments: Sequence[Value], budget: Budget, offset: int) -> Value:
    """`{n}` is an argument, `{{` and `}}` are braces; anything else with a brace is an error."""
    pattern = to_string(arguments[0])
    budget.reserve(len(pattern), offset)
    texts = [to_string(value) for value in arguments[1:]]
    parts: list[str] = []
    size = 0
    at = 0
    while at < len(pattern):
        budget.spend(1, offset)
        brace = _next_brace(pattern, at)
        part, at = (pattern[at:brace], brace) if brace > at else _replacement(pattern, at, texts, offset)
        size += len(part)
        budget.reserve(size, offset)
        parts.append(part)
    return budget.made("".join(parts), offset)


def _next_brace(pattern: str, at: int) -> int:
    found = [place for place in (pattern.find("{", at), pattern.find("}", at)) if place >= 0]
    return min(found, default=len(pattern))


def _replacement(pattern: str, at: int, texts: Sequence[str], offset: int) -> tuple[str, int]:
    if pattern[at + 1 : at + 2] == pattern[at]:
        return pattern[at], at + 2
    end = pattern.find("}", at)
    digits = pattern[at + 1 : end] if end > 0 else ""
    if pattern[at] != "{" or not (digits.isascii() and digits.isdigit()) or len(digits) > 6:
        raise ExpressionError("The format string of format() is invalid", offset)
    if int(digits) >= len(texts):
        raise ExpressionError(
            "The format string of format() references more arguments than were supplied", offset
        )
    return texts[int(digits)], end + 1


def join(arguments: Sequence[Value], budget: Budget, offset: int) -> Value:
    """Elements as text; a primitive is its own text, an object ''."""
    what = arguments[0]
    separator = ","
    if len(arguments) == 2 and is_primitive(arguments[1]):
        separator = to_string(arguments[1])
    if is_primitive(what):
        return budget.made(to_string(what), offset)
    if not isinstance(what, list | tuple):
        return ""
    budget.spend(len(what), offset)
    parts: list[str] = []
    size = 0
    for item in what:
        parts.append(to_string(item))
        size += len(parts[-1]) + len(separator)
        budget.reserve(size - len(separator), offset)
    return budget.made(separator.join(parts), offset)


def to_json(arguments: Sequence[Value], budget: Budget, offset: int) -> Value:
    """Indented by two blanks, keys in their own order."""
    parts: list[str] = []
    _Writer(parts, budget, offset).write(arguments[0], 0)
    return budget.made("".join(parts), offset)


class _Writer:
    """Writes one JSON text piece by piece, so that the budget stops it early."""

    def __init__(self, parts: list[str], budget: Budget, offset: int) -> None:
        self.parts = parts
        self.budget = budget
        self.offset = offset
        self.size = 0

    def put(self, text: str) -> None:
        self.size += len(text)
        self.budget.reserve(self.size, self.offset)
        self.parts.append(text)

    def write(self, value: Value, depth: int) -> None:
        self.budget.spend(1, self.offset)
        if depth > MAX_JSON_DEPTH:
            raise ExpressionError(f"toJSON() met a value nested deeper than {MAX_JSON_DEPTH}", self.offset)
        if isinstance(value, Mapping):
            items = [(json.dumps(str(key), ensure_ascii=False) + ": ", item) for key, item in value.items()]
            self.block("{}", items, depth)
        elif is_array(value):
            assert isinstance(value, list | tuple)  # noqa: S101 - narrows for the type checker
            self.block("[]", [("", item) for item in value], depth)
        elif value is None:
            self.put("null")
        elif isinstance(value, str):
            self.put(json.dumps(value, ensure_ascii=False))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            text = number_text(to_number(value))
            # JSON has no NaN or Infinity; JavaScript's serializer writes null, and readers can read that.
            self.put("null" if text[-1] in "Ny" else text)
        else:
            self.put(to_string(value))

    def block(self, brackets: str, items: list[tuple[str, Any]], depth: int) -> None:
        if not items:
            self.put(brackets)
            return
        inner = "\n" + "  " * (depth + 1)
        for place, (label, item) in enumerate(items):
            self.put((brackets[0] if place == 0 else ",") + inner + label)
            self.write(item, depth + 1)
        self.put("\n" + "  " * depth + brackets[1])


def from_json(arguments: Sequence[Value], budget: Budget, offset: int) -> Value:
    """Parse; an empty text, NaN, too deep or too large documents are errors."""
    text = to_string(arguments[0])
    budget.reserve(len(text), offset)
    if _depth(text) > MAX_JSON_DEPTH:
        raise ExpressionError(f"fromJSON() met a document nested deeper than {MAX_JSON_DEPTH}", offset)
    budget.spend(text.count(",") + 1, offset)
    try:
        parsed: Value = json.loads(
            text, parse_int=_whole, parse_constant=_no_constant, object_pairs_hook=_pairs
        )
        if "\\u" in text:
            # Half of a surrogate pair is JSON, but no text that a database takes: it would fail whoever
            # stores the name made of it.
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        # The parser's own message quotes the document, which may be a secret.
        raise ExpressionError("fromJSON() was given a text that is not JSON", offset) from None
    return parsed


def _depth(text: str) -> int:
    """Upper bound of the nesting, before any parser recurses; strings are skipped."""
    deepest = depth = 0
    in_string = escaped = False
    if text.count("[") + text.count("{") <= MAX_JSON_DEPTH:
        return 0
    for char in text:
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _whole(digits: str) -> int | float:
    """Integers stay integers while a double holds them exactly; they are one kind to the language."""
    return int(digits) if len(digits) <= 15 else float(digits)


def _no_constant(word: str) -> NoReturn:
    raise ValueError("not JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keys are unique without case; the last one written wins (the runner's dictionary ignores case)."""
    spelled: dict[str, str] = {}
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = spelled.setdefault(folded(key), key)
        found[name] = value
    return found


BUILTINS: Mapping[str, Builtin] = {
    "contains": contains,
    "startswith": starts_with,
    "endswith": ends_with,
    "format": format_text,
    "join": join,
    "tojson": to_json,
    "fromjson": from_json,
}
