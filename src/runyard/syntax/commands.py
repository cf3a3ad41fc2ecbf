"""Workflow commands in a step's output: `::name k=v::data` and the older `##[name k=v;k2=v2]data`.

The runner pushes every byte that a step prints through a `CommandStream` and gets back, in order, bytes for
the log and Commands to act on. Linear; text without `::` and `##[` passes in whole chunks, whatever its
number of lines. State (stop-commands, echo, how many annotations) lives and dies with the stream, so one per
step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LINE_BYTES = 1 << 20
"""A longer line is output, never a command."""

MAX_ANNOTATIONS = 10
"""Stored per kind and step (the Actions service keeps no more)."""

MAX_MESSAGE_CHARS = 4096
"""Of one annotation."""

MIN_MASK_CHARS = 3
"""Shorter masks would destroy the log (reliability.md A13)."""

_ANNOTATIONS = frozenset(("error", "warning", "notice"))
_SHOWN = _ANNOTATIONS | {"group", "endgroup"}
_REFUSED = frozenset(("set-env", "add-path"))
_DEPRECATED = frozenset(("set-output", "save-state"))
_ACTED = frozenset(("add-mask", "add-matcher", "remove-matcher")) | _DEPRECATED
_NAMES = _SHOWN | _REFUSED | _ACTED | {"debug", "echo", "stop-commands"}
_RESERVED = _NAMES | {"pause-logging"}

_LONGEST_HELD_BYTES = 256
"""Blanks at the end of a chunk that may lead a command; more of them are output at once."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command to act on; `name` in lower case, `properties` and `data` unescaped."""

    name: str
    data: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


Piece = bytes | Command
Escapes = tuple[tuple[str, str], ...]


class CommandStream:
    """One step's output. `feed` any chunks, then `close` once."""

    def __init__(self, *, debug: bool = False) -> None:
        self._debug = debug
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._inside_line = False
        self._stop_token: str | None = None
        self._echo = False
        self._stored: dict[str, int] = {}
        self._warned: set[str] = set()

    def feed(self, chunk: bytes) -> list[Piece]:
        """What can be said after these bytes; a line that may be a command waits for its end."""
        if self._held_bytes:
            if b"\n" not in chunk and self._held_bytes > _LONGEST_HELD_BYTES:
                # A long command is still open: keep its chunks apart, so that byte-wise writers cost no
                # copies.
                self._hold(chunk)
                return [] if self._held_bytes <= MAX_LINE_BYTES else self._give_up()
            data = b"".join([*self._held, chunk])
            self._held, self._held_bytes = [], 0
        else:
            data = chunk
        if b"::" not in data and b"##[" not in data:
            pieces: list[Piece] = []
            self._plain(data, pieces)
            return pieces
        return self._scan(data)

    def close(self) -> list[Piece]:
        """The last line, if it has no newline."""
        data = b"".join(self._held)
        self._held, self._held_bytes = [], 0
        if not data:
            return []
        pieces: list[Piece] = []
        command = None if self._inside_line else parse(data)
        self._line(data, command, pieces)
        return pieces

    def may_store(self, kind: str) -> bool:
        """Whether one more annotation of this kind is kept; it counts."""
        count = self._stored.get(kind, 0)
        self._stored[kind] = count + 1
        return count < MAX_ANNOTATIONS

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)

    def _give_up(self) -> list[Piece]:
        """The open line is too long for a command: it was output after all."""
        data = b"".join(self._held)
        self._held, self._held_bytes, self._inside_line = [], 0, True
        return [data]

    def _plain(self, data: bytes, pieces: list[Piece]) -> None:
        """Output without a marker, but for a last line that could still become one."""
        start = data.rfind(b"\n") + 1
        held_from = len(data) if start == 0 and self._inside_line else start
        tail = data[held_from : held_from + _LONGEST_HELD_BYTES + 1]
        if tail and len(tail) <= _LONGEST_HELD_BYTES and tail.strip(b" \t") in (b"", b":", b"#", b"##"):
            self._hold(tail)
            data = data[:start]
        if data:
            self._inside_line = not data.endswith(b"\n")
            pieces.append(data)

    def _scan(self, data: bytes) -> list[Piece]:
        """Looks at every marker once; only one that begins its line is a command."""
        pieces: list[Piece] = []
        done = at = 0
        while (mark := _next_mark(data, at)) >= 0:
            start = data.rfind(b"\n", done, mark) + 1 or done
            leads = (start > 0 or not self._inside_line) and not data[start:mark].strip(b" \t")
            end = data.find(b"\n", mark) + 1
            if leads and end == 0:
                self._cut(data, done, start, pieces)
                return pieces
            if end == 0:
                break
            if leads and end - start <= MAX_LINE_BYTES:
                if start > done:
                    pieces.append(data[done:start])
                self._inside_line = False
                line = data[start:end]
                self._line(line, parse(line), pieces)
                done = end
            at = end
        self._plain(data[done:] if done else data, pieces)
        return pieces

    def _cut(self, data: bytes, done: int, start: int, pieces: list[Piece]) -> None:
        """The last line begins like a command and has not ended."""
        if start > done:
            pieces.append(data[done:start])
        rest = data[start:]
        if len(rest) <= MAX_LINE_BYTES:
            self._hold(rest)
            self._inside_line = False
        else:
            pieces.append(rest)
            self._inside_line = True

    def _line(self, line: bytes, command: Command | None, pieces: list[Piece]) -> None:
        if self._stop_token is not None:
            pieces.append(line)
            if command is not None and command.name == self._stop_token:
                self._stop_token = None
            return
        if command is None or command.name not in _NAMES:
            pieces.append(line)
            return
        if self._echo and command.name not in _SHOWN | {"add-mask", "debug"}:
            pieces.append(line)
        self._act(line, command, pieces)

    def _act(self, line: bytes, command: Command, pieces: list[Piece]) -> None:
        name = command.name
        if name in _SHOWN:
            if name in _ANNOTATIONS and self.may_store(name):
                pieces.append(Command(name, command.data[:MAX_MESSAGE_CHARS], command.properties))
            pieces.append(log_line(name, command.data))
        elif name == "debug":
            if self._debug:
                pieces.append(log_line(name, command.data))
        elif name == "echo":
            self._set_echo(command.data, pieces)
        elif name == "stop-commands":
            self._stop(line, command.data, pieces)
        elif name in _REFUSED:
            # GitHub has ignored these two since CVE-2020-15228: any output could set the next step's PATH.
            pieces += [
                line,
                log_line("error", f"The `{name}` command is disabled. Use the environment file instead."),
            ]
        elif name == "add-mask":
            self._mask(command, pieces)
        else:
            if name in _DEPRECATED and name not in self._warned:
                self._warned.add(name)
                pieces.append(
                    log_line("warning", f"The `{name}` command is deprecated. Use the file instead.")
                )
            pieces.append(command)

    def _set_echo(self, data: str, pieces: list[Piece]) -> None:
        match data.strip().lower():
            case "on":
                self._echo = True
            case "off":
                self._echo = False
            case _:
                pieces.append(log_line("error", "The `echo` command takes `on` or `off`"))

    def _stop(self, line: bytes, data: str, pieces: list[Piece]) -> None:
        token = data.strip().lower()
        if not token or token in _RESERVED:
            pieces.append(
                log_line("error", "The token of `stop-commands` must not be empty or a command's name")
            )
            return
        self._stop_token = token
        pieces.append(line)

    def _mask(self, command: Command, pieces: list[Piece]) -> None:
        values = masks_of(command.data)
        if values:
            pieces.append(command)
        elif command.data.strip():
            pieces.append(log_line("warning", f"A mask shorter than {MIN_MASK_CHARS} characters is ignored"))


def masks_of(data: str) -> tuple[str, ...]:
    """The values that one add-mask hides: the text itself and each of its lines, without those too short."""
    values = [data, *data.splitlines()] if "\n" in data or "\r" in data else [data]
    return tuple(dict.fromkeys(value for value in values if len(value.strip()) >= MIN_MASK_CHARS))


def log_line(name: str, data: str) -> bytes:
    """How a command shows in the log: `##[error]…`. Inner line breaks stay."""
    return f"##[{name}]{data}\n".encode("utf-8", "surrogateescape")


def _next_mark(data: bytes, at: int) -> int:
    colons = data.find(b"::", at)
    hashes = data.find(b"##[", at, colons if colons >= 0 else len(data))
    return hashes if hashes >= 0 else colons


def parse(line: bytes) -> Command | None:
    """The command that a whole line is, registered or not; None when it has no command's form."""
    text = line.decode("utf-8", "surrogateescape").strip("\n").removesuffix("\r").lstrip(" \t")
    if text.startswith("::"):
        head, closed, data = text[2:].partition("::")
        return _command(head, data, ",", _DATA, _PROPERTY) if closed else None
    if text.startswith("##["):
        head, closed, data = text[3:].partition("]")
        return _command(head, data, ";", _LEGACY, _LEGACY) if closed else None
    return None


def _command(head: str, data: str, separator: str, in_data: Escapes, in_property: Escapes) -> Command | None:
    name, _, rest = head.partition(" ")
    if not name:
        return None
    properties: dict[str, str] = {}
    for pair in rest.strip().split(separator) if rest.strip() else ():
        key, equals, value = pair.partition("=")
        if equals and key:
            properties[key.strip().lower()] = _unescape(value, in_property)
    return Command(name.lower(), _unescape(data, in_data), properties)


_DATA = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_PROPERTY = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))
_LEGACY = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"))


def _unescape(text: str, escapes: Escapes) -> str:
    if "%" in text:
        for escaped, plain in escapes:
            text = text.replace(escaped, plain)
    return text
