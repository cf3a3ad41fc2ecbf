"""Readers of single fields: a node becomes a plain value, or None after a problem was noted at its place.

Called by every keyword reader. Sentences are GitLab's (`… should be an array of strings`). Numbers and dates
that a keyword wants as text keep the text that was written.
"""

from collections.abc import Iterable
from typing import Any

from runyard.dialects.gitlab.config.findings import Place, nearest
from runyard.syntax.durations import DurationError, seconds, seconds_or_never
from runyard.syntax.yamltree import Entry, Mapping, Node, Scalar, Sequence, YamlError, to_plain

MAX_NESTING = 10
MAX_LINES = 20_000
_ELSEWHERE = {  # what people write who know other servers, or GitLab of old
    "matrix": "write `parallel: {matrix: [...]}`",
    "steps": "this is the form of GitHub Actions: it belongs into .github/workflows",
    "env": "did you mean `variables`?",
    "branches": "write the list itself, or put it under `refs:`",
    "if": "write it under `rules:`",
    "type": "write `stage`",
    "types": "write `stages`",
    "cobertura": "write `coverage_report: {coverage_format: cobertura, path: …}`",
    "jacoco": "write `coverage_report: {coverage_format: jacoco, path: …}`",
}
_RUBY_BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}  # GitLab reads YAML 1.1


def is_null(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.value is None)


def plain(node: Node, place: Place) -> Any:
    """Whatever was written, as JSON would hold it."""
    try:
        return to_plain(node)
    except YamlError as error:
        place.wrong(node.at, error.message)
        return None


def text(node: Node, place: Place) -> str | None:
    """A string as GitLab takes it: a plain number or boolean is none."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.text
    place.wrong(node.at, "should be a string", _quote(node))
    return None


def scalar_text(node: Node, place: Place) -> str | None:
    """Any scalar but null, as written."""
    if isinstance(node, Scalar) and node.value is not None:
        return node.text
    place.wrong(node.at, "should be a string or a number")
    return None


def boolean(node: Node, place: Place) -> bool | None:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    if isinstance(node, Scalar) and node.plain and node.text.lower() in _RUBY_BOOLEANS:
        return _RUBY_BOOLEANS[node.text.lower()]
    place.wrong(node.at, "should be a boolean value")
    return None


def integer(node: Node, place: Place, least: int, most: int) -> int | None:
    if isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool):
        if least <= node.value <= most:
            return node.value
        place.wrong(node.at, f"must be between {least} and {most}")
        return None
    place.wrong(node.at, "should be an integer")
    return None


def choice(node: Node, place: Place, allowed: Iterable[str]) -> str | None:
    """One of a few words."""
    words = list(allowed)
    if isinstance(node, Scalar) and node.text in words:
        return node.text
    hint = nearest(node.text, words) if isinstance(node, Scalar) else ""
    place.wrong(node.at, f"should be one of: {', '.join(words)}", hint)
    return None


def duration(node: Node, place: Place, most_s: int) -> int | None:
    """Seconds of a human duration."""
    if (
        isinstance(node, Scalar)
        and isinstance(node.value, str | int | float)
        and not isinstance(node.value, bool)
    ):
        try:
            value = seconds(node.text)
        except DurationError as error:
            place.wrong(node.at, f"should be a duration: {error}")
            return None
        if 0 < value <= most_s:
            return value
        place.wrong(node.at, f"should be a duration longer than 0 and of at most {most_s // 86400} days")
        return None
    place.wrong(node.at, "should be a duration")
    return None


def expiry(node: Node, place: Place) -> int | None:
    """Seconds of `expire_in`; -1 for never."""
    if isinstance(node, Scalar) and node.value is not None and not isinstance(node.value, bool):
        try:
            value = seconds_or_never(node.text)
        except DurationError as error:
            place.wrong(node.at, f"should be a duration: {error}")
            return None
        return -1 if value is None else value
    place.wrong(node.at, "should be a duration")
    return None


def lines(node: Node, place: Place) -> tuple[str, ...] | None:
    """Script lines: a string, or strings nested in arrays up to ten deep."""
    found: list[str] = []
    pending: list[tuple[Node, int]] = [(node, 0)]
    while pending:
        current, depth = pending.pop()
        if isinstance(current, Scalar) and isinstance(current.value, str):
            found.append(current.text)
        elif isinstance(current, Sequence) and depth < MAX_NESTING:
            pending.extend((item, depth + 1) for item in reversed(current.items))
        else:
            what = "should be a string or a nested array of strings up to 10 levels deep"
            place.wrong(current.at, what, _quote(current))
            found.append("")
        if len(found) > MAX_LINES:
            place.wrong(node.at, f"has more than {MAX_LINES} lines")
            return None
    return tuple(found)


def text_or_texts(node: Node, place: Place, most: int = 10_000) -> tuple[str, ...] | None:
    """An array of strings, or one string alone."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return (node.text,)
    return texts(node, place, most)


def texts(node: Node, place: Place, most: int = 10_000) -> tuple[str, ...] | None:
    """An array of strings."""
    items = sequence(node, place, "should be an array of strings")
    if items is None:
        return None
    if len(items) > most:
        place.wrong(node.at, f"is too long (maximum is {most})")
        return None
    found = []
    for item in items:
        if not isinstance(item, Scalar) or isinstance(item.value, bool) or item.value is None:
            place.wrong(item.at, "should be an array of strings", _quote(item))
            return None
        found.append(item.text)
    return tuple(found)


def sequence(node: Node, place: Place, what: str = "should be an array") -> tuple[Node, ...] | None:
    """Items of an array, those of inner arrays in their place (`!reference` nests them)."""
    if not isinstance(node, Sequence):
        shown = node.text[:40] if isinstance(node, Scalar) and node.value is not None else ""
        place.wrong(node.at, what, f"write a list: [{shown}]" if shown else "")
        return None
    found: list[Node] = []
    pending: list[tuple[Node, int]] = [(item, 1) for item in reversed(node.items)]
    while pending:
        current, depth = pending.pop()
        if isinstance(current, Sequence) and depth < MAX_NESTING:
            pending.extend((item, depth + 1) for item in reversed(current.items))
        else:
            found.append(current)
    return tuple(found)


def mapping(node: Node, place: Place, allowed: Iterable[str]) -> Mapping | None:
    """A hash with known keys only."""
    if not isinstance(node, Mapping):
        place.wrong(
            node.at, "should be a hash", "name the files under `paths:`" if "paths" in allowed else ""
        )
        return None
    unknown_keys(node, place, allowed)
    return node


def unknown_keys(node: Mapping, place: Place, allowed: Iterable[str]) -> None:
    """GitLab's sentence for keys it does not know, at the first of them."""
    known = frozenset(allowed)
    unknown = [entry for key, entry in node.entries.items() if key not in known]
    if unknown:
        word = unknown[0].key.text
        hint = nearest(word, known) or _ELSEWHERE.get(word, "")
        place.wrong(unknown[0].key.at, f"contains unknown keys: {_names(unknown)}", hint)


def _names(entries: list[Entry]) -> str:
    shown = [entry.key.text[:80] for entry in entries[:10]]
    return ", ".join(shown) + (", …" if len(entries) > 10 else "")


def _quote(node: Node) -> str:
    if isinstance(node, Scalar) and node.value is not None:
        return f"put it in quotes: '{node.text[:40]}'"
    if isinstance(node, Mapping) and len(node.entries) == 1:
        return "a text that holds `: ` must be in quotes"
    return ""
