"""Hostile pipeline and workflow files as data: each is refused with a sentence, or does no harm, in a moment
(reliability.md §5 A, E)."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from runyard.app.vendors import load_dialects
from runyard.model.errors import Invalid, NothingToRun
from runyard.model.plan import Network
from runyard.model.trigger import Commit, Trigger
from runyard.model.work import Project, User

DIALECTS = load_dialects()
ENTRY = {"gitlab": ".gitlab-ci.yml", "depot": ".depot/workflows/ci.yml"}
JOB = "on: push\njobs:\n  a:\n    runs-on: x\n"
RUN = "    steps: [{run: x}]\n"
WIDE = "[" + ",".join(map(str, range(300))) + "]"


def rule(condition: str) -> str:
    return f"a: {{script: x, rules: [{{if: '{condition}'}}]}}"


# row of the contract: (dialect, text or files, what the refusal says)
REFUSED: dict[str, tuple[str, Any, str]] = {
    "A4 key that is a command": ("gitlab", "variables: {A=1;id: v}\na: {script: x}", "invalid variable name"),
    "A4 key with a newline": ("gitlab", "variables: {'A\\nB': v}\na: {script: x}", "invalid variable name"),
    "A5 NUL": ("gitlab", 'variables: {A: "x\\0y"}\na: {script: x}', "U+0000"),
    "A5 long value": ("gitlab", f"variables: {{A: {'x' * 300_000}}}\na: {{script: x}}", "too long"),
    "A7 image that is an option": ("gitlab", "a: {script: x, image: '--privileged'}", "not the name of an image"),
    "A7 service that is an option": ("gitlab", "a: {script: x, services: ['-v/:/h']}", "not the name of an image"),
    "A8 volumes": ("depot", JOB + "    container: {image: a, volumes: ['/:/host']}\n" + RUN, "Nothing of the runner's disk"),
    "A8 options": ("depot", JOB + "    container: {image: a, options: --privileged}\n" + RUN, "not served"),
    "A14 outside": ("gitlab", "include: {local: '/../../etc/x.yml'}\na: {script: x}", "does not exist"),
    "A14 project": ("gitlab", "include: {project: a/b, file: x.yml}\na: {script: x}", "can only be read by a server"),
    "D1 remote": ("gitlab", "include: {remote: 'http://169.254.169.254/x.yml'}\na: {script: x}", "can only be read by a server"),
    "A14 loop": (
        "gitlab",
        {".gitlab-ci.yml": "include: {local: a.yml}", "a.yml": "include: {local: b.yml}", "b.yml": "include: {local: a.yml}"},
        "includes itself",
    ),
    "A14 doubling": (
        "gitlab",
        {".gitlab-ci.yml": "include: {local: l0.yml}"}
        | {f"l{i}.yml": f"include: [{{local: l{i + 1}.yml}}, {{local: l{i + 1}.yml}}]" for i in range(40)},
        "150 nested includes",
    ),
    "A14 extends": ("gitlab", "a: {extends: b}\nb: {extends: a}", "circular"),
    "A15 own reference": ("gitlab", ".a: {script: [!reference [.a, script]]}\nb: {script: [!reference [.a, script]]}", "circular"),
    "A15 doubling references": (
        "gitlab",
        "".join(f".r{i}: {{script: [!reference [.r{i + 1}, script], !reference [.r{i + 1}, script]]}}\n" for i in range(30))
        + ".r30: {script: [x]}\nb: {script: [!reference [.r0, script]]}",
        "deeper than 10",
    ),
    "A17 parallel": ("gitlab", "a: {script: x, parallel: 100000}", "200"),
    "A17 matrix": ("gitlab", f"a: {{script: x, parallel: {{matrix: [{{A: {WIDE}, B: {WIDE}}}]}}}}", "200"),
    "A17 depot matrix": ("depot", JOB + f"    strategy: {{matrix: {{a: {WIDE}, b: {WIDE}}}}}\n" + RUN, "256"),
    "A17 jobs": ("gitlab", "\n".join(f"j{i}: {{script: x}}" for i in range(20_001)), "20000 jobs"),
    "A18 parentheses": ("depot", JOB + f"    if: {'(' * 1000}1{')' * 1000}\n" + RUN, "depth 50"),
    "A18 nots": ("depot", JOB + f"    if: \"{'!' * 5000}true\"\n" + RUN, "depth 50"),
    "A18 doubling": ("depot", JOB + "    name: ${{ " + "format('{0}{0}'," * 30 + "'xxxxxxxxxx'" + ")" * 30 + " }}\n" + RUN, "1048576"),
    "E14 backreference": ("gitlab", rule(r'"a" =~ /(a)\1/'), "invalid pattern"),
    "E14 repetition": ("gitlab", rule('"a" =~ /((a{100}){100}){100}/'), "invalid pattern"),
    "E13 coverage": ("gitlab", "a: {script: x, coverage: '/(?=a)(a+)+$/'}", "invalid pattern"),
    "E18 parentheses": ("gitlab", rule("(" * 5000 + "$A" + ")" * 5000), "100 parts"),
    "E18 conjunctions": ("gitlab", rule("$A && " * 20_000 + "$A"), "100 parts"),
    "E20 years": ("gitlab", "a: {script: x, timeout: 99999999999 years}", "100 years"),
    "E20 delay": ("gitlab", "a: {script: x, when: delayed, start_in: 2 weeks}", "7 days"),
    "doubling variables": (
        "gitlab",
        "variables: {" + ", ".join(f"V{i}: $V{i + 1}$V{i + 1}" for i in range(40)) + ", V40: xxxxxxxxxx}\na: {script: x, image: $V0}",
        "131071 bytes",
    ),
}  # fmt: skip
HARMLESS = {
    "E13 rules": ("gitlab", rule('"' + "a" * 30 + '!" =~ /(a+)+$/')),
    "E16 exists": ("gitlab", {".gitlab-ci.yml": "a: {script: x, rules: [{exists: ['" + "**/" * 60 + "zz*']}]}"} | {f"{'d/' * 30}{i}": "" for i in range(5000)}),
    "A18 deep JSON": ("depot", JOB + "    if: ${{ fromJSON('" + "[" * 20_000 + "') }}\n" + RUN),
    "a filter of stars": ("depot", "on: {push: {branches: ['" + "a*" * 200 + "b']}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}"),
}  # fmt: skip


class Folder:
    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, path: str) -> bytes | None:
        text = self.files.get(path)
        return None if text is None else text.encode()

    def paths(self) -> list[str]:
        return sorted(self.files)

    def changed(self, base: str | None = None) -> None:
        return None


def compiled(vendor: str, given: Any) -> Any:
    files = given if isinstance(given, dict) else {ENTRY[vendor]: given}
    trigger = Trigger(
        Project(1, "a/b"), vendor, "api", "main", "0" * 40, User(1, "root"), 0, commit=Commit("0" * 40),
        options={"workflow": ENTRY[vendor]},
    )  # fmt: skip
    start = time.process_time()
    try:
        return DIALECTS[vendor].compile(trigger, Folder(files))
    finally:
        assert time.process_time() - start < 5  # 1 s alone; a neighbour on the same core doubles it


@pytest.mark.parametrize("row", REFUSED)
def test_it_is_refused_with_a_sentence(row: str) -> None:
    vendor, given, says = REFUSED[row]
    with pytest.raises(Invalid) as caught:
        compiled(vendor, given)
    told = [caught.value.message, *map(str, caught.value.problems)]
    assert any(says in text for text in told), told[:3]


@pytest.mark.parametrize("row", HARMLESS)
def test_it_does_no_harm(row: str) -> None:
    with contextlib.suppress(NothingToRun):
        compiled(*HARMLESS[row])


@pytest.mark.parametrize("vendor", ENTRY)
def test_no_file_gives_a_job_what_only_the_server_may_give(vendor: str) -> None:
    """Paths of this machine, its network, its databases' passwords: those stand in plans that the server
    writes itself."""
    texts = {
        "gitlab": "a: {script: x, variables: {RUNYARD_CONNECTIONS: x}, network: host}\nb: {script: x}",
        "depot": JOB + RUN,
    }
    try:
        plan = compiled(vendor, texts[vendor])
    except Invalid:
        plan = compiled(vendor, texts[vendor].replace(", network: host", ""))
    for workflow in plan.workflows:
        for job in workflow.jobs:
            assert (job.binds, job.connections) == ((), ()) and job.network is not Network.HOST
