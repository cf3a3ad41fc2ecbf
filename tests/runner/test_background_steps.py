"""Steps in the background: what they set is known once they were waited for, a failure counts there, `cancel`
ends them, the job's end waits for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runyard.engine import control
from runyard.model.plan import JobPlan, Lane, Network, StepKind, StepPlan
from runyard.model.state import Outcome, Reason, State
from runyard.runner.sandbox import BoxPlan, Sandbox, SandboxError
from runyard.runner.steps import Ended, Scene
from tests.runner.test_background import TICKING, did, freezes, size

from .conftest import Yard, actions, clock

MEET = "until test -e {0}; do sleep 0.01; done"


def back(script: str, key: str, **more: Any) -> StepPlan:
    return actions(script, key, background=True, **more)


def job(*steps: StepPlan, **more: Any) -> JobPlan:
    return JobPlan("job", "job", steps=steps, network=Network.NONE, **more)


def until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end
        time.sleep(0.01)


def wait(*keys: str, key: str = "wait", **more: Any) -> StepPlan:
    params = {"steps": list(keys)} if keys else {}
    return StepPlan(key, key, StepKind.WAIT, params=params, condition="always()", commands=True, **more)


def cancel(*keys: str) -> StepPlan:
    return StepPlan(
        "cancel", "cancel", StepKind.CANCEL, params={"steps": list(keys)}, condition="always()", commands=True
    )


def outcomes(yard: Yard, attempt_id: int) -> dict[str, Outcome | None]:
    return {step.key: step.outcome for step in yard.steps(attempt_id)}


def test_it_runs_beside_the_next_steps_and_is_known_once_it_was_waited_for(yard: Yard) -> None:
    """Each waits for a file of the other: one after the other they would never end."""
    attempt, log = yard.run(
        back(
            f'touch a; {MEET.format("b")}; echo v=1 >> $GITHUB_OUTPUT; echo SET=yes >> $GITHUB_ENV; echo "$PWD/x" >> $GITHUB_PATH; echo from-the-back',
            "server",
        ),
        actions(
            f'{MEET.format("a")}; echo "early <${{{{ steps.server.outputs.v }}}}><$SET>"; touch b; echo MINE=1 >> $GITHUB_ENV',
            "main",
        ),
        wait("server"),
        actions(
            'echo "late <${{ steps.server.outputs.v }}><$SET><$MINE><${{ steps.server.conclusion }}>"; case $PATH in "$PWD/x":*) echo on the path;; esac',
            "after",
        ),
        outputs={"v": "${{ steps.server.outputs.v }}"},
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert "early <><>" in log and "late <1><yes><1><success>" in log and "on the path" in log
    assert attempt.outputs == {"v": "1"}
    data = yard.log_bytes(attempt.id)
    parts = {step.key: data[step.log_start : step.log_end] for step in yard.steps(attempt.id)}
    assert b"from-the-back\n" in parts["server"] and data.count(b"from-the-back\n") == 1
    assert b"early" in parts["main"] and b"server: success" in parts["wait"]
    assert b"Waiting" not in parts["server"] and b"success" not in parts["server"]


def test_its_output_comes_as_it_is_said_while_the_job_waits_for_it(yard: Yard) -> None:
    (attempt_id,) = yard.submit(
        job(
            back("echo first; touch said; while :; do sleep 0.05; done", "one"),
            back(f"{MEET.format('said')}; echo second; touch both; while :; do sleep 0.05; done", "two"),
            actions(f"{MEET.format('both')}; echo beside", "main"),
            wait("one", "two"),
        )
    )
    until(lambda: "\nfirst\n" in yard.log(attempt_id))
    rows = {step.key: step for step in yard.steps(attempt_id)}
    assert (rows["one"].state, rows["wait"].state) == (State.RUNNING, State.RUNNING)
    data = yard.log_bytes(attempt_id)
    assert b"first\n" in data[rows["one"].log_start :] and b"beside\n" in data[: rows["one"].log_start]
    yard.ports.db.submit_write(lambda tx: control.cancel_attempt(tx, attempt_id, clock())).result()
    assert yard.wait(attempt_id).outcome is Outcome.CANCELED
    data, rows = yard.log_bytes(attempt_id), {step.key: step for step in yard.steps(attempt_id)}
    for key, said, other in (("one", b"first\n", b"second\n"), ("two", b"second\n", b"first\n")):
        part = data[rows[key].log_start : rows[key].log_end]
        assert said in part and other not in part and part.endswith(b"##[error]The operation was canceled.\n")
        assert data.count(part) == 1


def test_its_failure_is_that_of_the_step_that_waits_for_it(yard: Yard) -> None:
    attempt, log = yard.run(
        back("exit 3", "bad"),
        actions("echo still going", "main"),
        wait(),
        actions("echo never", "after"),
        actions('echo "<${{ steps.bad.outcome }}>"', "always", condition="always()"),
    )
    assert (attempt.outcome, attempt.exit_code) == (Outcome.FAILED, 3), log
    assert outcomes(yard, attempt.id) == {
        "bad": Outcome.FAILED, "main": Outcome.PASSED, "wait": Outcome.FAILED, "after": Outcome.SKIPPED, "always": Outcome.PASSED,
    }  # fmt: skip
    assert "<failure>" in log


@pytest.mark.parametrize("where", ["step", "wait"])
def test_a_failure_may_be_tolerated_by_the_step_or_by_who_waits_for_it(yard: Yard, where: str) -> None:
    attempt, log = yard.run(
        back("exit 3", "bad", continue_on_error=where == "step"),
        wait("bad", continue_on_error=where == "wait"),
        actions('echo "<${{ steps.bad.outcome }} ${{ steps.bad.conclusion }}>"', "after"),
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert ("<failure success>" if where == "step" else "<failure failure>") in log


def test_the_end_of_the_job_waits_for_what_nobody_waited_for(yard: Yard) -> None:
    attempt, log = yard.run(
        back(f"{MEET.format('b')}; echo was-waited-for; exit 4", "left"), actions("touch b", "main")
    )
    assert (attempt.outcome, attempt.exit_code) == (Outcome.FAILED, 4), log
    assert "was-waited-for" in log


def test_cancel_ends_one_with_a_signal_it_can_act_on_and_the_job_passes(yard: Yard) -> None:
    server = "trap 'echo v=bye >> $GITHUB_OUTPUT; echo cleaned up; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    attempt, log = yard.run(
        back(server, "server"),
        actions(MEET.format("up"), "main"),
        cancel("server"),
        actions(
            'echo "<${{ steps.server.outcome }} ${{ steps.server.outputs.v }} ${{ job.status }}>"', "after"
        ),
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert "cleaned up" in log and "<cancelled bye success>" in log
    assert outcomes(yard, attempt.id) == {
        "server": Outcome.CANCELED, "main": Outcome.PASSED, "cancel": Outcome.PASSED, "after": Outcome.PASSED,
    }  # fmt: skip


def test_a_failure_before_the_cancel_counts_at_the_end(yard: Yard) -> None:
    attempt, log = yard.run(
        back("touch done; exit 5", "bad"),
        actions(f"{MEET.format('done')}; sleep 0.3", "main"),
        cancel("bad"),
        actions("echo goes-on", "after"),
    )
    assert (attempt.outcome, attempt.exit_code) == (Outcome.FAILED, 5), log
    assert "goes-on" in log


def test_no_more_than_ten_run_at_once_and_the_others_follow(yard: Yard) -> None:
    """Ten wait for each other; the eleventh finds them all gone."""
    ten = [
        back(f'touch n{number}; until test "$(ls n* | wc -l)" -ge 10; do sleep 0.01; done; sleep 0.3; rm n{number}', f"b{number}")
        for number in range(10)
    ]  # fmt: skip
    attempt, log = yard.run(
        *ten,
        back("echo beside $(ls n* 2>/dev/null | wc -l)", "late"),
        wait(),
    )
    assert attempt.outcome is Outcome.PASSED, log
    beside = int(log.split("beside ")[-1].split()[0])
    assert beside < 10, log


def test_one_whose_condition_does_not_hold_is_skipped(yard: Yard) -> None:
    attempt, log = yard.run(
        back("echo never-said", "no", condition="false"),
        wait("no"),
        actions('echo "<${{ steps.no.outcome }}>"', "after"),
    )
    assert attempt.outcome is Outcome.PASSED and "\nnever-said" not in log and "<skipped>" in log


def test_its_masks_hold_at_once_and_everywhere(yard: Yard) -> None:
    attempt, log = yard.run(
        back('echo "::add-mask::hush-hush-hush"; touch told; echo mine hush-hush-hush', "back"),
        actions(f"{MEET.format('told')}; sleep 0.2; echo theirs hush-hush-hush", "main"),
        wait(),
    )
    assert attempt.outcome is Outcome.PASSED and "mine ***" in log and "theirs ***" in log
    assert "\nmine hush" not in log and "\ntheirs hush" not in log


def test_a_cancel_of_the_job_reaches_it_and_always_steps_still_run(yard: Yard) -> None:
    (attempt_id,) = yard.submit(
        job(
            back("touch up; sleep 60", "server"),
            actions(f"{MEET.format('up')}; echo is-up; sleep 60", "main"),
            wait("server"),
            actions('echo "<${{ job.status }}>"', "after", condition="always()"),
        )
    )
    until(lambda: "\nis-up" in yard.log(attempt_id))
    yard.ports.db.submit_write(lambda tx: control.cancel_attempt(tx, attempt_id, clock())).result()
    attempt = yard.wait(attempt_id)
    log = yard.log(attempt_id)
    assert attempt.outcome is Outcome.CANCELED and "<cancelled>" in log, log
    assert outcomes(yard, attempt_id)["server"] is Outcome.CANCELED


def test_the_job_s_time_limit_ends_it_and_leaves_time_for_what_follows(yard: Yard) -> None:
    after = actions("echo cleaned-up", "after", condition="always()")
    (attempt_id,) = yard.submit(
        job(back("sleep 60", "server"), wait("server"), after, timeout_s=1, after_limit_s=60)
    )
    attempt, log = yard.wait(attempt_id), yard.log(attempt_id)
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.TIMEOUT), log
    assert "\ncleaned-up" in log


@pytest.mark.parametrize("more", [{"background": True}, {"lane": Lane(0, 0)}], ids=["background", "parallel"])
def test_trouble_of_ours_in_one_is_trouble_of_the_job(
    yard: Yard, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scene: Scene, step: StepPlan, number: int) -> Ended:
        raise SandboxError(f"the box of {step.key} is gone")

    monkeypatch.setattr("runyard.runner.lanes.run", broken)
    attempt, log = yard.run(actions("echo x", "bad", **more))
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.RUNNER_SYSTEM), log
    assert "the box of bad is gone" in log


def test_it_may_say_no_more_than_the_job(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(log_limit_bytes=1 << 20)
    attempt, _ = yard.run(back("yes", "loud"), actions("echo done", "main"))
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.LOG_TOO_BIG), attempt.message


@freezes
def test_while_we_work_in_the_folders_nobody_moves_but_who_we_start(full: Sandbox) -> None:
    box = full.open(BoxPlan(1, "group/app"))
    ticking = box.run(("sh", "-c", TICKING.replace("&", "")), {"PATH": "/usr/bin:/bin"}, box.inside.workspace)
    until(lambda: Path(box.outside.workspace, "ticks").exists() and size(box) > 0)
    with box.still():
        before = size(box)
        time.sleep(0.3)
        assert size(box) == before
        assert did(box, "n=$(wc -c < ticks); until test $(wc -c < ticks) -gt $n; do sleep 0.01; done")[0] == 0
        before = size(box)
        time.sleep(0.3)
        assert size(box) == before
    until(lambda: size(box) > before)
    ticking.kill()
    ticking.wait()
    assert box.close() == []
