"""A box that is opened ahead: given to the job that wants just that one, closed for any other, a box like
every other for whoever gets it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.model.plan import Bind, Network
from runyard.runner.sandbox import BoxPlan, SandboxError, choose
from runyard.runner.sandbox.bubblewrap import BubblewrapSandbox

from .test_background import did

PLAN = BoxPlan(1, "group/app", network=Network.NONE)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[BubblewrapSandbox]:
    try:
        made = choose(tmp_path / "work")
    except SandboxError as error:
        pytest.skip(f"NOT TESTED: {error.message}")
    assert isinstance(made, BubblewrapSandbox)
    yield made
    made.close()


def ended(pid: int) -> bool:
    """It has, though somebody may yet have to bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def boxes(sandbox: BubblewrapSandbox) -> set[int]:
    """Children of the launcher that stand for a box."""
    pid = sandbox.spawner.pid
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {
        int(one)
        for one in found
        if not ended(int(one)) and Path(f"/proc/{one}/comm").read_bytes() == b"bwrap\n"
    }


def none_is_left(sandbox: BubblewrapSandbox) -> bool:
    """bwrap says that a box has ended a moment before it has ended itself."""
    until = time.monotonic() + 20
    while boxes(sandbox) and time.monotonic() < until:
        time.sleep(0.001)
    return not boxes(sandbox)


def test_the_job_gets_the_box_and_the_next_job_another(sandbox: BubblewrapSandbox) -> None:
    sandbox.ahead(PLAN)
    box = sandbox.open(PLAN)
    assert len(boxes(sandbox)) <= 1
    assert did(box, "echo mine > /tmp/note; touch here; sleep 1000 >/dev/null 2>&1 & echo done") == (
        0,
        "done\n",
    )
    assert len(boxes(sandbox)) == 1
    assert box.close() == [] and none_is_left(sandbox)
    following = sandbox.open(PLAN)
    assert following is not box
    assert did(following, "ls -A /tmp . ; ps -A 2>/dev/null | grep -c sleep") == (1, ".:\n\n/tmp:\n0\n")
    following.close()


@pytest.mark.parametrize(
    "other",
    [
        BoxPlan(1, "group/other"),
        BoxPlan(1, "group/app", network=Network.HOST),
        BoxPlan(1, "group/app", binds=(Bind("/usr/share", False),)),
    ],
    ids=["project", "network", "bind"],
)
def test_another_job_gets_a_box_of_its_own(sandbox: BubblewrapSandbox, other: BoxPlan) -> None:
    sandbox.ahead(PLAN)
    box = sandbox.open(other)
    assert box.plan == other
    assert did(box, "pwd") == (0, f"/builds/{other.project}\n")
    assert len(boxes(sandbox)) == 1
    box.close()
    assert none_is_left(sandbox)


def test_a_box_that_has_died_meanwhile_is_not_given_away(sandbox: BubblewrapSandbox) -> None:
    sandbox.ahead(PLAN)
    waiting = sandbox._ahead[1]
    assert waiting._first is not None
    pid = waiting._first.known_pid()
    os.kill(pid, signal.SIGKILL)
    while waiting.lives:
        pass
    box = sandbox.open(PLAN)
    assert box is not waiting and did(box, "echo fine") == (0, "fine\n")
    box.close()


def test_an_unused_box_ends_with_the_sandbox(tmp_path: Path) -> None:
    try:
        made = choose(tmp_path / "work")
    except SandboxError as error:
        pytest.skip(f"NOT TESTED: {error.message}")
    assert isinstance(made, BubblewrapSandbox)
    made.ahead(PLAN)
    waiting = made._ahead[1]
    assert waiting._first is not None
    pid = waiting._first.known_pid()
    made.close()
    assert not waiting.lives and ended(pid)
