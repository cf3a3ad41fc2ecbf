"""Reports as JUnit XML, as CI servers show test results: one suite per validator, one case per explore, data
test or finding. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from runyard.tasks.lookml.rows import Row, excerpt, rows

Report = Mapping[str, Any]
TITLES = {"lookml": "LookML", "sql": "SQL", "assert": "Assert", "content": "Content", "style": "Style"}


def junit(reports: Sequence[Report]) -> str:
    """One document of all reports."""
    root = Element("testsuites", name="runyard lookml")
    for report in reports:
        suite = SubElement(root, "testsuite", name=f"{TITLES[report['validator']]} validator")
        for case in _cases(report):
            suite.append(case)
        seconds = report["summary"].get("seconds", 0)
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(key, str(sum(case.find(tag) is not None for case in suite)))
        suite.set("tests", str(len(suite)))
        suite.set("time", str(seconds))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _cases(report: Report) -> Iterator[Element]:
    if report["problem"] and not report.get("tested"):
        case = _case(report["validator"], TITLES[report["validator"]])
        SubElement(case, "error", message=_clean(report["problem"]))
        yield case
    elif report["validator"] in ("lookml", "style"):
        yield from _findings(report)
    elif report["validator"] == "assert":
        for tested in report["tested"]:
            yield from _tests(report, tested)
    else:
        for tested in report["tested"]:
            yield _explore(report, tested)


def _case(validator: str, name: str, classname: str = "") -> Element:
    return Element(
        "testcase",
        name=_clean(name),
        classname=_clean(f"{validator}.{classname}" if classname else validator),
    )


def _findings(report: Report) -> Iterator[Element]:
    """One case per finding; those below the threshold are no failures. A project without any is one passed
    case."""
    found = list(rows(report))
    bad = report["error_count"]
    failing = {"error"} if report["validator"] == "style" else {"error", "warning", "note"}
    for row in found:
        case = _case(
            report["validator"], f"{row.subject} ({row.file}:{row.line})", row.rule.partition("/")[2]
        )
        _placed(case, row)
        if bad and row.level in failing:
            _failure(case, [row])
        else:
            SubElement(case, "system-out").text = _clean(row.message)
        yield case
    if not found:
        yield _case(report["validator"], f"{report['summary'].get('files', 0)} files")


def _explore(report: Report, tested: Report) -> Element:
    case = _case(report["validator"], f"{tested['model']}/{tested['explore']}", tested["model"])
    _settled(case, tested)
    found = list(rows({**report, "tested": [tested]}))
    if found:
        _placed(case, found[0])
        _failure(case, found)
    return case


def _tests(report: Report, tested: Report) -> Iterator[Element]:
    where = f"{tested['model']}.{tested['explore']}"
    if tested["problem"]:
        case = _case("assert", where, where)
        _settled(case, tested)
        yield case
    for name in dict.fromkeys(e["test"] for e in tested["errors"]):
        own = [e for e in tested["errors"] if e["test"] == name]
        found = list(rows({**report, "tested": [{**tested, "errors": own}]}))
        case = _case("assert", name, where)
        _placed(case, found[0])
        _failure(case, found)
        yield case
    for success in tested["successes"]:
        case = _case("assert", success["test"], where)
        case.set("file", _clean(success["file"]))
        case.set("line", str(success["line"]))
        if success["warning"]:
            SubElement(case, "system-out").text = _clean(success["warning"])
        yield case


def _settled(case: Element, tested: Report) -> None:
    if tested["problem"]:
        SubElement(case, "error", message=_clean(tested["problem"]))
    elif tested["status"] == "skipped":
        SubElement(case, "skipped", message=_clean(tested["skip_reason"]))


def _placed(case: Element, row: Row) -> None:
    if row.file:
        case.set("file", _clean(row.file))
        case.set("line", str(row.line))


def _failure(case: Element, found: Sequence[Row]) -> None:
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    node = SubElement(
        case, "failure", message=_clean(f"{first.message[:300]}{more}"), type=_clean(first.rule)
    )
    node.text = _clean("\n".join(_text(row) for row in found))


def _text(row: Row) -> str:
    where = f"{row.file}:{row.line}: " if row.file else ""
    shown = excerpt(row)
    return f"{where}{row.subject}: {row.message}" + (f"\n{shown}" if shown else "")


def _clean(text: object) -> str:
    """Characters that XML 1.0 cannot hold are shown as what they are in Python."""
    return "".join(
        c
        if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff")
        else repr(c)[1:-1]
        for c in str(text)
    )
