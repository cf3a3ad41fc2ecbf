"""Whole jobs through the in-process line: steps, conditions, environment files, built-ins, cancel, limits."""

from __future__ import annotations

import re
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runyard.engine import control
from runyard.engine.ports import ArtifactFilter, Page
from runyard.model.plan import Bind, Image, JobPlan, Need, Network, StepKind, StepPlan, Variable
from runyard.model.state import Outcome, Reason, State
from runyard.syntax.actions import SHELLS, shell_argv, shell_script

from .conftest import Yard, actions, clock, sh


def test_a_job_passes_and_its_log_is_whole(yard: Yard) -> None:
    attempt, log = yard.run(sh("echo hello; pwd", section="step_script"))
    assert (attempt.outcome, attempt.exit_code) == (Outcome.PASSED, 0)
    assert "hello\n" in log and "Job succeeded" in log and "section_start:" in log
    assert attempt.log_bytes == len(yard.log_bytes(attempt.id))
    assert attempt.log_crc == zlib.crc32(yard.log_bytes(attempt.id))
    (step,) = yard.steps(attempt.id)
    assert step.outcome is Outcome.PASSED and step.log_end is not None and step.log_start is not None


def test_a_failing_step_ends_the_job_and_only_after_steps_still_run(yard: Yard) -> None:
    attempt, log = yard.run(
        sh("echo one; exit 7"),
        sh("echo two", "two"),
        sh("echo three", "three", condition="always()"),
        sh("echo four", "four", condition="failure()"),
    )
    assert (attempt.outcome, attempt.reason, attempt.exit_code) == (Outcome.FAILED, Reason.SCRIPT, 7)
    assert "two" not in log and "three" in log and "four" in log and "Job failed: exit code 7" in log
    assert [s.outcome for s in yard.steps(attempt.id)] == [
        Outcome.FAILED, Outcome.SKIPPED, Outcome.PASSED, Outcome.PASSED,
    ]  # fmt: skip


def test_a_box_is_closed_when_the_job_cannot_begin_in_it(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox, closed = yard.loop._means.sandbox, []
    opened = sandbox.open

    def watched(plan: Any) -> Any:
        box = opened(plan)
        close = box.close
        monkeypatch.setattr(box, "close", lambda: closed.append(box) or close())
        return box

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(sandbox, "open", watched)
    monkeypatch.setattr("runyard.runner.job.Room", full)
    attempt, _ = yard.run(sh("echo hello"))
    assert (attempt.reason, attempt.message) == (Reason.RUNNER_SYSTEM, "No space left on device")
    assert len(closed) == 1


def test_variables_files_and_masks_reach_the_job(yard: Yard) -> None:
    variables = (
        Variable("PLAIN", "it's $HOME", raw=True),
        Variable("SECRET", "super-secret-value", masked=True),
        Variable("CERT", "line one\nline two\n", file=True),
    )
    attempt, log = yard.run(
        sh('echo "$PLAIN"; echo "<$SECRET>"; cat "$CERT"; echo $SECRET | base64'), variables=variables
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert "it's $HOME" in log and "<[MASKED]>" in log and "line two" in log
    assert "super-secret" not in log and "c3VwZXItc2Vjcm" not in log


def test_names_and_messages_hide_what_the_log_hides(yard: Yard) -> None:
    """What shows in vendors' answers beside the log (reliability.md §5 B6, B7)."""
    secret = "super-secret-value"
    upload = StepPlan(
        "up", "Upload", StepKind.UPLOAD, params={"paths": ["f"], "name": f"art-{secret}", "type": "archive"}
    )
    attempt, log = yard.run(
        replace(
            actions(
                'echo x > f; echo "::warning file=a.py::about $SECRET"; echo "# $SECRET" > $GITHUB_STEP_SUMMARY'
            ),
            name=f"Deploy {secret}",
        ),
        upload,
        variables=(Variable("SECRET", secret, masked=True),),
    )
    assert attempt.outcome is Outcome.PASSED, log
    rows = yard.ports.db.submit_read(
        lambda tx: tx.artifacts(ArtifactFilter(attempt_id=attempt.id), Page(limit=9))
    ).result()
    assert len(rows) == 1 and rows[0].name.startswith("art-")
    steps = yard.steps(attempt.id)
    assert steps[0].extra["summary"] and steps[0].extra["annotations"]
    assert secret not in f"{steps} {rows} {attempt} {log}"


def test_environment_files_and_outputs_travel_between_steps(yard: Yard) -> None:
    attempt, log = yard.run(
        actions(
            'echo "A=1" >> "$GITHUB_ENV"; echo "v=42" >> $GITHUB_OUTPUT; mkdir bin; printf "#!/bin/sh\\necho tool" > bin/tool; chmod +x bin/tool; echo "$PWD/bin" >> $GITHUB_PATH; echo "# sum" > $GITHUB_STEP_SUMMARY'
        ),
        actions(
            'echo "got $A ${{ steps.one.outputs.v }}"; tool; echo "::add-mask::hush-hush"; echo hush-hush; echo "::warning file=a.py,line=3::careful"',
            "two",
        ),
        actions(
            "echo \"${{ env.A }} $X ${{ job.status }} ${{ hashFiles('bin/*') }}\"",
            "three",
            env={"X": "${{ steps.one.conclusion }}"},
        ),
        outputs={"v": "${{ steps.one.outputs.v }}"},
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert "got 1 42" in log and "\ntool" in log and "1 success success" in log
    assert "\n***\n" in log and "\nhush-hush" not in log and "##[warning]careful" in log
    assert attempt.outputs == {"v": "42"}
    steps = yard.steps(attempt.id)
    assert steps[0].extra["summary"] == "# sum\n"
    assert steps[1].extra["annotations"][0]["line"] == "3"


def test_the_github_context_knows_the_step_that_runs(yard: Yard) -> None:
    step = actions(
        'test "${{ github.output }}" = "$GITHUB_OUTPUT" && test "${{ github.step_summary }}" = "$GITHUB_STEP_SUMMARY" && echo "<${{ github.action }} ${{ github.job }}>"',
        env={"GITHUB_ACTION": "one"},
    )
    attempt, log = yard.run(step, context={"github": {"job": "j"}})
    assert attempt.outcome is Outcome.PASSED and "<one j>" in log, log


def test_continue_on_error_keeps_the_job_and_shows_the_outcome(yard: Yard) -> None:
    attempt, log = yard.run(
        actions("exit 3", continue_on_error=True),
        actions('echo "${{ steps.one.outcome }} ${{ steps.one.conclusion }}"', "two"),
    )
    assert attempt.outcome is Outcome.PASSED
    assert "failure success" in log and "Process completed with exit code 3" in log


def test_a_step_that_takes_too_long_is_ended(yard: Yard) -> None:
    started = time.monotonic()
    attempt, log = yard.run(actions("sleep 60", timeout_s=0.5))
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.TIMEOUT)
    assert "has timed out" in log and time.monotonic() - started < 20


def test_a_job_that_takes_too_long_is_ended_even_when_it_closed_its_output(yard: Yard) -> None:
    (attempt_id,) = yard.submit(
        JobPlan(
            "j",
            "j",
            network=Network.NONE,
            timeout_s=1,
            steps=(sh("exec >&- 2>&-; sleep 60"), sh("echo after", "after", condition="always()")),
        )
    )
    attempt = yard.wait(attempt_id, timeout_s=15)
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.TIMEOUT)
    assert "execution took longer than 1s" in yard.log(attempt_id)


def test_an_actions_log_says_why_its_last_step_ended(yard: Yard) -> None:
    late, canceled = (
        yard.submit(JobPlan("j", "j", steps=(actions("echo up; sleep 60"),), network=Network.NONE, **more))[0]
        for more in ({"timeout_s": 1}, {})
    )
    assert yard.wait(late).reason is Reason.TIMEOUT
    assert yard.log(late).endswith("\n##[error]The job took longer than its time limit.\n")
    while "\nup\n" not in yard.log(canceled):
        time.sleep(0.02)
    yard.ports.db.submit_write(lambda tx: control.cancel_attempt(tx, canceled, clock())).result()
    assert yard.wait(canceled).outcome is Outcome.CANCELED
    assert yard.log(canceled).endswith("\n##[error]The operation was canceled.\n")


def test_checkout_artifacts_and_cache_between_jobs(yard: Yard) -> None:
    checkout = StepPlan("checkout", "Get sources", StepKind.CHECKOUT, params={"depth": 20})
    upload = StepPlan("up", "Upload", StepKind.UPLOAD, params={
        "name": "out", "paths": ["out/", "*.log"], "exclude": ["out/*.tmp"], "type": "archive", "format": "zip", "filename": "out.zip",
    })  # fmt: skip
    save = StepPlan("save", "Save", StepKind.CACHE_SAVE, params={"key": "k", "paths": ["deps"]})
    first = JobPlan("a", "a", network=Network.NONE, steps=(
        checkout, sh("cat hello.txt; git log --oneline; mkdir out deps; echo built > out/x; echo no > out/y.tmp; echo dep > deps/d; ln -s x out/l; ln -s /etc/passwd out/evil"),
        upload, save,
    ))  # fmt: skip
    second = JobPlan("b", "b", network=Network.NONE, needs=(Need("a"),), steps=(
        StepPlan("down", "Download", StepKind.DOWNLOAD, params={"from": "needs"}),
        StepPlan("restore", "Restore", StepKind.CACHE_RESTORE, params={"key": "missing", "fallback_keys": ["k"], "paths": ["deps"]}),
        sh("ls -lR; cat out/x out/l deps/d; echo more >> out/x"),
    ))  # fmt: skip
    a, b = yard.submit(first, second)
    one, two = yard.wait(a), yard.wait(b)
    assert one.outcome is Outcome.PASSED, yard.log(a)
    assert "hello from git" in yard.log(a) and "a link out of the workspace" in yard.log(a)
    (archive,) = yard.artifacts(a)
    assert set(zipfile.ZipFile(yard.bytes_of(archive)).namelist()) == {"out/", "out/x", "out/l"}
    assert two.outcome is Outcome.PASSED, yard.log(b)
    assert yard.log(b).count("built") == 2 and "\ndep\n" in yard.log(b)


def test_reports_and_dotenv(yard: Yard) -> None:
    up = StepPlan(
        "up",
        "Upload",
        StepKind.UPLOAD,
        params={"paths": ["r.env"], "type": "dotenv", "format": "gzip", "filename": ".env", "name": ".env"},
    )
    a, b = yard.submit(
        JobPlan(
            "a",
            "a",
            network=Network.NONE,
            steps=(sh("echo URL=http://x > r.env; echo total 42.5% covered"), up),
            coverage=r"/total (\d+\.\d+)%/",
        ),
        JobPlan("b", "b", network=Network.NONE, needs=(Need("a"),), steps=(sh("echo url is $URL"),)),
    )
    assert yard.wait(a).coverage == 42.5
    yard.wait(b)
    assert "url is http://x" in yard.log(b), yard.log(a)


def test_cancel_stops_the_script_and_runs_the_after_step(yard: Yard) -> None:
    (attempt_id,) = yard.submit(
        JobPlan("j", "j", network=Network.NONE, steps=(
            sh("trap 'echo caught; exit 1' TERM; echo begun; while true; do sleep 0.1; done"),
            sh("echo after", "after", condition="always()"),
        ))
    )  # fmt: skip
    yard.wait(attempt_id, State.RUNNING)
    while "begun" not in yard.log(attempt_id):
        time.sleep(0.02)
    started = time.monotonic()
    yard.ports.db.submit_write(lambda tx: control.cancel_attempt(tx, attempt_id, clock())).result()
    attempt = yard.wait(attempt_id)
    assert attempt.outcome is Outcome.CANCELED
    assert time.monotonic() - started < 6
    assert "caught" in yard.log(attempt_id) and "after" in yard.log(attempt_id)


def test_a_job_that_ignores_term_is_killed_after_the_grace(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(grace_s=0.5)
    (attempt_id,) = yard.submit(
        JobPlan(
            "j",
            "j",
            network=Network.NONE,
            steps=(sh("trap '' TERM HUP INT; echo begun; while true; do sleep 0.1; done"),),
        )
    )
    while "begun" not in yard.log(attempt_id):
        time.sleep(0.02)
    yard.ports.db.submit_write(lambda tx: control.cancel_attempt(tx, attempt_id, clock())).result()
    assert yard.wait(attempt_id, timeout_s=10).outcome is Outcome.CANCELED


def test_force_cancel_ends_the_process_at_once(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(grace_s=60)
    (attempt_id,) = yard.submit(
        JobPlan(
            "j",
            "j",
            network=Network.NONE,
            steps=(sh("trap '' TERM; echo begun; while true; do sleep 0.1; done"),),
        )
    )
    while "begun" not in yard.log(attempt_id):
        time.sleep(0.02)
    for verb in (control.cancel_attempt, control.force_cancel):
        yard.ports.db.submit_write(lambda tx, verb=verb: verb(tx, attempt_id, clock())).result()
    attempt, log = yard.run(sh("echo next"), timeout_s=10)
    assert attempt.outcome is Outcome.PASSED and "next" in log


def test_a_log_beyond_the_limit_ends_the_job(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(log_limit_bytes=1 << 20)
    attempt, _ = yard.run(sh("yes | head -c 50000000; sleep 60"))
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.LOG_TOO_BIG)
    after, _ = yard.run(sh("true"), timeout_s=15)
    assert after.outcome is Outcome.PASSED


def test_a_broken_template_fails_its_step_with_a_sentence(yard: Yard) -> None:
    attempt, log = yard.run(actions("echo ${{ fromJSON('{') }}"))
    assert attempt.outcome is Outcome.FAILED and "##[error]" in log


def test_an_image_that_is_not_here_says_what_to_do(yard: Yard) -> None:
    attempt, log = yard.run(sh("true"), image=Image("localhost/no-such-image:1"))
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.IMAGE_UNAVAILABLE)
    assert "pull" in attempt.message or "install" in attempt.message, log


def test_this_python_runs_inside_by_its_binds(yard: Yard, tmp_path: Path) -> None:
    secret = tmp_path / "rows.db"
    secret.write_text("rows")
    secret.chmod(0o600)
    import runyard

    places = {sys.prefix, sys.base_prefix, str(Path(runyard.__file__).parent.parent)}
    binds = (*(Bind(p) for p in sorted(places)), Bind(str(secret)))
    program = f"import runyard, pathlib; print('py', pathlib.Path({str(secret)!r}).read_text())"
    step = StepPlan("t", "t", argv=(sys.executable, "-I", "-c", program))
    attempt, log = yard.run(step, binds=binds)
    assert attempt.outcome is Outcome.PASSED, log
    assert "py rows" in log


def test_slots_work_at_the_same_time(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(slots=4)
    started = time.monotonic()
    ids = yard.submit(
        *(JobPlan(f"j{i}", f"j{i}", network=Network.NONE, steps=(sh("sleep 1"),)) for i in range(4))
    )
    assert {yard.wait(i).outcome for i in ids} == {Outcome.PASSED}
    assert time.monotonic() - started < 3.5


def test_shutdown_gives_the_job_back(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard()
    (attempt_id,) = yard.submit(JobPlan("j", "j", network=Network.NONE, steps=(sh("echo begun; sleep 60"),)))
    while "begun" not in yard.log(attempt_id):
        time.sleep(0.02)
    assert yard.loop is not None
    yard.loop.stop(0.2)
    attempt = yard.attempt(attempt_id)
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.RUNNER_LOST)


def test_a_replaced_file_is_shown_anew(yard: Yard, tmp_path: Path) -> None:
    shown = tmp_path / "rows.db"
    for text in ("first", "second"):
        fresh = tmp_path / "fresh"
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.rename(shown)
        _, log = yard.run(sh(f"cat {shown}; echo"), binds=(Bind(str(shown)),))
        assert text in log


def test_a_file_below_var_tmp_is_shown_where_it_lies(yard: Yard) -> None:
    """There /var/tmp is a link to the job's own /tmp."""
    with tempfile.NamedTemporaryFile("w", dir="/var/tmp", prefix="runyard-test-") as shown:
        shown.write("rows")
        shown.flush()
        Path(shown.name).chmod(0o644)
        attempt, log = yard.run(sh(f"cat {shown.name}; echo"), binds=(Bind(shown.name),))
    assert attempt.outcome is Outcome.PASSED, log
    assert "rows" in log


def test_a_full_disk_ends_the_job_and_takes_no_new_one(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    from runyard.runner import control as watching

    monkeypatch.setattr(watching, "DISK_LOOK_S", 0.1)
    monkeypatch.setattr(watching, "DISK_STOP_BYTES", 1 << 60)
    attempt, log = yard.run(sh("sleep 30"))
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.RUNNER_SYSTEM)
    assert "disk of this runner is full" in log


def test_a_checkout_of_what_is_not_there_fails_its_step_in_actions(yard: Yard) -> None:
    """Where GitLab's job could not begin."""
    given = {"action": "actions/checkout", "with": {"ref": "nowhere"}}
    checkout = StepPlan("out", "out", StepKind.CHECKOUT, params=given, templated=True, commands=True)
    after = actions("echo after ${{ steps.out.outcome }} ${{ steps.out.conclusion }}")
    attempt, log = yard.run(checkout, after)
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.SCRIPT), log
    assert "##[error]the commit could not be laid out" in log and "after" not in log
    attempt, log = yard.run(replace(checkout, continue_on_error=True), after)
    assert attempt.outcome is Outcome.PASSED and "\nafter failure success\n" in log


@pytest.mark.parametrize(
    "place", ["../../etc", "/", "/etc", "/usr/bin", "/tmp/../etc", "/builds/../etc", "/tmpx"]
)
def test_a_step_starts_in_no_folder_that_is_not_the_jobs(make_yard: Callable[..., Yard], place: str) -> None:
    attempt, log = make_yard().run(sh("echo began", cwd=place))
    assert attempt.outcome is Outcome.FAILED and "began" not in log and "neither inside the workspace" in log


def test_a_step_may_start_in_the_jobs_other_folders(make_yard: Callable[..., Yard]) -> None:
    steps = [
        sh("pwd", str(n), cwd=place) for n, place in enumerate(("/tmp", "/builds/group/app.tmp", "sub/.."))
    ]
    attempt, log = make_yard().run(*steps)
    assert attempt.outcome is Outcome.PASSED and "/tmp\n/builds/group/app.tmp\n/builds/group/app\n" in log, (
        log
    )


def test_an_internal_surprise_is_the_attempts_end_not_the_runners(yard: Yard) -> None:
    attempt, _ = yard.run(sh("true", cwd="../../etc"))
    assert attempt.outcome is Outcome.FAILED
    attempt, log = yard.run(StepPlan("c", "c", StepKind.CHECKOUT, params={"sha": "0" * 40}))
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.CHECKOUT), log
    attempt, _ = yard.run(sh("true"), binds=(Bind("/no/such/file"),))
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.RUNNER_SYSTEM)
    attempt, _ = yard.run(sh("true"))
    assert attempt.outcome is Outcome.PASSED


def test_a_stock_job_finds_its_origin_with_its_own_token(yard: Yard) -> None:
    steps = (
        StepPlan("c", "c", StepKind.CHECKOUT),
        sh("git remote get-url origin; git config remote.origin.fetch; git status --short"),
    )
    attempt, log = yard.run(*steps, stock=True)
    assert attempt.outcome is Outcome.PASSED, log
    assert re.search(
        r"https?://gitlab-ci-token:\[MASKED\]@\S+/group/app\.git\n\+refs/heads/\*:refs/remotes/origin/\*\n",
        log,
    ), log
    attempt, log = yard.run(*steps)
    assert "gitlab-ci-token" not in log


def test_a_step_of_the_runner_is_tried_as_often_as_the_job_says(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runyard.runner.builtins import Builtins

    tries: list[int] = []
    checkout = Builtins._checkout

    def third_time(self: Any, scene: Any, params: Any) -> Any:
        tries.append(1)
        return checkout(self, scene, params if len(tries) > 2 else {"sha": "0" * 40})

    monkeypatch.setattr(Builtins, "_checkout", third_time)
    attempt, log = yard.run(
        StepPlan("c", "c", StepKind.CHECKOUT),
        sh("true"),
        stock=True,
        variables=(Variable("GET_SOURCES_ATTEMPTS", "3"),),
    )
    assert attempt.outcome is Outcome.PASSED and len(tries) == 3, log


def test_a_checkout_stands_on_its_branch(yard: Yard) -> None:
    """However the runner gets the commit: `git push` of a step knows which branch is meant."""
    look = sh("git -c safe.directory='*' symbolic-ref HEAD; git -c safe.directory='*' status --short")
    attempt, log = yard.run(StepPlan("c", "c", StepKind.CHECKOUT, params={"depth": 1}), look)
    assert attempt.outcome is Outcome.PASSED and log.splitlines()[-2] == "refs/heads/main", log


def test_powershell_runs_as_github_runs_it_or_says_what_to_install(yard: Yard) -> None:
    """A stand-in shows its arguments and its script: PowerShell itself is on no machine that tests have."""
    script = shell_script(SHELLS["pwsh"], "Write-Output hello")
    step = StepPlan("one", "one", argv=SHELLS["pwsh"], script=script, templated=True, commands=True)
    attempt, log = yard.run(step)
    assert attempt.outcome is Outcome.FAILED and attempt.exit_code == 127
    assert "##[error]pwsh: command not found. Install PowerShell" in log
    fake = actions(
        'mkdir bin; cat > bin/pwsh <<\'EOF\'\n#!/bin/sh\necho "$1 $2"; file=${2#*/}; cat "/${file%?}"\nEOF\n'
        "chmod +x bin/pwsh; echo $PWD/bin >> $GITHUB_PATH",
        "fake",
    )
    attempt, log = yard.run(fake, step)
    assert attempt.outcome is Outcome.PASSED, log
    assert re.search(r"\n-command \. '/\S+/script-1\.ps1'\n", log), log
    assert "\n$ErrorActionPreference = 'stop'\nWrite-Output hello\n" in log


def test_a_shell_of_ones_own_gets_the_path_wherever_it_stands(yard: Yard) -> None:
    argv = shell_argv("bash -c 'echo before; . {0}; echo after'")
    assert argv is not None
    attempt, log = yard.run(StepPlan("one", "one", argv=argv, script="echo within\n", commands=True))
    assert attempt.outcome is Outcome.PASSED, log
    assert "\nbefore\nwithin\nafter\n" in log
