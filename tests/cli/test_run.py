"""`runyard run` in a working copy: what would happen on push, now, uncommitted changes included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runyard.cli.run import chosen
from runyard.model.errors import Invalid

PIPELINE = """
stages: [build, test]
compile:
  stage: build
  script: [cat note.txt, "echo built > out.txt"]
  artifacts: {paths: [out.txt]}
unit:
  stage: test
  script: [cat out.txt]
lint:
  stage: test
  script: [exit 4]
  allow_failure: true
release:
  stage: test
  when: manual
  script: [echo released]
"""
WORKFLOW = """
on: push
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: cat note.txt
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A committed working copy with a change that is not committed."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "note.txt").write_text("committed\n")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    (tmp_path / "note.txt").write_text("as it stands\n")
    return tmp_path


def runyard(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "runyard", "run", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120)


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {job["name"]: job["state"] for run in json.loads(done.stdout) for job in run["jobs"]}


def test_a_pipeline_runs_as_the_copy_stands(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(PIPELINE)
    done = runyard(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compile │ as it stands" in done.stdout
    assert "unit │ built" in done.stdout
    assert "lint failed" in done.stdout
    assert "\x1b" not in done.stdout
    assert not (copy / "out.txt").exists()


def test_a_workflow_runs_too_and_json_is_all_of_stdout(copy: Path) -> None:
    (copy / ".github/workflows").mkdir(parents=True)
    (copy / ".github/workflows/ci.yml").write_text(WORKFLOW)
    done = runyard(copy, "--output", "json")
    assert done.returncode == 0, done.stderr
    assert outcomes(done) == {"one": "passed"}
    assert "as it stands" in done.stderr


def test_only_the_named_jobs_and_a_named_manual_one_starts(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(PIPELINE)
    done = runyard(copy, "release", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert outcomes(done) == {"release": "passed"}
    assert runyard(copy, "relase").returncode == 2


def test_a_folder_with_a_pipeline_of_its_own_runs_as_a_project(copy: Path) -> None:
    inner = copy / "services/inner"
    inner.mkdir(parents=True)
    (copy / ".gitlab-ci.yml").write_text("outer:\n  script: [exit 3]\n")
    (inner / ".gitlab-ci.yml").write_text("inner:\n  script: [cat here.txt, test ! -e services]\n")
    (inner / "here.txt").write_text("of the folder\n")
    done = runyard(inner)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of the folder" in done.stdout
    (copy / "services/plain").mkdir()
    assert runyard(copy / "services/plain").returncode == 1  # no pipeline of its own: the one around it


def test_what_waits_for_a_person_says_how_it_is_started(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(PIPELINE)
    assert "starts by hand: runyard run release" in runyard(copy).stdout


def test_a_folder_that_is_not_there_is_a_sentence(copy: Path) -> None:
    done = runyard(copy, "-C", "elsewhere")
    assert done.returncode == 2
    assert done.stderr.startswith("runyard: There is no folder")


def test_failure_is_exit_1_and_what_cannot_run_is_exit_2(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text("a: {script: exit 3}\n")
    assert runyard(copy).returncode == 1
    (copy / ".gitlab-ci.yml").write_text("a: {scrip: exit 3}\n")
    done = runyard(copy)
    assert done.returncode == 2
    assert ".gitlab-ci.yml:1:" in done.stderr
    (copy / ".gitlab-ci.yml").unlink()
    done = runyard(copy)
    assert done.returncode == 2
    assert "--file" in done.stderr


def test_a_delayed_job_is_waited_for(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text("a: {when: delayed, start_in: 1 second, script: echo late}\n")
    done = runyard(copy, "--output", "json")
    assert outcomes(done) == {"a": "passed"}


def test_the_list_runs_nothing(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(PIPELINE)
    done = runyard(copy, "--list")
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["compile", "unit", "lint", "release"]


def test_ctrl_c_cancels_and_leaves_no_process(copy: Path) -> None:
    mark = f"runyard-test-{os.getpid()}"
    (copy / ".gitlab-ci.yml").write_text(f"a:\n  script: ['exec -a {mark} sleep 300']\n")
    argv = [sys.executable, "-m", "runyard", "run"]
    # What a shell starts in the background ignores Ctrl-C, and all that is started there; what is handled
    # here is not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            argv, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            end = time.monotonic() + 60
            while not alive(mark) and time.monotonic() < end:
                time.sleep(0.05)
            assert alive(mark)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1, said
    assert not alive(mark)


def alive(mark: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().split(b"\0")[0] == mark.encode():
                return True
        except OSError:
            continue
    return False


STAGED = """
stages: [build, test, deploy]
compile: {stage: build, script: [echo compiling]}
extra: {stage: build, script: [echo extra]}
unit: {stage: test, script: [echo testing], needs: [compile]}
ship: {stage: deploy, script: [echo shipping], when: manual}
"""


def names_of(result: subprocess.CompletedProcess[str]) -> set[str]:
    return {job["name"] for run in json.loads(result.stdout) for job in run["jobs"]}


def test_needs_takes_all_that_a_job_waits_for_and_a_name_only_what_it_names(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(STAGED)
    assert names_of(runyard(copy, "ship", "--output", "json")) == {"ship"}
    assert names_of(runyard(copy, "--needs", "unit", "--output", "json")) == {"unit", "compile"}
    whole = runyard(copy, "--needs", "ship", "--output", "json")
    assert whole.returncode == 0 and names_of(whole) == {"ship", "unit", "compile", "extra"}
    unknown = runyard(copy, "--needs", "nobody")
    assert unknown.returncode == 2 and "There is no job 'nobody'" in unknown.stderr


def test_jobs_are_picked_from_a_list(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(STAGED)
    argv = [sys.executable, "-m", "runyard", "run", "--pick", "--output", "json"]

    def picked(answer: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, cwd=copy, input=answer, capture_output=True, text=True, timeout=120)

    found = picked("2 ship\n")
    assert found.returncode == 0 and "   2  build  extra" in found.stderr
    assert names_of(found) == {"extra", "ship"}
    assert picked("9\n").returncode == 2


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("1 3", ["a b", "c"]), ("1-3", ["a b", "2", "c"]), ("a b", ["a b"]), ('"a b", c', ["a b", "c"]), ("2", ["2"]), ("", []),
    ],
)  # fmt: skip
def test_an_answer_means_numbers_ranges_or_names(answer: str, names: list[str]) -> None:
    assert chosen(answer, ["a b", "2", "c"]) == names


@pytest.mark.parametrize("answer", ["0", "4", "3-1", "²", "1-²", "-", "nobody"])
def test_an_answer_that_means_nothing_says_so(answer: str) -> None:
    with pytest.raises(Invalid, match="neither a job's name nor a number from 1 to 3"):
        chosen(answer, ["a b", "2", "c"])


def test_the_list_is_text_or_json(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(STAGED)
    assert "test   unit  needs compile" in runyard(copy, "--list").stdout
    told = {job["name"]: job for job in json.loads(runyard(copy, "--list", "--output", "json").stdout)}
    assert (
        told["unit"]["needs"] == ["compile"]
        and told["ship"]["when"] == "manual"
        and told["compile"]["needs"] is None
    )


def test_child_pipelines_run_too(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(
        "first: {script: [echo one]}\nchild: {trigger: {include: child.yml}}\n"
    )
    (copy / "child.yml").write_text("inner: {script: [echo deep, exit 3]}\n")
    found = runyard(copy, "--output", "json")
    assert (
        found.returncode == 1
        and names_of(found) == {"first", "child", "inner"}
        and "inner │ deep" in found.stderr
    )


def test_only_what_a_run_needs_is_imported(copy: Path) -> None:
    """The start is most of a small pipeline's time: no web framework, no settings, no other vendor."""
    (copy / ".gitlab-ci.yml").write_text("a: {script: [echo hi]}")
    code = "import sys; sys.argv = ['runyard', 'run']\nimport runyard.__main__ as m\ntry: m.main()\nexcept SystemExit as e: assert e.code == 0\nprint(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    modules = set(found.stdout.split())
    heavy = {
        "fastapi",
        "pydantic",
        "typer",
        "rich",
        "sqlalchemy",
        "cryptography",
        "obstore",
        "runyard.dialects.looker",
        "runyard.dialects.depot",
    }
    assert not heavy & modules


def test_a_long_log_is_shown_to_its_last_line_though_that_has_no_end(copy: Path) -> None:
    """More than one look reads at once, and a last line without a newline."""
    script = "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 999; printf '%s' the-end"
    (copy / ".gitlab-ci.yml").write_text(f'a:\n  script: ["{script}"]\n'.replace("\\", "\\\\"))
    done = runyard(copy)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.count("x") for line in lines if line.startswith("a │ x")) == 3_000_000
    assert any(line.startswith("a │ ") and line.endswith("the-end") for line in lines), lines[-9:]
    passed = next(n for n, line in enumerate(lines) if line.startswith("✓ a passed"))
    assert all(not line.startswith("a │ ") for line in lines[passed:])


def test_git_works_in_a_job(copy: Path) -> None:
    """Though the run's repository borrows the copy's objects."""
    script = "git status --porcelain; git log --format=%s; git fsck --full; git diff --stat HEAD"
    (copy / ".gitlab-ci.yml").write_text(f"a:\n  script: ['{script}']\n")
    assert runyard(copy).returncode == 0


def test_the_users_own_settings_are_heeded_and_those_of_the_copy_are_not(copy: Path, tmp_path: Path) -> None:
    """The copy's could open the sandbox, and it may be a stranger's."""
    (copy / ".gitlab-ci.yml").write_text(PIPELINE)
    (copy / "runyard.toml").write_text('network = "no such network"\n')
    home = tmp_path / "config"
    (home / "runyard").mkdir(parents=True)
    found = []
    for text in ("", "job_cpus = -1", "jobs_per_run = many"):
        (home / "runyard/runyard.toml").write_text(text)
        environment = {**os.environ, "XDG_CONFIG_HOME": str(home)}
        done = subprocess.run(
            [sys.executable, "-m", "runyard", "run", "--list"],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
        )
        found.append((done.returncode, done.stderr))
    assert [code for code, _ in found] == [0, 2, 2]
    assert "runyard.toml cannot be read" in found[2][1]


def test_jobs_take_inputs(copy: Path) -> None:
    (copy / ".gitlab-ci.yml").write_text(
        "a: {inputs: {n: {type: number, default: 1}, w: {default: x}}, script: ['echo a ${{ job.inputs.n }} ${{ job.inputs.w }}']}\n"
        "b: {inputs: {w: {default: x, options: [x, y]}}, script: ['echo b ${{ job.inputs.w }}']}\n"
    )
    done = runyard(copy, "--job-input", "w=y", "--job-input", "n=7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a 7 y" in done.stdout and "b y" in done.stdout
    for given, said in (
        ("m=1", "no job here has an input 'm'"),
        ("w=z", "`z` cannot be used"),
        ("n=many", "not a number"),
    ):
        wrong = runyard(copy, "--job-input", given)
        assert wrong.returncode == 2 and said in wrong.stderr.lower(), wrong.stderr
