"""Reports of what is wrong: code quality, security scanners, accessibility, requirements. All JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from runyard.syntax.reports.members import read_json
from runyard.syntax.reports.told import Told, counted, listed, table

SEVERITIES = ("critical", "blocker", "high", "major", "medium", "minor", "low", "info", "unknown")


class Begin(Struct):
    """`lines` of a location; some tools give positions instead."""

    begin: Any = None


class Place(Struct):
    """`location` of a code quality finding."""

    path: str
    lines: Begin | None = None
    positions: Begin | None = None

    @property
    def line(self) -> str:
        """Where it begins, or "" when it is not said."""
        begin = (self.lines or self.positions or Begin()).begin
        number = begin.get("line") if isinstance(begin, dict) else begin
        return str(number) if isinstance(number, int) else ""


class Issue(Struct):
    """What GitLab asks of a code quality finding: docs/ci/testing/code_quality."""

    description: str
    fingerprint: str
    location: Place
    severity: str = "unknown"
    check_name: str = ""


def code_quality(files: Sequence[bytes]) -> Told:
    """The worst first."""
    found = [issue for file in files for issue in read_json(file, list[Issue])]
    return _told(
        [(i.severity, i.description, f"{i.location.path}:{i.location.line}".rstrip(":")) for i in found]
    )


class Spot(Struct):
    """`location` of a vulnerability, as far as scanners agree on it."""

    file: str = ""
    start_line: int | None = None
    image: str = ""
    hostname: str = ""
    path: str = ""

    @property
    def text(self) -> str:
        """A file and line, an image, or an address."""
        if not self.file:
            return self.image or self.hostname + self.path
        return self.file if self.start_line is None else f"{self.file}:{self.start_line}"


class Vulnerability(Struct):
    """One entry of a security report: gitlab-org/security-products/security-report-schemas."""

    name: str = ""
    message: str = ""
    description: str = ""
    severity: str = "Unknown"
    location: Spot = field(default_factory=Spot)


class Scan(Struct):
    """A whole security report."""

    version: str
    vulnerabilities: list[Vulnerability]


def security(files: Sequence[bytes]) -> Told:
    """The worst first."""
    found = [one for file in files for one in read_json(file, Scan).vulnerabilities]
    return _told([(v.severity, v.name or v.message or v.description, v.location.text) for v in found])


class Violation(Struct):
    """An entry of pa11y-ci."""

    message: str = ""
    code: str = ""
    type: str = "error"


class Audit(Struct):
    """pa11y-ci's JSON report."""

    total: int
    errors: int
    results: dict[str, list[Violation]]


def accessibility(files: Sequence[bytes]) -> Told:
    """By address. An address that could not be loaded is an error with a message only."""
    audits = [read_json(file, Audit) for file in files]
    found = [(url, one) for audit in audits for url, some in audit.results.items() for one in some]
    pages, errors = sum(a.total for a in audits), sum(a.errors for a in audits)
    title = f"{counted(errors, 'accessibility error')} on {counted(pages, 'page')}"
    return table(title, ("Says", "Where", "Rule"), ((v.message, url, v.code) for url, v in found))


def requirements(files: Sequence[bytes]) -> Told:
    """`{"1": "passed", "2": "failed"}`, or `{"*": "passed"}` for all."""
    every: dict[str, str] = {}
    for file in files:
        every |= read_json(file, dict[str, str])
    odd = sorted(set(every.values()) - {"passed", "failed"})
    if odd:
        raise ValueError(f"a requirement is `passed` or `failed`, not {odd[0][:50]!r}")
    counts = Counter(every.values())
    title = f"Requirements: {listed(counts, ('failed', 'passed')) or 'none'}"
    return table(title, ("Requirement",), ((name,) for name, said in every.items() if said == "failed"))


def _told(found: list[tuple[str, str, str]]) -> Told:
    """(severity, what, where) of each."""
    if not found:
        return Told("No findings")
    rank = {name: number for number, name in enumerate(SEVERITIES)}
    rows = sorted(
        ((s.lower(), what, where) for s, what, where in found), key=lambda r: rank.get(r[0], len(rank))
    )
    counts = Counter(row[0][:30] for row in rows)
    title = f"{counted(len(rows), 'finding')}: {listed(counts, SEVERITIES)}"
    return table(title, ("Severity", "Finding", "Where"), rows)
