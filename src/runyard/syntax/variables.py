"""`$VAR`, `${VAR}` and `%VAR%` in texts, and the expansion of a whole set of variables in dependency order.

Called by compilers (globs, names, cache keys) and by the engine when it makes an assignment final. Semantics
are GitLab's (gitlab.md §3.12): `$$` is a literal dollar, raw and file variables are never expanded, a cycle
leaves the whole set as it was and names its members. Output sizes are budgeted, because `B: $A$A`, `C: $B$B`
… doubles.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

# execve refuses a single environment string beyond 128 KiB, so no longer value could reach a process.
MAX_VALUE_BYTES = 128 * 1024 - 1
MAX_TOTAL_BYTES = 1 << 20

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = KEY.pattern
_REFERENCE = re.compile(rf"\$\$|%%|\$({_NAME})|\$\{{({_NAME})\}}|%({_NAME})%")


class VariableError(ValueError):
    """A text grew beyond its budget."""


@dataclass(frozen=True, slots=True)
class Value:
    """What expansion needs to know of a variable. A raw one is spliced into others as it stands; `$X` naming
    a file variable stays written, because only the runner knows the file's path."""

    key: str
    text: str
    raw: bool = False
    file: bool = False


@dataclass(frozen=True, slots=True)
class Expanded:
    """One value per key, in the order of the last occurrence. `cycle` names the members of a circular
    reference; then every value is as it was."""

    values: Mapping[str, str]
    cycle: tuple[str, ...] = ()

    @property
    def error(self) -> str:
        """GitLab's sentence for a cycle, or nothing."""
        return f"circular variable reference detected: {', '.join(self.cycle)}" if self.cycle else ""


def references(text: str) -> Iterator[str]:
    """Names that `text` refers to, in order, with repeats."""
    if "$" in text or "%" in text:
        for match in _REFERENCE.finditer(text):
            if name := match[1] or match[2] or match[3]:
                yield name


def dollar_references(text: str) -> Iterator[str]:
    """As `references`, without the `%X%` form."""
    if "$" in text:
        for match in _REFERENCE.finditer(text):
            if name := match[1] or match[2]:
                yield name


def expand(text: str, lookup: Mapping[str, str]) -> str:
    """The final text: known names replaced, unknown `$X` gone, `$$` made `$`; unknown `%X%` and `%%` stay (as
    in gitlab-runner)."""
    return _substitute(
        text, lambda name, written: lookup.get(name, written if written[0] == "%" else ""), "$"
    )


def expand_known(text: str, lookup: Mapping[str, str]) -> str:
    """Known names replaced; unknown ones and `$$` stay as written, for whoever expands next."""
    return _substitute(text, lambda name, written: lookup.get(name, written), "$$")


def expand_all(variables: Iterable[Value]) -> Expanded:
    """The set with every value expanded once its references are; of equal keys the last wins.

    Unknown references and `$$` stay as written, and a spliced raw value has its dollars doubled: pass each
    value that is neither raw nor file through `expand` when nobody can add names any more. VariableError
    names the key that grew too large.
    """
    last: dict[str, Value] = {}
    for value in variables:
        last.pop(value.key, None)
        last[value.key] = value
    # A variable that names itself is no cycle: GitLab leaves that reference for the shell.
    graph = {
        key: named
        for key, value in last.items()
        if not (value.raw or value.file)
        and (named := [n for n in references(value.text) if n in last and n != key])
    }
    try:
        behind = TopologicalSorter(graph).static_order() if graph else ()
        order = [key for key in last if key not in graph] + [key for key in behind if key in graph]
    except CycleError as error:
        members = set(error.args[1])
        return Expanded({k: v.text for k, v in last.items()}, tuple(k for k in last if k in members))
    return Expanded(_expand_in(order, last))


def _expand_in(order: Iterable[str], last: Mapping[str, Value]) -> dict[str, str]:
    spliceable: dict[str, str] = {}
    result = {key: value.text for key, value in last.items()}
    total = 0
    for key in order:
        value = last[key]
        if value.raw and not value.file:
            spliceable[key] = value.text.replace("$", "$$")
        elif not value.file:
            try:
                result[key] = spliceable[key] = expand_known(value.text, spliceable)
            except VariableError as error:
                raise VariableError(f"variable {key}: {error}") from None
        total += len(result[key])
        if total > MAX_TOTAL_BYTES:
            raise VariableError(f"variable {key}: the set expands to more than {MAX_TOTAL_BYTES} bytes")
    return result


def _substitute(text: str, value_of: Callable[[str, str], str], dollar: str) -> str:
    if "$" not in text and "%" not in text:
        return text
    parts: list[str] = []
    size = at = 0
    for match in _REFERENCE.finditer(text):
        written = match[0]
        name = match[1] or match[2] or match[3]
        piece = value_of(name, written) if name else dollar if written == "$$" else written
        size += match.start() - at + len(piece)
        if size > MAX_VALUE_BYTES:
            raise VariableError(f"the text expands to more than {MAX_VALUE_BYTES} bytes")
        parts += (text[at : match.start()], piece)
        at = match.end()
    parts.append(text[at:])
    return "".join(parts)
