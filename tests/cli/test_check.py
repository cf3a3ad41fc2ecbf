"""`runyard check` and `runyard compile`, as a person runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

BAD = "stages: [build]\njob:\n  stage: bild\n  scrpt: x\n  script: [echo]\n"
GOOD = "job:\n  script:\n    - echo one\n    - echo $WHAT\n"


def runyard(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "runyard", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60)


def test_check_finds_every_problem_with_its_place(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text(BAD)
    done = runyard(tmp_path, "check")
    assert done.returncode == 1
    assert ".gitlab-ci.yml:3:" in done.stdout
    assert ".gitlab-ci.yml:4:3: error:" in done.stdout
    assert "did you mean `script`?" in done.stdout
    found = json.loads(runyard(tmp_path, "check", "--output", "json").stdout)
    assert {p["line"] for p in found} == {3, 4}


def test_check_of_good_files_is_quiet(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text(GOOD)
    done = runyard(tmp_path, "check")
    assert (done.returncode, done.stdout) == (0, "")


def test_check_reads_a_link_out_of_the_folder_as_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.yml").write_text("top secret: [")
    (inside / ".gitlab-ci.yml").write_text("include: linked.yml\njob: {script: x}\n")
    (inside / "linked.yml").symlink_to(tmp_path / "secret.yml")
    done = runyard(inside, "check")
    assert done.returncode == 1
    assert "top secret" not in done.stdout


def test_a_file_that_cannot_be_read_is_a_problem_among_the_others(tmp_path: Path) -> None:
    folder = tmp_path / ".depot/workflows"
    folder.mkdir(parents=True)
    (folder / "big.yml").write_text("#" * (1 << 20) + "\n")
    (folder / "bad.yml").write_text("on: nothing\n")
    done = runyard(tmp_path, "check")
    assert done.returncode == 1
    assert (
        ".depot/workflows/big.yml: error: .depot/workflows/big.yml has more than 1048576 bytes."
        in done.stdout
    )
    assert ".depot/workflows/bad.yml:1:1: error: Required property is missing: jobs" in done.stdout


def test_what_stands_in_files_does_not_steer_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / ".depot/workflows"
    folder.mkdir(parents=True)
    (folder / "a\n\x1b[2J.yml").write_text('on: "\\e[31mpush"\njobs: {}\n')
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for verb in ("check", "run"):
        done = runyard(tmp_path, verb)
        said = done.stdout + done.stderr
        assert "\x1b" not in said and said.startswith(".depot/workflows/a\\n\\x1b[2J.yml:1:5: "), said
        assert r"\x1b[31mpush" in said


def test_compile_prints_a_plan_that_people_and_machines_read(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text(GOOD + "  rules:\n    - if: $WHAT == 'ever'\n")
    assert runyard(tmp_path, "compile").returncode == 2
    done = runyard(tmp_path, "compile", "--var", "WHAT=ever")
    assert done.returncode == 0
    (job,) = yaml.safe_load(done.stdout)["workflows"][0]["jobs"]
    assert job["name"] == "job"
    assert "echo $WHAT" in "".join(step.get("script", "") for step in job["steps"])
    again = json.loads(runyard(tmp_path, "compile", "--output", "json", "--var", "WHAT=ever").stdout)
    assert again["workflows"][0]["jobs"][0]["name"] == "job"


def test_compile_of_a_bad_file_says_where(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text(BAD)
    done = runyard(tmp_path, "compile")
    assert done.returncode == 2
    assert ".gitlab-ci.yml:4:3" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_verb_gets_a_suggestion(tmp_path: Path) -> None:
    done = runyard(tmp_path, "chek")
    assert done.returncode == 2
    assert "runyard check" in done.stderr


def test_help_lists_every_verb(tmp_path: Path) -> None:
    said = runyard(tmp_path, "--help").stdout
    for verb in ("serve", "run", "check", "compile", "runner", "token", "settings", "diff", "lookml"):
        assert f"  {verb} " in said
        assert "usage" in runyard(tmp_path, verb, "--help").stdout.lower()


def test_nothing_to_check_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("nothing here\n")
    empty = runyard(tmp_path, "check")
    assert (empty.returncode, empty.stdout) == (2, "")
    assert "nothing to check" in empty.stderr
    (tmp_path / ".gitlab-ci.yml").write_text("a: {script: [true]}\n")
    wrong = runyard(tmp_path, "check", ".gitlab-ci.yaml")
    assert wrong.returncode == 2
    assert "'.gitlab-ci.yaml'" in wrong.stderr


def test_an_unknown_output_is_refused(tmp_path: Path) -> None:
    for verb in ("check", "run", "compile", "settings"):
        done = runyard(tmp_path, verb, "--output", "xml")
        assert done.returncode == 2
        assert "--output" in done.stderr
        assert "Traceback" not in done.stderr
