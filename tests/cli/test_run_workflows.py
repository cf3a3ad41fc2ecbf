"""`runyard run` of Actions workflows: events, inputs, legs, secrets, and which of two languages; each in a
process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runyard.cli.asked import read
from runyard.model.errors import Invalid

Run = Callable[..., subprocess.CompletedProcess[str]]
PUSHED = "on: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n    steps: [{run: echo pushed}]\n"
TALKS = """
on:
  workflow_dispatch:
    inputs:
      who: {default: world}
      deep: {type: boolean, default: true}
  pull_request:
jobs:
  legs:
    runs-on: ubuntu-latest
    strategy: {matrix: {os: [a, b], v: [1, 2]}}
    steps:
      - run: echo "${{ github.event_name }} ${{ inputs.who }} ${{ inputs.deep }} ${{ matrix.os }}${{ matrix.v }}"
      - run: echo "vars ${{ vars.TONE }}, head ${{ github.head_ref }}, base $GITHUB_BASE_REF, n ${{ github.event.number }}"
      - run: test "$KEY" = hush-now && echo "key $KEY"
        env: {KEY: "${{ secrets.KEY }}"}
      - run: grep -o '"number". *[0-9]*' "$GITHUB_EVENT_PATH" || true
  after:
    needs: legs
    runs-on: ubuntu-latest
    steps: [{run: echo after}]
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A working copy with two workflows, and `runyard run` in it."""
    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / ".github/workflows/pushed.yml").write_text(PUSHED)
    (tmp_path / ".github/workflows/talks.yml").write_text(TALKS)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)

    def runyard(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "runyard", "run", *arguments]
        return subprocess.run(
            argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
        )

    return runyard


def names(done: subprocess.CompletedProcess[str]) -> set[str]:
    return {job["name"] for one in json.loads(done.stdout) for job in one["jobs"]}


def test_a_dispatch_with_inputs_legs_variables_and_secrets(run: Run, tmp_path: Path) -> None:
    (tmp_path.parent / "secrets.env").write_text("# comment\nexport KEY='hush-now'\n")
    done = run(
        "--event", "workflow_dispatch", "--input", "who=you", "--matrix", "os=b", "--matrix", "v:2", "--var", "TONE=soft",
        "--secret-file", str(tmp_path.parent / "secrets.env"), "-j", "legs",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "legs (b, 2) │ workflow_dispatch you true b2" in done.stdout
    assert "vars soft" in done.stdout and "key ***" in done.stdout and "hush-now" not in done.stdout
    assert "(a, " not in done.stdout and "after" not in done.stdout
    assert "▸ Run echo" in done.stdout and "##[" not in done.stdout
    clean = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, check=True)
    assert clean.stdout == b""


def test_a_pull_request_with_a_payload(run: Run, tmp_path: Path) -> None:
    event = tmp_path.parent / "event.json"
    event.write_text('{"number": 7, "pull_request": {"head": {"ref": "feat"}, "base": {"ref": "trunk"}}}')
    done = run(
        "--event", "pull_request", "-e", str(event), "--matrix", "os=a", "--matrix", "v=1", "-s", "KEY", KEY="hush-now"
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "head feat, base trunk, n 7" in done.stdout
    assert '"number": 7' in done.stdout
    assert "after │ after" in done.stdout


def test_the_list_and_the_file(run: Run) -> None:
    listed = run("--list")
    assert listed.stdout == ".github/workflows/pushed.yml one\n"
    assert "Not on push: .github/workflows/talks.yml" in listed.stderr
    told = json.loads(run("-f", "talks.yml", "--list", "--output", "json").stdout)
    assert [job["name"] for job in told] == [
        "legs (a, 1)",
        "legs (a, 2)",
        "legs (b, 1)",
        "legs (b, 2)",
        "after",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--event", "schedule"], "No workflow of this repository runs for this event"),
        (["-f", "talk.yml"], "did you mean '.github/workflows/talks.yml'?"),
        (["-f", "talks.yml", "--input", "whom=you"], "Unexpected inputs provided: ['whom']"),
        (["-f", "talks.yml", "--matrix", "os=c"], "No job's matrix has such a leg"),
        (["-f", "talks.yml", "--matrix", "so=a"], "No job's matrix has a key 'so'"),
        (["--job", "two"], "There is no job 'two'"),
        (["--input", "who"], "--input takes KEY=VALUE"),
        (["-s", "NOWHERE_TO_BE_FOUND"], "--secret NOWHERE_TO_BE_FOUND has no value"),
        (["--dialect", "gitlab"], "There is no .gitlab-ci.yml"),
    ],
)
def test_what_cannot_run_is_exit_2_and_says_why(run: Run, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr


def test_of_two_languages_one_is_chosen(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text("piped: {script: [echo piped]}\n")
    unclear = run()
    assert unclear.returncode == 2 and "--dialect gitlab" in unclear.stderr
    assert names(run("--dialect", "gitlab", "--output", "json")) == {"piped"}
    assert names(run("one", "--output", "json")) == {"one"}
    assert run("--list").stdout.split() == ["test", "piped", ".github/workflows/pushed.yml", "one"]


def test_files_of_secrets_and_events(tmp_path: Path) -> None:
    file = tmp_path / "x.env"
    file.write_text("A=1 # not this\nB=\"two\\nlines\"\nC='a\nb'\n\nD=\n")
    assert dict(read(["--var-file", str(file)], "run").variables) == {
        "A": "1",
        "B": "two\nlines",
        "C": "a\nb",
        "D": "",
    }
    for text, option in (
        ("A", "--var-file"),
        ("[1]", "-e"),
        ("{", "-e"),
        ('A="', "--secret-file"),
        ("1A=2", "--var-file"),
    ):
        file.write_text(text)
        with pytest.raises(Invalid):
            read([option, str(file)], "run")
    with pytest.raises(Invalid):
        read(["-e", str(tmp_path / "none.json")], "run")
