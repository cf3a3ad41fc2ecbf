"""Scopes: which variables a rule, a name or a path can see, plain and expanded (gitlab.md §3.12).

`rules:if` compares plain values; globs, cache keys, environments and names use expanded ones. Later variables override earlier ones.
Expansion happens only when a text asks for it, because most texts name no variable and a pipeline may have thousands of jobs.
"""

from collections.abc import Iterable, Mapping

from runyard.model.plan import Variable
from runyard.syntax.variables import Value, VariableError, expand, expand_all

_OPEN = "${{"


class Scope:
    """Variables in order of precedence. `late` ones are not seen by conditions, but splice their templates into names."""

    def __init__(self, variables: Iterable[Variable]) -> None:
        self._variables = tuple(variables)
        self.plain: dict[str, str] = {v.key: v.value for v in self._variables if not v.late}
        self._final: Mapping[str, str] | None = None

    def with_(self, variables: Iterable[Variable]) -> "Scope":
        """The scope with more on top."""
        return Scope((*self._variables, *variables))

    def expand(self, text: str) -> str:
        """Final text; unknown variables are gone. VariableError when it grows too large."""
        if "$" not in text and "%" not in text:
            return text
        return expand(text, self._expanded(late=False))

    def template(self, text: str) -> str:
        """As `expand`, but as a `${{ }}` template in which late variables are still to come and written `${{` is literal."""
        if "$" not in text and "%" not in text:
            return text
        return expand(escaped(text), self._expanded(late=True))

    def _expanded(self, *, late: bool) -> Mapping[str, str]:
        if late:
            values = [
                Value(v.key, v.value if v.late else escaped(v.value), raw=v.raw) for v in self._variables
            ]
            return _finals(values)
        if self._final is None:
            self._final = _finals([Value(v.key, v.value, raw=v.raw) for v in self._variables if not v.late])
        return self._final


def _finals(values: list[Value]) -> dict[str, str]:
    raw = {value.key: value.raw for value in values}
    found = expand_all(values).values
    return {key: text if raw[key] else expand(text, {}) for key, text in found.items()}


def escaped(text: str) -> str:
    """A text whose `${{` means itself when the text is rendered as a template."""
    return text.replace(_OPEN, f"{_OPEN} '{_OPEN}' }}}}")


__all__ = ["Scope", "VariableError", "escaped"]
