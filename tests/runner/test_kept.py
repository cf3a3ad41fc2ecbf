"""Who starts what in a box: process 1 the steps, a keeper beside it what accompanies them, signals and
further steps at the same time; and a keeper everything where process 1 only sleeps."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runyard.model.plan import Network
from runyard.runner.sandbox import Box, BoxPlan, Sandbox, SandboxError, bubblewrap, choose
from runyard.runner.sandbox.bubblewrap import BubblewrapBox, BubblewrapSandbox
from runyard.runner.sandbox.init import NO_MORE
from runyard.runner.sandbox.keeper import Keeper

from .test_background import PATH, TICKING, did, size
from .test_kill import none_left

PLAN = BoxPlan(1, "group/app", network=Network.NONE)


@pytest.fixture(params=["process 1", "keeper"])
def box(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """On this machine, and as on one for which there is no program for process 1."""
    if request.param == "keeper":
        monkeypatch.setattr(bubblewrap, "init_program", lambda: None)
    sandbox = made(tmp_path)
    box = sandbox.open(PLAN)
    yield box
    assert box.close() == []
    sandbox.close()


def made(folder: Path) -> Sandbox:
    try:
        return choose(folder / "work", network=Network.NONE)
    except SandboxError as error:
        pytest.skip(f"NOT TESTED: {error.message}")


def test_both_do_the_same_for_a_step(box: Box) -> None:
    assert did(box, "echo $(id -u) $(pwd); exit 3") == (3, "1000 /builds/group/app\n")
    process = box.run(("nonesuch",), PATH, box.inside.workspace)
    assert process.wait(20) == 127
    assert os.read(process.output, 100) == b"cannot run nonesuch in /builds/group/app: No such file or directory\n"  # fmt: skip
    os.close(process.output)
    with pytest.raises(SandboxError):
        code = box.run(("true", "a\0b"), PATH, "/").wait(20)
        assert code is None, code


def test_steps_at_the_same_time(box: Box) -> None:
    first = box.run(("sh", "-c", "while ! test -e go; do sleep 0.01; done; exit 4"), PATH, box.inside.workspace)  # fmt: skip
    assert did(box, "touch go; exit 5")[0] == 5
    assert first.wait(20) == 4
    os.close(first.output)
    assert did(box, "echo next") == (0, "next\n")


def test_a_signal_reaches_the_process_before_its_children(box: Box) -> None:
    """A shell that stops at errors would end by its child's end."""
    for _ in range(10):
        script = "trap 'echo caught; exit 9' TERM; echo begun; while true; do sleep 0.1; done"
        process = box.run(("sh", "-e", "-c", script), PATH, box.inside.workspace)
        assert os.read(process.output, 100) == b"begun\n"
        process.terminate()
        assert process.wait(20) == 9
        assert b"caught\n" in os.read(process.output, 100)
        os.close(process.output)


def test_who_accompanies_steps_outlives_them_and_ends_with_the_box(box: Box) -> None:
    mark = f"mark{os.getpid()}x{time.monotonic_ns()}"
    quiet = os.open(os.devnull, os.O_RDWR)
    visitor = box.start(("sh", "-c", f"sleep 300; : {mark}"), PATH, "/", {0: quiet, 1: quiet, 2: quiet})
    os.close(quiet)
    assert did(box, "echo one") == (0, "one\n")
    assert visitor.wait(0.2) is None
    assert did(box, "echo two") == (0, "two\n")
    until = time.monotonic() + 20
    # The keeper that starts it may come later than both steps, and stands still between steps as all do.
    while none_left(mark, 0):
        assert time.monotonic() < until
        assert did(box, "sleep 0.05")[0] == 0
    assert box.close() == [] and none_left(mark, 5)


def test_without_groups_what_a_step_leaves_ends_with_it_but_no_visitor_does(tmp_path: Path) -> None:
    sandbox = made(tmp_path)
    assert isinstance(sandbox, BubblewrapSandbox)
    sandbox.means = replace(sandbox.means, groups=None)
    sandbox._groups.clear()
    box = sandbox.open(PLAN)
    quiet = os.open(os.devnull, os.O_RDWR)
    visitor = box.start(("sleep", "300"), PATH, "/", {0: quiet, 1: quiet, 2: quiet})
    os.close(quiet)
    assert did(box, f"setsid sh -c '{TICKING}'; while ! test -s ticks; do sleep 0.01; done")[0] == 0
    before = size(box)
    time.sleep(0.2)
    assert size(box) == before > 0
    assert visitor.wait(0) is None
    visitor.kill()
    assert visitor.wait(20) == 137
    box.close()
    sandbox.close()


def test_a_killed_step_leaves_what_another_one_left(full: Sandbox) -> None:
    box = full.open(PLAN)
    assert did(box, f"{TICKING}\nwhile ! test -s ticks; do sleep 0.01; done")[0] == 0
    process = box.run(("sh", "-c", "setsid sleep 300 & echo begun; sleep 300"), PATH, box.inside.workspace)
    assert os.read(process.output, 100) == b"begun\n"
    process.kill()
    assert process.wait(20) == 137
    os.close(process.output)
    assert did(box, "n=$(wc -c < ticks); while test $(wc -c < ticks) -lt $((n + 50)); do sleep 0.01; done")[0] == 0  # fmt: skip
    assert box.close() == []


def test_a_box_that_bubblewrap_cannot_make_says_why(tmp_path: Path) -> None:
    sandbox = made(tmp_path)
    assert isinstance(sandbox, BubblewrapSandbox)
    sandbox._base = (*sandbox._base, "--bind", "/nonesuch", "/nonesuch")
    box = sandbox.open(PLAN)
    assert isinstance(box, BubblewrapBox)
    process = box.run(("true",), PATH, "/")
    with pytest.raises(SandboxError, match="nonesuch"):
        process.wait(20)
    os.close(process.output)
    with pytest.raises(SandboxError):
        box.run(("true",), PATH, "/").wait(20)
    box.close()
    sandbox.close()


def test_a_job_cannot_starve_process_1(full: Sandbox) -> None:
    box = full.open(PLAN)
    script = "import resource\ntry:\n resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))\nexcept PermissionError: print('no')"
    process = box.run(("python3", "-c", script), PATH, "/")
    assert process.wait(20) == 0 and os.read(process.output, 100) == b"no\n"
    os.close(process.output)
    assert did(box, "echo next") == (0, "next\n")
    box.close()


def test_a_box_without_room_for_another_process_says_so(full: Sandbox) -> None:
    assert isinstance(full, BubblewrapSandbox)
    box = full.open(PLAN)
    assert did(box, "echo one") == (0, "one\n")
    most = full._groups[1]._file("pids.max")
    assert most is not None
    most.write_text("1")
    process = box.run(("true",), PATH, "/")
    assert process.wait(20) == 126 and os.read(process.output, 1000) == NO_MORE
    os.close(process.output)
    most.write_text("100")
    assert did(box, "echo two") == (0, "two\n")
    assert box.close() == []


def test_the_programs_that_boxes_share_can_be_changed_by_nobody(full: Sandbox) -> None:
    assert isinstance(full, BubblewrapSandbox)
    full.open(PLAN).close()
    assert len(full.spawner._programs) >= 2  # the ways in and process 1
    for image, fd in full.spawner._programs.items():
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        assert os.pread(fd, len(image) + 1, 0) == image


def test_a_box_that_its_keeper_cannot_enter_ends_with_a_kill() -> None:
    """A signal that is lost must not leave a job that nobody can end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, subprocess.Popen(["sleep", "100"]) as outer:
        keeper = Keeper(theirs, tidy=False)
        keeper._broken, keeper._outer = "the box does not stand", outer.pid
        keeper._signal_inside(2, signal.SIGTERM)
        assert outer.poll() is None
        keeper._signal_inside(2, signal.SIGKILL)
        assert outer.wait(20) == -signal.SIGKILL
