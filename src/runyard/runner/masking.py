"""Secrets never show in a log: the byte-stream masker. Used by `streams.py`; pure.

Promise: however the bytes are cut into chunks, the output is the same, and no needle is in it. Overlapping
needles are hidden as one (contracts/reliability.md §5 B). At most the bytes that may still begin a needle are
held back.
"""

from __future__ import annotations

import base64
import json
import threading
from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

import re2

MIN_VALUE_BYTES = 3
MIN_LINE_BYTES = 8
MIN_VARIANT_BYTES = 8
PREFIX_BUDGET_BYTES = 1 << 20
COMPARED_BYTES = (
    1 << 15
)  # text times needles that are looked through before a pattern is made of them: few jobs say more
_compile: Any = re2.compile
_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.literal = False
_OPTIONS.longest_match = True
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 64 << 20


def needles(values: Iterable[str]) -> frozenset[bytes]:
    """The byte strings that hide these values: itself, its lines, and the spellings that tools make of it."""
    found: set[bytes] = set()
    for value in values:
        raw = value.encode("utf-8", "surrogateescape")
        if len(raw.strip()) < MIN_VALUE_BYTES:
            continue
        found.add(raw)
        stripped = raw.strip()
        found.add(stripped)
        found.update(line.strip() for line in raw.splitlines() if len(line.strip()) >= MIN_LINE_BYTES)
        if len(stripped) >= MIN_VARIANT_BYTES:
            for form in {raw, stripped}:
                found.update(_spellings(form))
    return frozenset(needle for needle in found if len(needle) >= MIN_VALUE_BYTES)


def _spellings(raw: bytes) -> Iterable[bytes]:
    text = raw.decode("utf-8", "replace")
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace")
    yield quote(raw, safe="").encode()
    yield quote(raw).encode()
    yield quote_plus(raw).encode()
    marked = escape(
        text, quote=False
    )  # in text quotes may stay; in attributes everybody writes the single one in another way
    yield marked.encode("utf-8", "replace")
    for single in ("&#39;", "&#x27;", "&apos;"):
        yield marked.replace('"', "&quot;").replace("'", single).encode("utf-8", "replace")
    for shift in range(3):
        # Inside a longer text a value begins at any of three places of a base64 group; only the characters it
        # alone decides are its own.
        first = (shift * 8 + 5) // 6
        last = (shift + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * shift + raw)[first:last]
    yield base64.b64encode(raw)
    yield base64.urlsafe_b64encode(raw)


class _Known:
    """A set of needles, made ready to be looked for; nothing of it changes, so a masker can be given another
    while it works."""

    def __init__(self, needles: frozenset[bytes]) -> None:
        self.needles = needles
        self.sorted = sorted(needles)
        self.longest = max(map(len, self.sorted), default=0)
        self.shortest = min(map(len, self.sorted), default=0)
        self.firsts = frozenset(needle[0] for needle in self.sorted)
        self.alphabet = frozenset(b"".join(self.sorted))

    @cached_property
    def pattern(self) -> Any:
        """Finds them all in one pass, the longest at each place."""
        longest_first = sorted(self.sorted, key=len, reverse=True)
        return _compile(b"|".join(map(_escaped, longest_first)), _OPTIONS)

    def are_missing(self, text: bytes) -> bool:
        """Told at once for little text; False when that is not known."""
        if len(text) < self.shortest:
            return True
        if len(text) * len(self.sorted) > COMPARED_BYTES:
            return False
        return not any(needle in text for needle in self.sorted)

    @cached_property
    def apart(self) -> bool:
        """Whether no two can overlap; asked for when the first one is met, which most logs never do."""
        return not _may_overlap(self.sorted)


class Masker:
    """`feed` chunks, then `close` once. `add` hides more values from then on, from any thread."""

    def __init__(self, values: Iterable[str] = (), mask: bytes = b"[MASKED]") -> None:
        self._mask = mask
        self._known = _NOTHING
        self._adding = threading.Lock()
        self._held = b""
        self._covered = 0  # bytes at the front of what is held that a mask already stands for
        self.add(values)

    def add(self, values: Iterable[str]) -> None:
        """From the next byte that is not out yet."""
        fresh = needles(values)
        with self._adding:
            if not fresh <= self._known.needles:
                self._known = _Known(self._known.needles | fresh)

    def beside(self) -> Masker:
        """Another that hides the same now, for a stream of its own."""
        other = Masker((), self._mask)
        other._known = self._known
        return other

    @property
    def holds(self) -> bool:
        """Whether bytes are held back that may yet become a secret."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """What may be shown now."""
        known = self._known
        if known is _NOTHING:
            return data
        whole = self._held + data if self._held else data
        return self._emit(known, whole, _open_from(known, whole))

    def close(self) -> bytes:
        """What was held back: no more bytes will complete a needle."""
        return self._emit(self._known, self._held, len(self._held)) if self._held else b""

    def once(self, data: bytes) -> bytes:
        """A text of its own, beside the stream."""
        other = self.beside()
        return other.feed(data) + other.close()

    def _emit(self, known: _Known, whole: bytes, cut: int) -> bytes:
        """Everything before `cut`; a mask that reaches beyond it is written once and remembered as cover."""
        parts: list[bytes] = []
        at = self._covered
        for start, end in _spans(known, whole, self._covered):
            if start >= cut:
                break
            if start >= at:
                parts += (whole[at:start], self._mask)
            at = max(at, end)
        if at < cut:
            parts.append(whole[at:cut])
        self._held = whole[cut:]
        self._covered = max(0, at - cut)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _spans(known: _Known, whole: bytes, covered: int) -> Iterable[tuple[int, int]]:
    """Matches in order of start, longest at each start; those that overlap one before come too, unless none
    can."""
    if known.are_missing(whole):
        return
    search = known.pattern.search
    match = search(whole)
    if match is None:
        return
    if known.apart and covered == 0:
        for match in known.pattern.finditer(whole):
            yield match.span()
        return
    # A cover's inside is looked at again: a needle that begins in it may reach further.
    while match is not None:
        start, end = match.span()
        yield start, end
        match = search(whole, start + 1)


def _open_from(known: _Known, whole: bytes) -> int:
    """Where the first needle that is not complete yet may begin; the end when there is none."""
    size = len(whole)
    if not whole or whole[-1] not in known.alphabet:
        return size
    begin = max(0, size - known.longest + 1)
    tail = whole[begin:]
    for offset, byte in enumerate(tail):
        if byte in known.firsts and _is_prefix(known, tail[offset:]):
            return begin + offset
    return size


def _is_prefix(known: _Known, piece: bytes) -> bool:
    """Of a longer needle; in order, those come right behind it."""
    at = bisect_right(known.sorted, piece)
    return at < len(known.sorted) and known.sorted[at].startswith(piece)


def _escaped(needle: bytes) -> bytes:
    """As a pattern: every byte by its number, so that nothing is special."""
    return ("\\x" + needle.hex("~").replace("~", "\\x")).encode()


def _may_overlap(needles: list[bytes]) -> bool:
    """Whether one needle's end can be another's (or its own) beginning; taken for granted beyond a budget (a
    long key has as many bytes of prefixes as the square of its length)."""
    if sum(len(needle) ** 2 for needle in needles) // 2 > PREFIX_BUDGET_BYTES:
        return True
    prefixes = {needle[:size] for needle in needles for size in range(1, len(needle))}
    return any(needle[start:] in prefixes for needle in needles for start in range(1, len(needle)))


_NOTHING = _Known(frozenset())
