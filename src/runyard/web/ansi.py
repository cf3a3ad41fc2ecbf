"""Job output as HTML lines: colours and links kept, everything else a terminal would obey taken out. Called
by the job page and its live stream.

Promises: every byte of a job is escaped; state is bounded; cost is linear. Interpreted: SGR (16, 256 and true
colour, bold, italic, underline), CR and erase-line, OSC 8 links to http, https and mailto, addresses written
out, GitLab `section_start/end` and Actions `##[group]`. Stripped: all other escape sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html import escape
from urllib.parse import urlsplit

from runyard.syntax.stamps import goes_on, is_stamped, joined

LINE_LIMIT = 4096  # characters shown of one line; the raw log has all
SECTION_DEPTH = 8
PENDING_LIMIT = 1 << 20  # an unterminated line never holds more than this

_ESCAPE = re.compile(
    r"\x1b\[([0-9;:]*)m"  # 1: colours
    r"|\x1b\]8;[^;\x07\x1b]{0,256};([^\x07\x1b]{0,2048})(?:\x07|\x1b\\)"  # 2: link target
    r"|\x1b\[[0-9;:?<=>!]*[ -/]*[@-~]"  # other CSI
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"  # short escapes
)
_SECTION = re.compile(r"section_(start|end):\d{1,12}:[A-Za-z0-9_.-]{1,128}(\[[^\]]{0,64}\])?\r\x1b\[0K")
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_ADDRESS = re.compile(r"https?://[^\s<>\"'`\\|]{1,2048}")
_OPENS = {")": "(", "]": "[", "}": "{"}
_GROUP = re.compile(r"^(?:::|##\[)(group|endgroup)(?:::|\])(.*)$")
_MARK = re.compile(
    r"^(?:##\[(error|warning|notice|debug|command)\]|::(error|warning|notice|debug)[^:]{0,512}::)(.*)$"
)


@dataclass(frozen=True, slots=True)
class Pen:
    """How the next characters look."""

    front: str = ""
    back: str = ""
    bold: bool = False
    faint: bool = False
    italic: bool = False
    underline: bool = False
    reverse: bool = False

    def css(self) -> tuple[str, str]:
        """(class, style) of a span."""
        front, back = (self.back or "b0", self.front or "f7") if self.reverse else (self.front, self.back)
        marks = (
            ("bold", self.bold),
            ("faint", self.faint),
            ("italic", self.italic),
            ("underline", self.underline),
        )
        names = [name for name, on in marks if on]
        styles = []
        for kind, value in (("color", front), ("background", back)):
            if value.startswith("#"):
                styles.append(f"{kind}:{value}")
            elif value:
                names.append(("f" if kind == "color" else "b") + value.lstrip("fb"))
        return " ".join(names), ";".join(styles)


PLAIN = Pen()


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under a heading. `shut`: begins folded, as GitLab's `[collapsed=true]` asks."""

    id: str
    shut: bool = False


@dataclass(slots=True)
class LogHtml:
    """Feed bytes, take finished HTML lines. `line` is the number of the last line given, as in the raw log:
    one that only ends a section is counted and not shown."""

    line: int = 0
    at: str = ""  # when the present line was written, where the runner stamps them
    pen: Pen = PLAIN
    link: str = ""
    pending: bytes = b""
    sections: list[Section] = field(default_factory=list)

    def feed(self, data: bytes) -> Iterator[str]:
        """HTML of every line that `data` completes."""
        *lines, last = (self.pending + data).split(b"\n")
        whole = _whole(lines)
        self.pending = b"\n".join([*lines[whole:], last])
        yield from self._all(lines[:whole])
        if len(self.pending) > PENDING_LIMIT:
            yield from self.rest()

    def rest(self) -> Iterator[str]:
        """The last line, which had no newline."""
        raw, self.pending = self.pending, b""
        if raw:
            yield from self._all(raw.removesuffix(b"\n").split(b"\n"))

    def _all(self, lines: list[bytes]) -> Iterator[str]:
        before = self.line
        begins = (at for at, line in enumerate(lines, before + 1) if at == before + 1 or not goes_on(line))
        for self.line, (self.at, raw) in zip(begins, joined(lines), strict=True):
            yield from self._lines(raw)
        self.line = before + len(lines)

    def _lines(self, raw: bytes) -> Iterator[str]:
        text = raw.decode("utf-8", "replace")
        head, ended = None, False
        for found in _SECTION.finditer(text):
            if found[1] == "start":
                head = self._open(shut="collapsed=true" in (found[2] or "")) or head
            else:
                self._close()
                ended = True
        text = _visible(_SECTION.sub("", text))
        if group := _GROUP.match(text):
            if group[1] == "endgroup":
                self._close()
                return
            head = self._open()
            text = group[2]
        if text.strip() or not (head or ended):
            yield self._render(text, head)

    def _open(self, shut: bool = False) -> Section | None:
        if len(self.sections) >= SECTION_DEPTH:
            return None
        section = Section(f"s{self.line}-{len(self.sections)}", shut)
        self.sections.append(section)
        return section

    def _close(self) -> None:
        if self.sections:
            self.sections.pop()

    def _render(self, text: str, head: Section | None) -> str:
        kind = ""
        if mark := _MARK.match(text):
            kind, text = (mark[1] or mark[2]), mark[3]
        cut = len(text) > LINE_LIMIT
        body = self._spans(text[:LINE_LIMIT]) + (
            '<i class="cut">… the raw log has the rest of this line</i>' if cut else ""
        )
        within = " ".join(s.id for s in self.sections if s is not head)
        attributes = f' data-s="{within}"' if within else ""
        classes = " ".join(filter(None, ("l", "head" if head else "", f"m-{kind}" if kind else "")))
        when = f' title="{escape(self.at)}"' if self.at else ""
        number = f'<a class="n" href="#L{self.line}"{when}>{self.line}</a>'
        return f'<div class="{classes}" id="L{self.line}"{attributes}>{number}{_button(head)}<code>{body}</code></div>'

    def _spans(self, text: str) -> str:
        out, at = [], 0
        for found in _ESCAPE.finditer(text):
            out.append(self._span(text[at : found.start()]))
            at = found.end()
            if found[1] is not None:
                self.pen = _sgr(self.pen, found[1])
            elif found[2] is not None:
                self.link = found[2] if _is_safe_link(found[2]) else ""
        out.append(self._span(text[at:]))
        return "".join(out)

    def _span(self, text: str) -> str:
        if not text:
            return ""
        shown = _UNSAFE.sub(_show, text)
        html = escape(shown) if self.link else _with_links(shown)
        names, style = self.pen.css()
        if names or style:
            html = f'<span class="{names}"' + (f' style="{style}"' if style else "") + f">{html}</span>"
        if self.link:
            html = _link(self.link, html)
        return html


def _button(head: Section | None) -> str:
    """What folds a section; a reader without scripts sees every line of it."""
    if head is None:
        return ""
    shut = " data-shut" if head.shut else ""
    return (
        f'<button class="fold" data-fold="{head.id}" aria-expanded="true" aria-label="Fold"{shut}></button>'
    )


def _with_links(text: str) -> str:
    """Escaped, with its web addresses as links; what ends a sentence or closes a bracket is not of the
    address."""
    out, at = [], 0
    for found in _ADDRESS.finditer(text):
        address = found[0].rstrip(".,;:!?*")
        while address.endswith((")", "]", "}")) and address.count(address[-1]) > address.count(
            _OPENS[address[-1]]
        ):
            address = address[:-1].rstrip(".,;:!?*")
        end = found.start() + len(address)
        out += [escape(text[at : found.start()]), _link(address, escape(address))]
        at = end
    return "".join([*out, escape(text[at:])])


def _link(target: str, html: str) -> str:
    return f'<a href="{escape(target)}" rel="noopener noreferrer nofollow">{html}</a>'


def _whole(lines: list[bytes]) -> int:
    """How many lines are whole for certain: a stamped one may go on in the next."""
    if not lines or not is_stamped(lines[-1]):
        return len(lines)
    first = len(lines) - 1
    while first > 0 and goes_on(lines[first]):
        first -= 1
    return first


def plain(text: str) -> str:
    """A log's line as text: without colours, links and section marks, other control characters made
    visible."""
    return _UNSAFE.sub(_show, _ESCAPE.sub("", _visible(_SECTION.sub("", text))))


def _visible(text: str) -> str:
    """What a terminal shows of a line with carriage returns: the last redraw (erase-line and CR start
    over)."""
    text = text.rstrip("\r")
    if "\r" in text:
        text = next((part for part in reversed(text.split("\r")) if _ESCAPE.sub("", part)), "")
    return text.rsplit("\x1b[2K", 1)[-1] if "\x1b[2K" in text else text


def _show(found: re.Match[str]) -> str:
    """Control and direction characters, made visible so that they cannot disguise a line."""
    code = ord(found[0])
    return "" if code in (0x1B,) else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _is_safe_link(target: str) -> bool:
    try:
        return urlsplit(target).scheme.lower() in ("http", "https", "mailto")
    except ValueError:
        return False


_FLAGS: dict[int, dict[str, object]] = {
    1: {"bold": True},
    2: {"faint": True},
    3: {"italic": True},
    4: {"underline": True},
    7: {"reverse": True},
    22: {"bold": False, "faint": False},
    23: {"italic": False},
    24: {"underline": False},
    27: {"reverse": False},
    39: {"front": ""},
    49: {"back": ""},
}


def _sgr(pen: Pen, codes: str) -> Pen:
    """The pen after a `CSI … m`; at most 32 codes count."""
    numbers = [int(c) if c and len(c) < 5 else 0 for c in re.split("[;:]", codes)[:32]]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            pen = PLAIN
        elif code in _FLAGS:
            pen = replace(pen, **_FLAGS[code])  # type: ignore[arg-type]
        elif 30 <= code <= 37 or 90 <= code <= 97:
            pen = replace(pen, front=f"f{code - 30 if code < 90 else code - 82}")
        elif 40 <= code <= 47 or 100 <= code <= 107:
            pen = replace(pen, back=f"b{code - 40 if code < 100 else code - 92}")
        elif code in (38, 48) and numbers:
            colour = _extended(numbers)
            pen = replace(pen, front=colour) if code == 38 else replace(pen, back=colour)
    return pen


def _extended(numbers: list[int]) -> str:
    """256 and true colours; consumes its operands."""
    mode = numbers.pop(0)
    if mode == 2 and len(numbers) >= 3:
        red, green, blue = (min(255, numbers.pop(0)) for _ in range(3))
        return f"#{red:02x}{green:02x}{blue:02x}"
    if mode != 5 or not numbers:
        return ""
    index = numbers.pop(0)
    if index < 16:
        return f"f{index}"
    if index < 232:
        levels = (0, 95, 135, 175, 215, 255)
        cube = index - 16
        return f"#{levels[cube // 36 % 6]:02x}{levels[cube // 6 % 6]:02x}{levels[cube % 6]:02x}"
    grey = 8 + 10 * (min(index, 255) - 232)
    return f"#{grey:02x}{grey:02x}{grey:02x}"
