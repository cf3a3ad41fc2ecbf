"""KEY=VALUE options of the command line, in a module of its own because `runyard compile` must start
quickly."""

from __future__ import annotations

from runyard.model.errors import Invalid
from runyard.model.plan import Variable


def pair(text: str) -> Variable:
    """KEY=VALUE as a variable."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise Invalid(f"--var takes KEY=VALUE, not {text!r}.")
    return Variable(key, value)
