"""Coverage: lines in Cobertura and JaCoCo XML, and the one figure that a job prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from runyard.syntax import patterns, stamps
from runyard.syntax.reports.members import documents, parse_xml
from runyard.syntax.reports.told import Told, counted, table

FILES_BYTES = 10 << 20  # GitLab's own limit of a coverage report
NUMBER = 9  # digits of a line number or a count of hits that can be meant
_ESCAPES = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]|\r")
_NUMBER = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,10})?")


def printed(pattern: str, log: bytes) -> float | None:
    """The number in the last line that matches `coverage:`, as GitLab reads it: of several matches the last,
    of several groups the last."""
    try:
        machine = patterns.literal(pattern) or patterns.compile(pattern)
    except patterns.PatternError:
        return None
    lines = [line for _, line in stamps.joined(_ESCAPES.sub(b"", log).split(b"\n"))]
    for line in reversed(lines):
        match = machine.last(line.decode("utf-8", "replace"))
        if match is not None:
            groups = [group for group in match[1:] if group]
            number = _NUMBER.search(groups[-1] if groups else match[0] or "")
            if number is not None:
                return min(100.0, float(number.group(0)))
    return None


@dataclass(slots=True)
class Lines:
    """By file: which lines could be run, and which were."""

    known: dict[str, set[int]] = field(default_factory=dict)
    hit: dict[str, set[int]] = field(default_factory=dict)

    def add(self, file: str, line: int, *, ran: bool) -> None:
        """A line may be told twice (in its method and in its class); it ran if any of them says so."""
        self.known.setdefault(file, set()).add(line)
        if ran:
            self.hit.setdefault(file, set()).add(line)

    @property
    def told(self) -> Told:
        """The figure over all files, and the files with most lines that never ran."""
        files = [(len(self.hit.get(file, ())), len(lines), file) for file, lines in self.known.items()]
        ran, total = sum(f[0] for f in files), sum(f[1] for f in files)
        if not total:
            return Told("No lines in this coverage report")
        title = (
            f"{100 * ran / total:.2f} % of {counted(total, 'line')} covered in {counted(len(files), 'file')}"
        )
        worst = sorted((f for f in files if f[0] < f[1]), key=lambda f: (f[0] - f[1], f[2]))
        rows = (
            (file, f"{100 * some / every:.1f} %", f"{some:,} of {every:,}") for some, every, file in worst
        )
        return table(title, ("File", "Covered", "Lines"), rows)


def cobertura(files: Sequence[bytes]) -> Told:
    """`<class filename><lines><line number hits>`; a report without lines tells its own `line-rate`."""
    found = Lines()
    rates: list[float] = []
    for document in _documents(files):
        _cobertura(document, found, rates)
    if found.known or not rates:
        return found.told
    return Told(f"{100 * sum(rates) / len(rates):.2f} % of lines covered")


def _documents(files: Sequence[bytes]) -> list[bytes]:
    if sum(map(len, files)) > FILES_BYTES:
        raise ValueError(f"it has more than {FILES_BYTES >> 20} MiB")
    return [document for file in files for document in documents(file)]


def _cobertura(document: bytes, found: Lines, rates: list[float]) -> None:
    root, inside = "", ""

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal root, inside
        if not root:
            root = tag
            if tag != "coverage":
                raise ValueError(f"its root is <{tag[:50]}>, not <coverage>")
            if "line-rate" in attributes:
                rates.append(_rate(attributes["line-rate"]))
        elif tag == "class":
            inside = attributes.get("filename", "")
        elif tag == "line" and inside:
            found.add(inside, _number(attributes, "number"), ran=_number(attributes, "hits") > 0)

    def end(tag: str) -> None:
        nonlocal inside
        if tag == "class":
            inside = ""

    parse_xml(document, begin, end)


def jacoco(files: Sequence[bytes]) -> Told:
    """`<package name><sourcefile name><line nr mi ci>`: a line ran when it has covered instructions."""
    found = Lines()
    for document in _documents(files):
        _jacoco(document, found)
    return found.told


def _jacoco(document: bytes, found: Lines) -> None:
    root, package, source = "", "", ""

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal root, package, source
        if not root:
            root = tag
            if tag != "report":
                raise ValueError(f"its root is <{tag[:50]}>, not <report>")
        elif tag == "package":
            package = attributes.get("name", "")
        elif tag == "sourcefile":
            source = f"{package}/{attributes.get('name', '')}".lstrip("/")
        elif tag == "line" and source:
            found.add(source, _number(attributes, "nr"), ran=_number(attributes, "ci") > 0)

    def end(tag: str) -> None:
        nonlocal source
        if tag == "sourcefile":
            source = ""

    parse_xml(document, begin, end)


def _number(attributes: dict[str, str], name: str) -> int:
    text = attributes.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{name}={text[:20]!r} of a line is not a number")
    return int(text) if len(text) <= NUMBER else 10**NUMBER


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate <= 1:
        raise ValueError(f"line-rate={text[:20]!r} is not between 0 and 1")
    return rate
