"""Regular expressions and globs of strangers, all on RE2, so matching is linear in the text whatever the
pattern says.

Called by compilers, filters and the coverage reader. `/re/flags` literals are GitLab's, `path_glob` is Ruby's
fnmatch with PATHNAME, DOTMATCH and EXTGLOB (GitLab's changes/exists/include), `filter_glob` is GitHub's
filter syntax (branches, tags, paths). Raises `PatternError` only, with a sentence about the pattern; RE2's
own log is silent.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

# google-re2 ships no types.
_compile: Callable[..., Any] = re2.compile
_escape: Callable[[str], str] = re2.escape
_search_set: Callable[..., Any] = re2.Set.SearchSet

MAX_PATTERN = 8192
MAX_BRACES = 256  # alternatives that one glob may expand to
FLAGS = "ismU"


class PatternError(ValueError):
    """The pattern is not one that RE2 takes: no look-around, no back references, no giants."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern. `source` is what the user wrote."""

    source: str
    _regexp: Any

    @property
    def groups(self) -> int:
        """How many it has, the whole not counted."""
        return int(self._regexp.groups)

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere (globs are anchored by construction)."""
        return self._regexp.search(_bytes(text)) is not None

    def first(self, text: str) -> tuple[str | None, ...] | None:
        """The first match: the whole, then its groups."""
        match = self._regexp.search(_bytes(text))
        return _texts(match) if match else None

    def last(self, text: str) -> tuple[str | None, ...] | None:
        """The last match: the whole, then its groups."""
        matches = deque(self._regexp.finditer(_bytes(text)), maxlen=1)
        return _texts(matches[0]) if matches else None


class PatternSet:
    """Many patterns asked at once: one pass over a text, whatever their number."""

    def __init__(self, members: Iterable[Pattern]) -> None:
        self._set = _search_set(_options())
        for member in members:
            self._set.Add(_bytes(member.source))
        self._set.Compile()

    def found_in(self, text: str) -> list[int]:
        """The numbers of those that match anywhere."""
        return list(self._set.Match(_bytes(text)) or ())


@lru_cache(maxsize=512)
def compile(pattern: str, flags: str = "") -> Pattern:
    """An RE2 pattern; flags out of `ismU`."""
    if unknown := set(flags) - set(FLAGS):
        raise PatternError(
            f"unknown flag {sorted(unknown)[0]!r} of a regular expression; known are i, s, m, U"
        )
    return Pattern(pattern, _regexp(pattern, f"(?{flags})" if flags else ""))


def literal(text: str) -> Pattern | None:
    """`/re/flags` compiled, or None when `text` is no such literal. `\\/` inside means `/`."""
    parts = split_literal(text)
    return compile(*parts) if parts else None


def split_literal(text: str) -> tuple[str, str] | None:
    """The pattern and flags of `/re/flags`, or None."""
    end = text.rfind("/")
    if end < 2 or text[0] != "/" or not set(text[end + 1 :]) <= set(FLAGS):
        return None
    return text[1:end].replace("\\/", "/"), text[end + 1 :]


@lru_cache(maxsize=1024)
def path_glob(glob: str) -> Pattern:
    """Ruby fnmatch(PATHNAME | DOTMATCH | EXTGLOB): `*` and `?` stay in a folder, `**/` spans them, `{a,b}`
    alternates."""
    _check_size(glob)
    alternatives = "|".join(dict.fromkeys(_fnmatch(one) for one in _braces(glob)))
    return Pattern(glob, _regexp(f"(?s)^(?:{alternatives})$", "", glob))


@lru_cache(maxsize=1024)
def filter_glob(glob: str) -> Pattern:
    """GitHub's filter pattern without a leading `!`: `*` stays in a folder, `**` spans, `?` and `+` repeat
    the preceding."""
    _check_size(glob)
    return Pattern(glob, _regexp(f"(?s)^(?:{_filter(glob)})$", "", glob))


def ordered_filter(globs: Sequence[str]) -> Callable[[str], bool]:
    """GitHub's rule for a list: later patterns override, `!` takes away what an earlier one gave."""
    steps = [(not glob.startswith("!"), filter_glob(glob.removeprefix("!"))) for glob in globs]

    def holds(name: str) -> bool:
        verdict = False
        for gives, pattern in steps:
            if verdict != gives and pattern.found_in(name):
                verdict = gives
        return verdict

    return holds


def any_match(pattern: Pattern, names: Iterable[str]) -> bool:
    """Whether one of the names matches."""
    return any(pattern.found_in(name) for name in names)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _texts(match: Any) -> tuple[str | None, ...]:
    groups = (match.group(0), *match.groups())
    return tuple(None if group is None else group.decode("utf-8", "replace") for group in groups)


def _check_size(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"a pattern may have at most {MAX_PATTERN} characters")


def _regexp(pattern: str, prefix: str, shown: str = "") -> Any:
    _check_size(shown or pattern)
    try:
        return _compile(_bytes(prefix + pattern), _options())
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise PatternError(f"invalid pattern {_shown(shown or pattern)}: {reason}") from None


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _shown(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 80 else pattern[:77] + "…")


def _braces(glob: str) -> list[str]:
    """Ruby's brace expansion: the first top-level `{a,b}` is multiplied out, the rest recursively but by a
    work list."""
    done: list[str] = []
    pending = [glob]
    while pending:
        current = pending.pop()
        split = _first_braces(current)
        if split is None:
            done.append(current)
        else:
            before, choices, after = split
            pending.extend(before + choice + after for choice in reversed(choices))
        if len(done) + len(pending) > MAX_BRACES:
            raise PatternError(f"glob {_shown(glob)} has more than {MAX_BRACES} alternatives")
    return done


def _first_braces(glob: str) -> tuple[str, list[str], str] | None:
    depth, start, choices = 0, -1, list[str]()
    at = begin = 0
    while at < len(glob):
        char = glob[at]
        if char == "\\":
            at += 1
        elif char == "{":
            if depth == 0:
                start, begin = at, at + 1
            depth += 1
        elif char == "}" and depth:
            depth -= 1
            if depth == 0:
                return glob[:start], [*choices, glob[begin:at]], glob[at + 1 :]
        elif char == "," and depth == 1:
            choices.append(glob[begin:at])
            begin = at + 1
        at += 1
    return None


_NEVER = r"[^\x00-\x{10FFFF}]"


def _fnmatch(glob: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            if not parts or parts[-1] != "(?:[^/]+/)*":
                parts.append("(?:[^/]+/)*")
            at += 3
            continue
        if char == "*":
            if not parts or parts[-1] != "[^/]*":
                parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            text, at = _bracket(glob, at)
            parts.append(text)
            continue
        else:
            if char == "\\" and at + 1 < len(glob):
                at += 1
            parts.append(_escape(glob[at]))
        at += 1
    return "".join(parts)


def _bracket(glob: str, start: int) -> tuple[str, int]:
    """`[a-z]`, `[!a-z]`, `[^a-z]` from `start`; never matches `/`. An unclosed one matches nothing, as in
    Ruby."""
    at = start + 1
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    ranges: list[tuple[str, str]] = []
    while at < len(glob) and (glob[at] != "]" or not ranges):
        low, at = _bracket_char(glob, at)
        high = low
        if glob[at : at + 1] == "-" and glob[at + 1 : at + 2] not in ("", "]"):
            high, at = _bracket_char(glob, at + 1)
        ranges.append((low, high))
    if at >= len(glob):
        return _NEVER, len(glob)
    return _char_class([(a, b) for a, b in ranges if a <= b], negated=negated), at + 1


def _bracket_char(glob: str, at: int) -> tuple[str, int]:
    if glob[at] == "\\" and at + 1 < len(glob):
        at += 1
    return glob[at], at + 1


def _char_class(ranges: list[tuple[str, str]], *, negated: bool) -> str:
    spans: list[tuple[int, int]] = []
    for low, high in ranges:
        first, final = ord(low), ord(high)
        if negated or not first <= 47 <= final:
            spans.append((first, final))
        else:  # `/` is 47
            spans += [(a, b) for a, b in ((first, 46), (48, final)) if a <= b]
    if negated:
        spans.append((47, 47))
    body = "".join(f"\\x{{{a:x}}}-\\x{{{b:x}}}" for a, b in spans)
    return f"[{'^' if negated else ''}{body}]" if body else _NEVER


def _filter(glob: str) -> str:
    parts: list[str] = []
    at = 0
    repeatable = False  # `?` and `+` repeat one character or class; elsewhere they stand for themselves
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            text, at = _filter_stars(glob, at)
            parts.append(text)
            repeatable = False
        elif char in "?+" and repeatable:
            parts.append(char)
            repeatable = False
        elif char == "[":
            end = glob.find("]", at + 1)
            if end < 0:
                raise PatternError(f"glob {_shown(glob)} has an unclosed `[`")
            parts.append(_char_class(_simple_ranges(glob[at:end]), negated=False))
            at, repeatable = end + 1, True
        else:
            if char == "\\" and at < len(glob):
                char = glob[at]
                at += 1
            parts.append(_escape(char))
            repeatable = True
    return "".join(parts)


def _filter_stars(glob: str, at: int) -> tuple[str, int]:
    """What the run of stars whose first stands before `at` means."""
    end = at
    while glob[end : end + 1] == "*":
        end += 1
    if end == at:
        return "[^/]*", end
    return ("(?:.+/)?", end + 1) if glob[end : end + 1] == "/" else (".*", end)


def _simple_ranges(body: str) -> list[tuple[str, str]]:
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(body):
        if body[at + 1 : at + 2] == "-" and at + 2 < len(body):
            low, high = body[at], body[at + 2]
            if not (low.isascii() and low.isalnum() and high.isascii() and high.isalnum() and low <= high):
                raise PatternError(f"range {low}-{high} of a glob must be within a-z, A-Z or 0-9")
            ranges.append((low, high))
            at += 3
        else:
            ranges.append((body[at], body[at]))
            at += 1
    return ranges
