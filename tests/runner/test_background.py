"""One box per job: what a step leaves running lives on, stands still while the runner works, cannot touch
what keeps the box, and ends with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runyard.model.state import Outcome, Reason
from runyard.runner.sandbox import Box, BoxPlan, Level, Limits, Sandbox, cgroups
from runyard.runner.sandbox.plain import PlainSandbox

from .conftest import Yard, actions, sh
from .test_kill import none_left

PATH = {"PATH": "/usr/bin:/bin"}
TICKING = "(while :; do echo tick >> ticks; sleep 0.01; done) >/dev/null 2>&1 &"
AWAKE = """
import ctypes, os, struct, time
if os.fork():
    raise SystemExit
libc = ctypes.CDLL(None, use_errno=True)
timer = ctypes.c_void_p()
event = ctypes.create_string_buffer(struct.pack("QiixxxxQ", 0, 18, 0, 0), 64)  # SIGEV_SIGNAL, SIGCONT
assert libc.timer_create(1, event, ctypes.byref(timer)) == 0, ctypes.get_errno()
every = struct.pack("qqqq", 0, 5_000_000, 0, 5_000_000)
assert libc.timer_settime(timer, 0, every, None) == 0
while True:
    open("ticks", "a").write("tick\\n")
    time.sleep(0.005)
"""


def _can_freeze() -> bool:
    proc = Path("/proc/self")
    found = cgroups.hierarchies((proc / "mountinfo").read_text(), (proc / "cgroup").read_text())
    return any(one.version == 2 for one in found)


freezes = pytest.mark.skipif(
    not _can_freeze(),
    reason="NOT TESTED: no control groups of version 2 here, so what a step leaves ends with it",
)


def did(box: Box, script: str, *, within_s: float = 20.0) -> tuple[int, str]:
    """A step's exit code and what it said."""
    process = box.run(("sh", "-c", script), PATH, box.inside.workspace)
    code = process.wait(within_s)
    assert code is not None, script
    os.set_blocking(process.output, False)
    said = b""
    try:
        while piece := os.read(process.output, 65536):
            said += piece
    except BlockingIOError:
        pass
    os.close(process.output)
    return code, said.decode()


def size(box: Box) -> int:
    return Path(box.outside.workspace, "ticks").stat().st_size


@pytest.mark.parametrize(
    "script", [TICKING, f"python3 -c '{AWAKE}'"], ids=["a loop", "who wakes itself by a timer"]
)
def test_it_lives_on_and_stands_still_between_steps(full: Sandbox, script: str) -> None:
    box = full.open(BoxPlan(1, "group/app"))
    assert did(box, f"{script}\nwhile ! test -s ticks; do sleep 0.01; done")[0] == 0
    before = size(box)
    time.sleep(0.3)
    assert size(box) == before > 0
    assert (
        did(box, "n=$(wc -c < ticks); while test $(wc -c < ticks) -lt $((n + 50)); do sleep 0.01; done")[0]
        == 0
    )
    before = size(box)
    time.sleep(0.3)
    assert size(box) == before
    assert box.close() == []


def test_without_groups_it_ends_with_its_step(tmp_path: Path) -> None:
    sandbox = PlainSandbox(tmp_path / "work", Limits(), ())
    (tmp_path / "work").mkdir()
    box = sandbox.open(BoxPlan(1, "group/app"))
    assert did(box, f"setsid sh -c '{TICKING}'; while ! test -s ticks; do sleep 0.01; done")[0] == 0
    before = size(box)
    time.sleep(0.2)
    assert size(box) == before > 0
    box.close()
    sandbox.close()


def test_a_step_can_kill_all_it_sees_and_the_next_one_runs(full: Sandbox) -> None:
    box = full.open(BoxPlan(1, "group/app"))
    script = "sleep 100 & kill -9 1; kill -TERM 1; kill -9 -1; wait; echo alone; exit 3"
    assert did(box, script) == (3, "alone\n")
    assert did(box, "echo $PPID") == (0, "1\n")
    assert box.close() == []


def test_nothing_of_the_keeper_is_in_reach(full: Sandbox) -> None:
    box = full.open(BoxPlan(1, "group/app"))
    code, said = did(
        box,
        "cat /proc/[0-9]*/comm | sort -u; ls -l /proc/1/fd /proc/1/cwd 2>&1 | grep -c denied; : > /proc/1/mem && echo WRITES; cat /proc/1/environ",
    )
    lines = said.split("\n")
    assert {
        line for line in lines if line in ("python", "python3", "bwrap", "slirp4netns", "runyard")
    } == set(), said
    assert "init" in lines and "2" in lines and "WRITES" not in said and code != 0
    assert box.close() == []


def test_orphans_are_buried(full: Sandbox) -> None:
    box = full.open(BoxPlan(1, "group/app"))
    code, said = did(
        box,
        "for i in $(seq 200); do (true &) ; done; sleep 0.2; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l",
    )
    assert (code, said.split()[-1]) == (0, "0")
    assert box.close() == []


def test_a_fork_bomb_ends_with_its_kill_and_the_next_step_runs(full: Sandbox) -> None:
    box = full.open(BoxPlan(1, "group/app"))
    process = box.run(
        ("bash", "-c", "bomb() { setsid bash -c 'sleep 100' & bomb | bomb & }; bomb; sleep 100"),
        PATH,
        box.inside.workspace,
    )
    time.sleep(1)
    process.kill()
    assert process.wait(20) == 137
    os.close(process.output)
    assert did(box, "echo next") == (0, "next\n")
    assert box.close() == []


@freezes
def test_a_server_of_one_step_serves_the_next(yard: Yard) -> None:
    if yard.level is not Level.FULL:
        pytest.skip("NOT TESTED: background processes end with their step without control groups")
    attempt, log = yard.run(
        sh('mkfifo asked told; (read word < asked; echo "served $word" > told) > /dev/null 2>&1 &', "serve"),
        sh("echo bread > asked; cat told", "ask"),
    )
    assert attempt.outcome is Outcome.PASSED and "served bread" in log


@freezes
def test_who_holds_the_output_delays_a_step_little_and_is_neither_blocked_nor_heard(yard: Yard) -> None:
    if yard.level is not Level.FULL:
        pytest.skip("NOT TESTED: background processes end with their step without control groups")
    attempt, log = yard.run(
        sh(
            "(while ! test -e go; do sleep 0.05; done; head -c 3000000 /dev/zero | tr '\\0' x; touch done) & echo first",
            "one",
        ),
        sh("touch go; while ! test -e done; do sleep 0.05; done; echo second", "two"),
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert "first" in log and "second" in log and "xxxxx" not in log


def test_after_a_step_that_had_to_be_killed_what_runs_always_still_runs(
    make_yard: Callable[..., Yard],
) -> None:
    yard = make_yard(grace_s=0.5)
    mark = f"mark{os.getpid()}x{time.monotonic_ns()}"
    attempt, log = yard.run(
        actions(
            f"trap '' INT TERM\n(trap '' INT TERM; sleep 300; : {mark}) &\nsleep 300; : {mark}",
            "stuck",
            timeout_s=0.5,
        ),
        actions("echo ran-$((40 + 2))", "last", condition="always()"),
    )
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.TIMEOUT), log
    assert "ran-42" in log and none_left(mark, 5)
