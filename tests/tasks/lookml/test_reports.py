"""Reports as JUnit XML, SARIF and Markdown: well formed whatever strangers write, and complete."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import Draft4Validator

from runyard.tasks.lookml.connections import connection
from runyard.tasks.lookml.junit import junit
from runyard.tasks.lookml.program import main
from runyard.tasks.lookml.report import VALIDATORS, Json, failure
from runyard.tasks.lookml.rows import Row, excerpt
from runyard.tasks.lookml.sarif import sarif
from runyard.tasks.lookml.summary import summary

from .conftest import BAKERY
from .shop import reports

SCHEMA = Path(__file__).parents[3] / ".clients/node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json"  # fmt: skip
NASTY = 'x"`|<&>]]>\x01\ud800 é\n| a |'


@pytest.fixture
def found(tmp_path: Path, bakery_file: Path) -> dict[str, Json]:
    """The bakery with something for every validator."""
    project = tmp_path / "bad"
    shutil.copytree(BAKERY, project)
    view = project / "views" / "products.view.lkml"
    view.write_text(
        view.read_text()
        .replace("${TABLE}.price", "${TABLE}.prize")
        .replace("dimension: kind", "dimension: Kind")
    )
    (project / "lkmlstyle.yaml").write_text("select: [D101]")
    (project / "a.dashboard.lookml").write_text(
        "- dashboard: a\n  elements:\n  - {title: '"
        + NASTY.replace("\x01\ud800", "").replace("\n", " ")
        + "', model: bakery, explore: order_items, fields: [products.kind]}\n"
    )
    more = "test: no_orders { explore_source: order_items { column: id { field: orders.id } } assert: none { expression: ${orders.id} < 2 ;; } }"
    (project / "tests" / "more.test.lkml").write_text(more)
    return reports(project, {"bakery": connection("bakery", {"url": f"duckdb://{bakery_file}"})})


def test_junit_has_a_suite_per_validator_and_counts(found: dict[str, Json]) -> None:
    root = ElementTree.fromstring(junit(list(found.values())))
    suites = {s.get("name"): (s.get("tests"), s.get("failures"), s.get("errors")) for s in root}
    assert suites == {
        "LookML validator": ("1", "0", "0"), "Style validator": ("1", "1", "0"), "SQL validator": ("2", "1", "0"),
        "Assert validator": ("2", "1", "0"), "Content validator": ("2", "1", "0"),
    }  # fmt: skip
    (sql,) = [
        c
        for c in root.iter("testcase")
        if c.get("name") == "bakery/order_items" and (c.get("classname") or "").startswith("sql")
    ]
    assert (sql.get("file"), sql.get("line")) == ("views/products.view.lkml", "14")
    assert "^" in (sql[0].text or "")
    (data,) = [c for c in root.iter("testcase") if c.get("name") == "no_orders"]
    assert "does not hold in 3 of 4 rows" in (data[0].get("message") or "")


def test_sarif_names_rules_places_and_stable_fingerprints(found: dict[str, Json]) -> None:
    (run,) = json.loads(sarif(list(found.values()), "1.2"))["runs"]
    rules = [r["id"] for r in run["tool"]["driver"]["rules"]]
    assert rules == ["assert", "content", "sql", "style/D101"]
    assert {rules[r["ruleIndex"]] for r in run["results"]} == set(rules)
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
    style = next(r for r in run["results"] if r["ruleId"] == "style/D101")
    place = style["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]) == (
        "views/products.view.lkml",
        {"startLine": 16, "startColumn": 3},
    )
    prints = [r["partialFingerprints"]["runyard/v1"] for r in run["results"]]
    assert len(set(prints)) == len(prints)
    broken = json.loads(sarif([failure("sql", "no database")], "1"))["runs"][0]
    assert broken["invocations"][0]["executionSuccessful"] is False


@pytest.mark.client
def test_sarif_is_what_its_published_schema_asks_for(found: dict[str, Json]) -> None:
    """The schema of OASIS' SARIF 2.1.0 as npm's `@microsoft/jest-sarif` carries it."""
    if not SCHEMA.exists():
        pytest.skip("LOUD: SARIF was NOT held against its schema: run `make clients`")
    checker = Draft4Validator(json.loads(SCHEMA.read_text()))
    for reports_ in (list(found.values()), [failure("sql", "no database")], []):
        assert [e.message for e in checker.iter_errors(json.loads(sarif(reports_, "1.2")))] == []
    broken = json.loads(sarif(list(found.values()), "1.2"))
    broken["runs"][0]["results"][0]["level"] = "terrible"
    assert list(checker.iter_errors(broken))


def test_junit_is_what_readers_of_it_ask_for(found: dict[str, Json]) -> None:
    """The common subset of Jenkins' and GitLab's readers: these elements and attributes, totals that add up,
    seconds that are numbers."""
    root = ElementTree.fromstring(junit([*found.values(), failure("lookml", "no folder")]))
    assert root.tag == "testsuites"
    for suite in root:
        cases = list(suite.iter("testcase"))
        assert {c.tag for c in suite} <= {"testcase", "properties", "system-out", "system-err"}
        assert float(suite.get("time") or 0) >= 0
        for kind in ("failure", "error", "skipped"):
            counted = sum(c.find(kind) is not None for c in cases)
            total = suite.get({"failure": "failures", "error": "errors"}.get(kind, kind))
            assert int(total or 0) == counted, (suite.get("name"), kind)
        assert int(suite.get("tests") or 0) == len(cases)
        for case in cases:
            assert case.get("name") and case.get("classname")
            assert {c.tag for c in case} <= {"failure", "error", "skipped", "system-out", "system-err"}
            assert all(c.get("message") for c in case if c.tag in ("failure", "error"))


def test_markdown_shows_the_sql_with_a_caret_and_failing_rows(found: dict[str, Json]) -> None:
    text = summary(found["sql"])
    assert "| ✗ | `bakery/order_items` |" in text
    assert "```\n" in text and "^" in text
    rows = summary(found["assert"])
    assert "Failing rows of `no_orders` · `none` (3):" in rows
    assert "| orders.id |" in rows


@pytest.mark.parametrize("validator", VALIDATORS)
def test_strangers_texts_break_no_format(validator: str) -> None:
    findings = {"code": NASTY, "kind": "", "message": NASTY, "severity": "error", "file": NASTY, "line": 1, "column": 1, "model": NASTY, "explore": NASTY,
                "explores": [], "field": NASTY, "suggestion": NASTY, "rule_name": "", "entity_name": NASTY, "error_id": ""}  # fmt: skip
    errors = {"message": NASTY, "dimension": NASTY, "sql": NASTY, "file": NASTY, "line": 1, "sql_line": 1, "sql_column": 2, "test": NASTY, "assertion": NASTY,
              "rows": [{NASTY: NASTY}], "failed_rows": 1, "field": NASTY, "title": NASTY, "content_id": NASTY, "element": NASTY}  # fmt: skip
    tested = {"model": NASTY, "explore": NASTY, "status": "failed", "skip_reason": "", "problem": "", "dimensions": 1, "measures": 0, "elements": 1, "errors": [errors],
              "successes": [{"test": NASTY, "file": NASTY, "line": 1, "assertions": 1, "rows": 0, "warning": NASTY}]}  # fmt: skip
    listed = {"findings": [findings]} if validator in ("lookml", "style") else {"tested": [tested]}
    report = {**failure(validator, ""), "status": "failed", "error_count": 1, **listed}
    ElementTree.fromstring(junit([report]))
    json.loads(sarif([report], "1").encode("utf-8", "backslashreplace"))
    tables = [line for line in summary(report).splitlines() if line.startswith("|")]
    assert all("\x01" not in line for line in tables)


def test_excerpts_of_long_lines_keep_the_caret_under_its_place() -> None:
    row = Row("sql", "error", "m", sql="SELECT\n" + "a" * 500 + "BAD" + "b" * 100, sql_line=2, sql_column=501)
    first, line, caret = excerpt(row).split("\n")
    assert "SELECT" in first
    assert line[caret.index("^") :].startswith("BAD")


def test_the_program_writes_every_artifact_and_reads_a_target(tmp_path: Path) -> None:
    out = {name: tmp_path / f"r.{name}" for name in ("json", "md", "xml")}
    argv = [
        "content",
        "--project",
        str(BAKERY),
        "--out",
        str(out["json"]),
        "--summary",
        str(out["md"]),
        "--junit",
        str(out["xml"]),
        "--target",
        str(BAKERY),
    ]
    assert main(argv) == 0
    report = json.loads(out["json"].read_text())
    assert (report["status"], report["incremental"], report["validator"]) == ("passed", True, "content")
    assert ElementTree.fromstring(out["xml"].read_text()).tag == "testsuites"
    assert out["md"].read_text().startswith("**✓ passed, incremental**")
    assert (
        main(
            [
                "lookml",
                "--project",
                str(BAKERY),
                "--target",
                str(tmp_path / "nowhere"),
                "--out",
                str(out["json"]),
            ]
        )
        == 2
    )
    assert "no folder" in json.loads(out["json"].read_text())["problem"]
    assert main(["style", "--project", str(BAKERY), "--out", str(out["json"])]) == 2
    assert json.loads(out["json"].read_text())["problem"] == "No style validator configuration provided"
    assert main(["sql", "--project", str(BAKERY), "--select", "a/b/c"]) == 2
