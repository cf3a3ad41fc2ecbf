"""Scopes: which variables a rule, a name or a path can see, plain and expanded (gitlab.md §3.12).

`rules:if` compares plain values; globs, cache keys, environments and names use expanded ones. Later variables
override earlier ones. Expansion happens only when a text asks for it, because most texts name no variable and
a pipeline may have thousands of jobs.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from runyard.model.plan import Variable
from runyard.syntax.variables import Value, VariableError, expand, expand_all, expand_known, references

_OPEN = "${{"
_OPENING = re.compile(r"\\?\$\{\{(?:\s*job\.inputs\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\})?")


class Layer:
    """Variables that many scopes share, read once."""

    def __init__(self, variables: Iterable[Variable]) -> None:
        self.variables = tuple(variables)
        self.plain: dict[str, str] = {v.key: v.value for v in self.variables if not v.late}


class Scope:
    """Layers in order of precedence. Late variables are not seen by conditions, but splice their templates
    into names."""

    def __init__(self, *layers: Layer) -> None:
        self._layers = layers
        self.plain: dict[str, str] = {}
        for layer in layers:
            self.plain |= layer.plain
        self._final: Mapping[str, str] | None = None
        self.with_inputs = False  # texts may name the job's inputs, which stay templates

    def expand(self, text: str) -> str:
        """Final text; unknown variables are gone. VariableError when it grows too large."""
        if "$" not in text and "%" not in text:
            return text
        if self._final is None:
            self._final = _finals([Value(v.key, v.value, raw=v.raw) for v in self._variables() if not v.late])
        return expand(text, self._final)

    def known(self, text: str) -> str:
        """As `expand`, but unknown variables stay written (GitLab's `expand_vars`)."""
        if "$" not in text and "%" not in text:
            return text
        self.expand("$")
        return expand_known(text, self._final or {})

    def template(self, text: str, *, keep_unknown: bool = False) -> str:
        """As `expand` (or `known`), but as a `${{ }}` template in which late variables are still to come and
        written `${{` is literal."""
        if "$" not in text and "%" not in text:
            return text
        values = [Value(v.key, v.value if v.late else escaped(v.value), raw=v.raw) for v in self._variables()]
        literal = escaped_but_inputs(text) if self.with_inputs else escaped(text)
        if keep_unknown:
            return expand_known(literal, expand_all(values).values).replace("$$", "$")
        return expand(literal, _finals(values))

    def _variables(self) -> Iterator[Variable]:
        for layer in self._layers:
            yield from layer.variables


def circle_in(variables: Iterable[Variable]) -> str:
    """GitLab's words for variables that name each other in a circle; empty when none do. Only texts that name
    something can take part."""
    named = {v.key: v.value for v in variables if not v.raw and "$" in v.value}
    if len(named) < 2:
        return ""
    graph = {key: [n for n in references(text) if n in named and n != key] for key, text in named.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        members = set(error.args[1])
        return f"circular variable reference detected: {', '.join(key for key in named if key in members)}"
    return ""


def _finals(values: list[Value]) -> dict[str, str]:
    raw = {value.key: value.raw for value in values}
    found = expand_all(values).values
    return {key: text if raw[key] else expand(text, {}) for key, text in found.items()}


def escaped(text: str) -> str:
    """A text whose `${{` means itself when the text is rendered as a template."""
    return text.replace(_OPEN, f"{_OPEN} '{_OPEN}' }}}}")


def input_pieces(text: str) -> list[tuple[str, str]]:
    """A text of a job with inputs: pieces, and the name of the input behind each (the last has none). `\\${{`
    is `${{` itself."""
    found, position = "", 0
    pieces: list[tuple[str, str]] = []
    for opening in _OPENING.finditer(text):
        found += text[position : opening.start()]
        position = opening.end()
        if opening[0].startswith("\\") or not opening[1]:
            found += opening[0].removeprefix("\\")
        else:
            pieces.append((found, opening[1]))
            found = ""
    return [*pieces, (found + text[position:], "")]


def escaped_but_inputs(text: str) -> str:
    """As `escaped`, but the job's inputs stay to be filled in."""
    return "".join(
        escaped(literal) + (f"{_OPEN} job.inputs.{name} }}}}" if name else "")
        for literal, name in input_pieces(text)
    )


__all__ = ["Layer", "Scope", "VariableError", "circle_in", "escaped", "escaped_but_inputs", "input_pieces"]
