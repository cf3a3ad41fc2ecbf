"""Every case of oracle_cases.py, read by gitlab-ci-local and by us: the same jobs with the same stage, start,
allowed failure and needs.

A case that differs must be listed in DIFFERENCES with the reason, and must really differ. The oracle is a
foreign program in `.oracle` (scripts/oracle.sh: npm, with a Node of its own). It takes half a second of
processor for each case, so what it said of our cases is kept in oracle_answers.json; a sample is asked again
each time and all of them in the slow battery (skipped, loudly, where it cannot be installed).
RUNYARD_WRITE_ORACLE=1 with the slow battery writes the answers anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runyard.dialects.gitlab.config import compile
from runyard.model.errors import Invalid
from tests.dialects.gitlab_config.oracle_cases import CASES, DIFFERENCES, Files

ROOT = Path(__file__).parents[3]
NODE = ROOT / ".oracle/node_modules/.bin/node"
ORACLE = ROOT / ".oracle/node_modules/gitlab-ci-local/dist/index.js"
REFUSED = "refused"

ANSWERS = Path(__file__).parent / "oracle_answers.json"
SAMPLE = sorted(CASES)[::20]

installed = pytest.mark.skipif(
    not (ROOT / ".oracle/ready").exists(), reason="gitlab-ci-local is not installed: run `make clients`"
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with one commit; cases lay their files into it."""
    folder = tmp_path_factory.mktemp("oracle")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["commit", "-q", "--allow-empty", "-m", "one"],
        ["remote", "add", "origin", "https://gitlab.example.org/group/app.git"],
        ["update-ref", "refs/remotes/origin/main", "HEAD"],
        ["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"],
    ):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    return folder


def by_oracle(folder: Path, files: dict[str, str]) -> Any:
    for old in folder.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)  # it includes tracked files only
    argv = [str(NODE), str(ORACLE), "--list-json", "--no-evaluate-rule-changes"]
    done = subprocess.run(
        argv,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )
    if done.returncode or not done.stdout.startswith("[\n"):
        return REFUSED
    return {
        job["name"]: [
            job["stage"],
            job["when"],
            _codes(job["allow_failure"]),
            sorted({need["job"] for need in job["needs"]}) if "needs" in job else None,
        ]
        for job in json.loads(done.stdout)
        if job["when"] != "never"
    }


def by_us(files: dict[str, str], tree: Any, trigger: Callable[..., Any]) -> Any:
    try:
        plan = compile(trigger(), tree(files))
    except Invalid as error:
        return REFUSED if error.problems else {}
    found = {}
    for job in plan.workflows[0].jobs:
        codes = list(job.allow_failure_exit_codes)
        needs = {re.sub(r": \[.*", "", need.group) for need in job.needs}
        dag = job.extra["gitlab"]["scheduling_type"] == "dag"
        found[job.name.replace(", ", ",")] = [
            job.stage,
            str(job.gate.when),
            {"exit_codes": codes} if codes else job.allow_failure,
            sorted(needs) if dag else None,
        ]
    return found


def of(files: Files) -> dict[str, str]:
    return {".gitlab-ci.yml": files} if isinstance(files, str) else files


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ANSWERS.read_text())
    return found


@pytest.mark.parametrize("name", CASES)
def test_we_read_it_as_the_oracle_does(name: str, answers: dict[str, Any], tree: Any, trigger: Any) -> None:
    theirs, ours = answers[name], by_us(of(CASES[name]), tree, trigger)
    if name in DIFFERENCES:
        assert ours != theirs, f"{name} does not differ any more: take it off the list"
    else:
        assert ours == theirs


@installed
@pytest.mark.client
@pytest.mark.parametrize("name", SAMPLE)
def test_the_oracle_still_says_so(name: str, answers: dict[str, Any], repository: Path) -> None:
    assert by_oracle(repository, of(CASES[name])) == answers[name]


@installed
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_oracle_still_says_all_of_it(repository: Path) -> None:
    found = {name: by_oracle(repository, of(files)) for name, files in CASES.items()}
    if os.environ.get("RUNYARD_WRITE_ORACLE"):
        ANSWERS.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n")
    assert found == json.loads(ANSWERS.read_text())


def _codes(value: Any) -> Any:
    """`exit_codes: 3` and `[3]` are the same."""
    codes = value.get("exit_codes") if isinstance(value, dict) else None
    return value if codes is None else {"exit_codes": codes if isinstance(codes, list) else [codes]}


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 150 and set(DIFFERENCES) <= set(CASES)
