"""JUnit XML: the test cases of one suite of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from runyard.syntax.reports.members import documents, parse_xml
from runyard.syntax.reports.told import Told, counted, listed, table

CASES = 20_000
TEXT = 100_000
NAME = 1000
PASSED, FAILED, ERROR, SKIPPED = "success", "failed", "error", "skipped"
_STATUS = {"failure": FAILED, "error": ERROR, "skipped": SKIPPED}


@dataclass(slots=True)
class Case:
    """One test. `status` is `success`, `failed`, `error` or `skipped`; `output` what it said of that."""

    name: str
    classname: str
    file: str | None
    time_s: float
    status: str = PASSED
    output: str | None = None


@dataclass(slots=True)
class Suite:
    """Everything that was tested."""

    cases: list[Case] = field(default_factory=list)

    def count(self, status: str) -> int:
        """Cases that ended so."""
        return sum(case.status == status for case in self.cases)

    @property
    def time_s(self) -> float:
        """Sum of the cases' times."""
        return float(round(sum(case.time_s for case in self.cases), 6))


def read(files: Sequence[bytes]) -> Suite:
    """All files of a report. ValueError or ExpatError when one cannot be read."""
    suite = Suite()
    for file in files:
        for document in documents(file):
            _read(document, suite)
    return suite


def told(files: Sequence[bytes]) -> Told:
    """Counts, then what went wrong."""
    suite = read(files)
    counts = {status: suite.count(status) for status in (FAILED, ERROR, SKIPPED)}
    said = listed(
        {"failed": counts[FAILED], "with errors": counts[ERROR], "skipped": counts[SKIPPED]},
        ("failed", "with errors", "skipped"),
    )
    bad = [case for case in suite.cases if case.status in (FAILED, ERROR)]
    title = f"{counted(len(suite.cases), 'test')}: {said or 'all passed'}, in {suite.time_s:.2f} s"
    if not suite.cases:
        title = "No tests"
    return table(
        title, ("Test", "Where", "Says"), ((c.name, c.file or c.classname, c.output or "") for c in bad)
    )


def _read(document: bytes, suite: Suite) -> None:
    case: Case | None = None
    texts: list[str] = []

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal case
        texts.clear()
        if tag == "testcase":
            if len(suite.cases) >= CASES:
                raise ValueError(f"more than {CASES} test cases")
            case = _case(attributes)
            suite.cases.append(case)
        elif case is not None and tag in _STATUS:
            case.status = _STATUS[tag]
            texts.append(attributes.get("message", ""))

    def end(tag: str) -> None:
        nonlocal case
        if tag == "testcase":
            case = None
        elif case is not None and tag in (*_STATUS, "system-err"):
            said = "\n".join(t for t in texts if t).strip()[:TEXT]
            case.output = said or case.output

    parse_xml(document, begin, end, texts.append)


def _case(attributes: dict[str, str]) -> Case:
    try:
        time_s = max(0.0, min(1e9, float(attributes.get("time", "0").replace(",", ""))))
    except ValueError:
        time_s = 0.0
    return Case(
        attributes.get("name", "")[:NAME],
        attributes.get("classname", "")[:NAME],
        attributes.get("file"),
        time_s if time_s == time_s else 0.0,
    )
