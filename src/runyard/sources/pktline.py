"""git's packet lines as far as a push needs them: the ref commands, the push options, and messages back.
Called by smart_http; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runyard.engine.ports import RefUpdate
from runyard.model.errors import Invalid, TooLarge

FLUSH = b"0000"
COMMANDS_LIMIT_BYTES = 4 << 20
COMMANDS_LIMIT = 20_000
_SIDE_BAND_DATA = (
    990  # git: "side-band" allows 1000 bytes a packet, and every "side-band-64k" client takes shorter ones
)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What a push asks for."""

    commands: tuple[RefUpdate, ...] = ()
    capabilities: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()

    @property
    def side_band(self) -> bool:
        """Whether the client reads messages beside the report."""
        return bool({"side-band-64k", "side-band"} & self.capabilities)


def packet(data: bytes) -> bytes:
    """One packet line."""
    return b"%04x" % (len(data) + 4) + data


class PushReader:
    """Takes the head of a receive-pack request piece by piece until the pack (or the end) begins."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._at = 0
        self._sections: list[list[bytes]] = [[]]
        self.request: PushRequest | None = None

    def feed(self, data: bytes) -> bool:
        """True once the head is complete; `request` is set then."""
        self._seen += data
        while self.request is None:
            line = self._next_line()
            if line is None:
                if len(self._seen) > COMMANDS_LIMIT_BYTES:
                    raise TooLarge("the push moves too many refs")
                return False
            self._take(line)
        return True

    def end(self) -> None:
        """The body is over; a head that was cut short is refused."""
        if self.request is None:
            if self._seen:
                raise Invalid("the push ended in the middle of its commands")
            self.request = PushRequest()

    def _next_line(self) -> bytes | None:
        head = bytes(self._seen[self._at : self._at + 4])
        if len(head) < 4:
            return None
        try:
            length = int(head, 16)
        except ValueError:
            raise Invalid("the push is not in git's format") from None
        if length == 0:
            self._at += 4
            return FLUSH
        if length < 4 or length > 65520:
            raise Invalid("the push is not in git's format")
        if len(self._seen) < self._at + length:
            return None
        line = bytes(self._seen[self._at + 4 : self._at + length])
        self._at += length
        return packet(line)

    def _take(self, line: bytes) -> None:
        if line != FLUSH:
            self._sections[-1].append(line[4:])
            if len(self._sections[-1]) > COMMANDS_LIMIT:
                raise TooLarge("the push moves too many refs")
            return
        parsed = _parse(self._sections)
        if "push-options" in parsed.capabilities and len(self._sections) == 1:
            self._sections.append([])
            return
        self.request = parsed


def _parse(sections: Sequence[Sequence[bytes]]) -> PushRequest:
    commands: list[RefUpdate] = []
    capabilities: frozenset[str] = frozenset()
    for line in sections[0]:
        text, _, given = line.rstrip(b"\n").partition(b"\x00")
        if given:
            capabilities = frozenset(given.decode("utf-8", "replace").split())
        if text.startswith((b"shallow ", b"push-cert")):
            continue
        parts = text.decode("utf-8", "surrogateescape").split(" ", 2)
        if len(parts) != 3:
            raise Invalid("the push is not in git's format")
        commands.append(RefUpdate(ref=parts[2], before=parts[0], after=parts[1]))
    options = sections[1] if len(sections) > 1 else ()
    return PushRequest(
        tuple(commands), capabilities, tuple(o.decode("utf-8", "replace").strip() for o in options)
    )


def messages(lines: Iterable[str]) -> bytes:
    """Lines that the client prints as `remote: …` (side band 2)."""
    out = bytearray()
    for line in lines:
        data = line.encode("utf-8", "replace") + b"\n"
        for start in range(0, len(data), _SIDE_BAND_DATA):
            out += packet(b"\x02" + data[start : start + _SIDE_BAND_DATA])
    return bytes(out)


def refusal(request: PushRequest, reason: str) -> bytes:
    """A report that refuses every command, as receive-pack would write it."""
    lines = [packet(b"unpack refused\n")]
    for command in request.commands:
        name = command.ref.encode("utf-8", "surrogateescape")
        lines.append(packet(b"ng " + name + b" " + reason.encode() + b"\n"))
    report = b"".join([*lines, FLUSH])
    if not request.side_band:
        return report
    pieces = [report[i : i + _SIDE_BAND_DATA] for i in range(0, len(report), _SIDE_BAND_DATA)]
    return b"".join([*(packet(b"\x01" + piece) for piece in pieces), FLUSH])
