"""The values of the language and its coercions, to the last rule of the Actions runner.

Values are plain Python: None, bool, int/float (one kind, Number), str, sequences and mappings. `Filtered` is
the array that `.*` makes; functions see it as an array. Called by the evaluator and the functions; pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from runyard.syntax.expressions.lexer import number

Value: TypeAlias = bool | int | float | str | Sequence[Any] | Mapping[str, Any] | None


class Filtered(list[Any]):
    """What `.*` makes: a following `.x`, `[i]` or `.*` maps over the members."""


def is_array(value: Value) -> bool:
    """Lists and tuples; a string is not one."""
    return isinstance(value, list | tuple)


def is_primitive(value: Value) -> bool:
    """null, boolean, number or string."""
    return value is None or isinstance(value, bool | int | float | str)


def truthy(value: Value) -> bool:
    """Falsy are null, false, 0, -0, NaN and ''; arrays and objects are always true."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float):
        return not (value == 0 or value != value)
    if isinstance(value, str):
        return value != ""
    return True


def to_number(value: Value) -> float:
    """null 0, booleans 0/1, strings by JavaScript's grammar ('' is 0), arrays and objects NaN."""
    if value is None:
        return 0.0
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, str):
        trimmed = value.strip()
        return number(trimmed) if trimmed else 0.0
    return math.nan


def number_text(value: float) -> str:
    """.NET's `G15`, which the runner prints numbers with: at most 15 significant digits, -0 as 0."""
    if value != value:
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    return format(value, ".15G")


def to_string(value: Value) -> str:
    """Arrays and objects become their kind's name; that is what the runner does."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(to_number(value))
    return "Array" if is_array(value) else "Object"


def folded(text: str) -> str:
    """Ordinal case folding: one character to one upper-case character, dotless i left alone as .NET leaves
    it."""
    if text.isascii():
        return text.upper()
    return "".join(_fold(char) for char in text)


def _fold(char: str) -> str:
    upper = char.upper()
    return char if len(upper) != 1 or char == "\u0131" else upper


def equal(left: Value, right: Value) -> bool:
    """`==`: strings without case, arrays and objects by identity, unlike kinds as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return folded(left) == folded(right)
    if left is None and right is None:
        return True
    if is_primitive(left) and is_primitive(right):
        return to_number(left) == to_number(right)
    return left is right and is_array(left) == is_array(right)


def less(left: Value, right: Value) -> bool:
    """`<`: strings ordinal without case, other primitives as numbers, arrays and objects never."""
    if isinstance(left, str) and isinstance(right, str):
        return folded(left) < folded(right)
    if is_primitive(left) and is_primitive(right):
        return to_number(left) < to_number(right)
    return False


_MISSING = object()


def member(of: Value, key: Value) -> tuple[bool, Value]:
    """(found, value) of one key of an object (without case) or one index of an array."""
    if isinstance(of, Mapping):
        if not is_primitive(key):
            return False, None
        wanted = to_string(key)
        exact = of.get(wanted, _MISSING)
        if exact is not _MISSING:
            return True, exact
        lowered = folded(wanted)
        for name, value in of.items():
            if folded(str(name)) == lowered:
                return True, value
        return False, None
    if isinstance(of, list | tuple):
        at = to_number(key)
        if at != at or at < 0 or at >= len(of):
            return False, None
        return True, of[int(at)]
    return False, None


def members(of: Value) -> list[Any]:
    """What `.*` visits: an object's values, an array's items, nothing of a scalar."""
    if isinstance(of, Mapping):
        return list(of.values())
    return list(of) if isinstance(of, list | tuple) else []
