"""Problem matchers: which lines of a step's output are errors and warnings, as `::add-matcher::FILE`
registers them (contracts/actions.md §6.4).

`read_matchers` reads such a file, `Scan` looks at one step's output with some of them. A matcher has one
regular expression per line of a problem; the last one may loop, then every further line that it matches is a
problem with the first lines' properties. Expressions are RE2's, so a line costs time in its length whatever
the file says. Rules observed in the Actions runner (src/Runner.Worker/IssueMatcher.cs, OutputManager.cs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runyard.syntax import patterns
from runyard.syntax.commands import MAX_MESSAGE_CHARS
from runyard.syntax.patterns import Pattern, PatternError, PatternSet

MAX_FILE_BYTES = 256 << 10
MAX_MATCHERS = 50
"""At work in one job; each costs time on every line."""

MAX_EXPRESSIONS = 20
"""Of one matcher."""

MAX_LINE_BYTES = 64 << 10
"""A longer line is output and no problem."""

PLACES = ("file", "fromPath", "line", "column", "severity", "code", "message")
SEVERITIES = ("error", "warning", "notice")
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m?")


class MatcherError(ValueError):
    """The file is no list of problem matchers; the text says where."""


@dataclass(frozen=True, slots=True)
class LinePattern:
    """One line of a problem. `places`: which group holds which property."""

    pattern: Pattern
    places: Mapping[str, int]
    loops: bool = False


@dataclass(frozen=True, slots=True)
class Matcher:
    """One owner's expressions; another with the same owner (whatever its case) replaces it."""

    owner: str
    lines: tuple[LinePattern, ...]
    severity: str = "error"


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that a matcher knows: `text` is the line without colours, `found` its properties by the names of
    `PLACES`, as they were printed."""

    text: str
    severity: str
    message: str
    found: Mapping[str, str]


def read_matchers(data: bytes) -> tuple[list[Matcher], list[str]]:
    """The matchers of a file, and a sentence for each that RE2 cannot run. MatcherError when the file is
    wrong."""
    if len(data) > MAX_FILE_BYTES:
        raise MatcherError(f"a file of problem matchers may have at most {MAX_FILE_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise MatcherError(f"this is not JSON: {error}") from None
    rows = document.get("problemMatcher") if isinstance(document, dict) else None
    if not isinstance(rows, list) or len(rows) > MAX_MATCHERS:
        raise MatcherError(f"expected an object with `problemMatcher`, a list of at most {MAX_MATCHERS}")
    found: dict[str, Matcher] = {}
    notes = []
    for row in rows:
        owner, severity, lines = _parts(row)
        if owner.lower() in found:
            raise MatcherError(f"Duplicate owner name '{owner}'")
        try:
            found[owner.lower()] = Matcher(owner, _lines(owner, lines), severity)
        except PatternError as error:
            notes.append(f"The problem matcher '{owner}' is left out: {error}")
    return list(found.values()), notes


def _parts(row: Any) -> tuple[str, str, list[Mapping[str, Any]]]:
    """Owner, default severity, patterns of one matcher."""
    owner = row.get("owner") if isinstance(row, dict) else None
    if not isinstance(owner, str) or not owner:
        raise MatcherError("Owner must not be empty")
    severity = row.get("severity") or "error"
    if str(severity).lower() not in SEVERITIES:
        raise MatcherError(f"Matcher '{owner}' contains unexpected default severity '{severity}'")
    lines = row.get("pattern")
    if not isinstance(lines, list) or not lines:
        raise MatcherError(f"Matcher '{owner}' does not contain any patterns")
    if len(lines) > MAX_EXPRESSIONS or not all(isinstance(line, dict) for line in lines):
        raise MatcherError(f"`pattern` of '{owner}' must be a list of at most {MAX_EXPRESSIONS} objects")
    return owner, str(severity).lower(), lines


def _lines(owner: str, rows: Sequence[Mapping[str, Any]]) -> tuple[LinePattern, ...]:
    """PatternError for an expression that RE2 does not take."""
    seen: set[str] = set()
    found = []
    for number, row in enumerate(rows):
        loops = row.get("loop") is True
        if loops and not 0 < number == len(rows) - 1:
            raise MatcherError("Only the last pattern in a multiline matcher may set 'loop'")
        if loops and row.get("message") is None:
            raise MatcherError("The loop pattern must set 'message'")
        pattern = patterns.compile(str(row.get("regexp") or ""))
        places = {place: _group(place, row[place], pattern) for place in PLACES if row.get(place) is not None}
        if twice := seen & places.keys():
            raise MatcherError(f"The property '{min(twice)}' is set twice")
        seen |= places.keys()
        found.append(LinePattern(pattern, places, loops))
    if "message" not in seen:
        raise MatcherError(f"At least one pattern of '{owner}' must set 'message'")
    return tuple(found)


def _group(place: str, value: Any, pattern: Pattern) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= pattern.groups:
        raise MatcherError(
            f"The property '{place}' is set to {str(value)[:40]}, which is no group of {pattern.source[:200]!r}"
        )
    return value


def with_matchers(known: Sequence[Matcher], new: Sequence[Matcher]) -> list[Matcher]:
    """The new ones first; who has an owner that is known replaces it. MatcherError when they become too
    many."""
    kept = without_owners(known, [matcher.owner for matcher in new])
    if len(kept) + len(new) > MAX_MATCHERS:
        raise MatcherError(f"a job may have at most {MAX_MATCHERS} problem matchers")
    return [*reversed(new), *kept]


def without_owners(known: Sequence[Matcher], owners: Iterable[str]) -> list[Matcher]:
    """Those of others."""
    gone = {owner.lower() for owner in owners}
    return [matcher for matcher in known if matcher.owner.lower() not in gone]


@dataclass(slots=True)
class _Running:
    """A matcher at work. `so_far`: by the number of a pattern, the lines of a problem up to it."""

    matcher: Matcher
    so_far: list[tuple[str, ...] | None] = field(default_factory=list)

    def reset(self) -> None:
        self.so_far = [None] * (len(self.matcher.lines) - 1)

    def match(self, line: str, first: int, hits: Collection[int]) -> Mapping[str, str] | None:
        """The problem that ends with this line; `hits` are the patterns that match it, by their numbers from
        `first` on. Later patterns look first, so that a line may end one problem and begin the next."""
        last = len(self.matcher.lines) - 1
        for number in range(last, -1, -1):
            before = self.so_far[number - 1] if number else ()
            if before is None:
                continue
            hit = first + number in hits
            if number < last:
                self.so_far[number] = (*before, line) if hit else None
            elif hit:
                self.reset()
                if self.matcher.lines[number].loops:
                    self.so_far[number - 1] = before
                return self._read((*before, line))
            elif number:
                self.so_far[number - 1] = None
        return None

    def _read(self, lines: Sequence[str]) -> Mapping[str, str]:
        """What the lines of a problem say; each property has one place in one of them."""
        found: dict[str, str] = {}
        for pattern, line in zip(self.matcher.lines, lines, strict=True):
            groups = pattern.pattern.first(line) or ()
            found |= {
                place: groups[group] or "" for place, group in pattern.places.items() if group < len(groups)
            }
        return found


class Scan:
    """One step's output. `feed` any chunks, then `close` once; both answer what to print and the problems, in
    order. Without matchers it costs nothing."""

    def __init__(self, matchers: Sequence[Matcher] = ()) -> None:
        self._held = b""
        self._in_giant = False  # the open line is too long to be looked at, and out already
        self._running: list[_Running] = []
        self._all = PatternSet(())
        self.use(matchers)

    def use(self, matchers: Sequence[Matcher]) -> None:
        """These from now on; one that was at work stays in the middle of its problem."""
        known = {id(running.matcher): running for running in self._running}
        self._running = [known.get(id(matcher)) or _Running(matcher) for matcher in matchers]
        for running in self._running:
            if not running.so_far:
                running.reset()
        self._all = PatternSet(line.pattern for matcher in matchers for line in matcher.lines)

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """A line that has not ended waits, while there are matchers."""
        if not self._running:
            held, self._held = self._held, b""
            return [held + chunk]
        found: list[bytes | Problem] = []
        if self._in_giant:
            end = chunk.find(b"\n") + 1
            self._in_giant = end == 0
            found.append(chunk[:end] if end else chunk)
            chunk = chunk[end:] if end else b""
        whole, newline, rest = (self._held + chunk).rpartition(b"\n")
        self._held = rest
        if newline:
            found += self._look(whole + newline)
        if len(rest) > MAX_LINE_BYTES:
            found.append(rest)
            self._held, self._in_giant = b"", True
        return found

    def close(self) -> list[bytes | Problem]:
        """The last line, if it has no newline."""
        data, self._held = self._held, b""
        return self._look(data) if data else []

    def _look(self, data: bytes) -> list[bytes | Problem]:
        found: list[bytes | Problem] = []
        done = at = 0
        while at < len(data):
            end = data.find(b"\n", at) + 1 or len(data)
            problem = self._problem(data[at:end])
            if problem is not None:
                if at > done:
                    found.append(data[done:at])
                found.append(problem)
                done = end
            at = end
        if done < len(data):
            found.append(data[done:])
        return found

    def _problem(self, line: bytes) -> Problem | None:
        if len(line) > MAX_LINE_BYTES or line.startswith(b"##["):  # the latter is what a command shows as
            return None
        plain = _COLOUR.sub(b"", line) if b"\x1b[" in line else line
        text = plain.decode("utf-8", "replace").rstrip("\r\n")
        hits, first = self._all.found_in(text), 0
        for running in self._running:
            found = running.match(text, first, hits)
            first += len(running.matcher.lines)
            if found is None:
                continue
            for other in self._running:
                if other is not running:
                    other.reset()
            severity = (found.get("severity") or running.matcher.severity).lower()
            message = found.get("message", "")
            if message.strip() and severity in SEVERITIES:
                return Problem(text, severity, message[:MAX_MESSAGE_CHARS], found)
        return None
