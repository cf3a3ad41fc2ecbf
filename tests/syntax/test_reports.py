"""Reports are read once, told in a few lines, and never do harm."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from runyard.syntax import reports
from runyard.syntax.reports import dotenv, junit
from runyard.syntax.reports.coverage import printed
from runyard.syntax.reports.members import members
from runyard.syntax.reports.told import ROWS

COBERTURA = (
    b'<?xml version="1.0"?><!DOCTYPE coverage SYSTEM "http://example.org/coverage-04.dtd"><coverage line-rate="0.1"><packages><package><classes>'
    b'<class filename="a.py"><methods><method><lines><line number="1" hits="1"/></lines></method></methods>'
    b'<lines><line number="1" hits="1"/><line number="2" hits="0"/><line number="3" hits="0"/></lines></class>'
    b'<class filename="b.py"><lines><line number="1" hits="7"/></lines></class></classes></package></packages></coverage>'
)
JACOCO = (
    b'<!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd"><report><package name="a/b"><class name="C"/><sourcefile name="C.java">'
    b'<line nr="1" mi="0" ci="2"/><line nr="3" mi="1" ci="0"/><counter type="LINE" missed="1" covered="1"/></sourcefile></package></report>'
)
TESTS = (
    b"<testsuites><testsuite><testcase name='a' time='1,000.5'/><testcase name='b'><skipped/></testcase>"
    b"<testcase name='c' file='c.py'><error message='m'>t</error></testcase></testsuite></testsuites>"
)
QUALITY = [
    {"description": "unused", "check_name": "u", "fingerprint": "1", "severity": "minor", "location": {"path": "a.py", "lines": {"begin": 4}}},
    {"description": "broken", "fingerprint": "2", "severity": "critical", "location": {"path": "b.py", "positions": {"begin": {"line": 3}}}},
]  # fmt: skip
FINDINGS = [
    {"name": "SQL", "severity": "High", "location": {"file": "a.rb", "start_line": 3}},
    {
        "message": "old",
        "severity": "Low",
        "location": {"image": "x:1", "dependency": {"package": {"name": "p"}}},
    },
    {"name": "XSS", "severity": "Critical", "location": {"hostname": "http://h", "path": "/p"}},
]
K6 = {
    "metrics": {
        "http_reqs": {"rate": 10.123},
        "http_req_waiting": {"values": {"p(90)": 1.2}},
        "checks": {"passes": 4, "fails": 0},
    }
}


def kept(folder: Path, kind: str, data: Any) -> dict[str, Any]:
    """What is kept of a report with that content."""
    file = folder / "report"
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return dict(reports.take_in(kind, file).extra.get(reports.KEY, {}))


CASES: list[tuple[str, Any, str, list[tuple[str, ...]]]] = [
    ("junit", gzip.compress(TESTS, mtime=0), "3 tests: 1 with errors, 1 skipped, in 1000.50 s", [("c", "c.py", "m")]),
    ("junit", b"<testsuite/>", "No tests", []),
    ("cobertura", gzip.compress(COBERTURA, mtime=0), "50.00 % of 4 lines covered in 2 files", [("a.py", "33.3 %", "1 of 3")]),
    ("cobertura", b'<coverage line-rate="0.625"/>', "62.50 % of lines covered", []),
    ("jacoco", gzip.compress(JACOCO, mtime=0), "50.00 % of 2 lines covered in 1 file", [("a/b/C.java", "50.0 %", "1 of 2")]),
    ("codequality", QUALITY, "2 findings: 1 critical, 1 minor", [("critical", "broken", "b.py:3"), ("minor", "unused", "a.py:4")]),
    ("codequality", [], "No findings", []),
    (
        "sast", {"version": "15.1.0", "vulnerabilities": FINDINGS}, "3 findings: 1 critical, 1 high, 1 low",
        [("critical", "XSS", "http://h/p"), ("high", "SQL", "a.rb:3"), ("low", "old", "x:1")],
    ),
    ("terraform", {"create": 1, "update": 0, "delete": 2, "job_name": "x"}, "Terraform: 1 to add, 0 to change, 2 to destroy", []),
    ("metrics", gzip.compress(b'# HELP x\nmem{a="b c"} 1.5 1395066363000\nx 3\n', mtime=0), "2 metrics", [('mem{a="b c"}', "1.5"), ("x", "3")]),
    (
        "load_performance", K6, "Load test",
        [("Requests per second", "10.12"), ("Waiting for the first byte, p(90)", "1.20 ms"), ("Checks passed", "4"), ("Checks failed", "0")],
    ),
    ("browser_performance", [{"subject": "/", "metrics": [{"name": "Score", "value": 92}]}], "Browser performance of 1 page", [("/", "Score", "92")]),
    (
        "cyclonedx", {"bomFormat": "CycloneDX", "specVersion": "1.4", "components": [{"type": "library", "name": "a", "version": "1"}]},
        "1 component", [("a", "1", "")],
    ),
    ("license_scanning", {"version": "2.1", "licenses": [{"id": "MIT", "name": "MIT License"}]}, "1 license", [("MIT License",)]),
    ("requirements", {"1": "passed", "2": "failed"}, "Requirements: 1 failed, 1 passed", [("2",)]),
    (
        "accessibility", {"total": 2, "passes": 1, "errors": 1, "results": {"http://a": [], "http://b": [{"code": "c", "message": "no alt"}]}},
        "1 accessibility error on 2 pages", [("no alt", "http://b", "c")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "title", "rows"), CASES)
def test_every_kind_is_told(
    kind: str, data: Any, title: str, rows: list[tuple[str, ...]], tmp_path: Path
) -> None:
    said = kept(tmp_path, kind, data)
    assert "problem" not in said, said
    assert (said["title"], list(said.get("rows", ()))) == (title, rows)


def test_every_kind_that_gitlab_reads_has_a_case() -> None:
    security = {kind for kind, reader in reports.READERS.items() if reader is reports.READERS["sast"]}
    twins = security | {"requirements_v2", "performance", "annotations"}
    assert set(reports.READERS) - twins == {case[0] for case in CASES} - {"sast"}


BROKEN: list[tuple[str, Any, str]] = [
    ("junit", b"<testsuite><testcase", "unclosed token"),
    ("junit", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>', "document type that defines something"),
    ("junit", b"<a>" * 300, "deeper than 200"),
    ("junit", gzip.compress(TESTS, mtime=0)[:-9], "cut off"),
    ("cobertura", gzip.compress(b"\0" * (31 << 20), mtime=0), "too large"),
    ("cobertura", b"<coverage>" + b" " * (10 << 20) + b"</coverage>", "more than 10 MiB"),
    ("cobertura", b"<html/>", "not <coverage>"),
    (
        "cobertura",
        b'<coverage><class filename="a"><line number="x" hits="1"/></class></coverage>',
        "not a number",
    ),
    ("cobertura", b'<coverage line-rate="7"/>', "not between 0 and 1"),
    ("jacoco", b"<coverage/>", "not <report>"),
    ("codequality", [{"description": "x"}], "missing required field `fingerprint`"),
    ("codequality", b"not json", "invalid character"),
    ("sast", b"[" * 1_000_000, "more than 400000 values"),
    ("sast", b'{"version":"1","vulnerabilities":' + b"[" * 300_000, "array"),
    ("sast", {"version": "15"}, "missing required field `vulnerabilities`"),
    ("terraform", {"create": 1}, "missing required field `update`"),
    ("metrics", b"hello", "not a metric"),
    ("cyclonedx", {"bomFormat": "SPDX", "specVersion": "2"}, "not CycloneDX"),
    ("requirements", {"1": "maybe"}, "`passed` or `failed`"),
]


@pytest.mark.parametrize(("kind", "data", "why"), BROKEN)
def test_a_broken_report_is_a_sentence(kind: str, data: Any, why: str, tmp_path: Path) -> None:
    said = kept(tmp_path, kind, data)
    assert set(said) == {"problem"} and why in said["problem"], said


def test_links_are_read_or_refused(tmp_path: Path) -> None:
    def given(url: str) -> dict[str, Any]:
        return {"docs": [{"external_link": {"label": "The docs", "url": url}}]}

    assert kept(tmp_path, "annotations", given("https://example.org"))["links"] == (("The docs", "https://example.org"),)  # fmt: skip
    with pytest.raises(ValueError, match="not a web address"):
        kept(tmp_path, "annotations", given("javascript:alert(1)"))
    with pytest.raises(ValueError, match="Expected `object`"):
        kept(tmp_path, "annotations", [])


def test_only_the_first_rows_are_kept_in_one_line_each(tmp_path: Path) -> None:
    issue = {"description": "x" * 1000 + "\nmore", "fingerprint": "1", "location": {"path": "a"}}
    said = kept(tmp_path, "codequality", [issue] * 50)
    assert (len(said["rows"]), said["left_out"]) == (ROWS, 50 - ROWS)
    assert len(said["rows"][0][1]) == 300 and said["title"] == "50 findings: 50 unknown"


def test_what_is_no_report_leaves_nothing(tmp_path: Path) -> None:
    assert kept(tmp_path, "archive", b"PK") == {} == kept(tmp_path, "trace", b"<")


def test_junit() -> None:
    suite = junit.read([TESTS])
    assert [(c.name, c.status, c.output) for c in suite.cases] == [
        ("a", "success", None),
        ("b", "skipped", None),
        ("c", "error", "m\nt"),
    ]
    assert suite.cases[0].time_s == 1000.5
    assert members(gzip.compress(b"<a/>") + gzip.compress(b"<b/>")) == [b"<a/>", b"<b/>"]
    assert (
        len(junit.read([b"<x><testcase name='1'/></x><?xml version='1.0'?><testcase name='2'/>"]).cases) == 2
    )


def test_dotenv() -> None:
    assert dotenv.variables([b"\xef\xbb\xbfA=1\nB=x=y\nA=2\r\n", b"C=\n"]) == {"A": "2", "B": "x=y", "C": ""}
    for bad in (b"A", b"A B=1", b"=1", b"\xff=1", b"A-B=1", b"A=\x00"):
        with pytest.raises(ValueError, match="Invalid Format"):
            dotenv.variables([bad])
    with pytest.raises(ValueError, match="more than 20"):
        dotenv.variables(["\n".join(f"K{n}=1" for n in range(21)).encode()])
    with pytest.raises(ValueError, match="Too Big"):
        dotenv.variables([b"A=" + b"x" * 6000])


def test_printed_coverage_is_the_last_match_of_the_last_line() -> None:
    log = b"Total: 10%\r\n\x1b[32mTotal: 55.5%\x1b[0m\nlines 1% lines 70%\nbye\n"
    assert printed(r"/Total: (\d+\.\d+|\d+)%/", log) == 55.5
    assert printed(r"Total: \d+%", log) == 10.0
    assert printed(r"lines (\d+)%", log) == 70.0
    stamped = b"2026-11-21T20:35:31.143091Z 01O cov 12%\n2026-11-21T20:35:31.143124Z 00O section_end:1:x\r\n"
    assert printed(r"/^cov (\d+)%$/", stamped) == 12.0
    assert printed(r"/nothing/", log) is None and printed(r"/(?=x)/", log) is None
