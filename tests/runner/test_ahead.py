"""A box that is opened ahead: given to the job that wants just that one, closed for any other, a box like every other for whoever gets it."""

from __future__ import annotations

import os
import signal
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


def keepers(sandbox: BubblewrapSandbox) -> set[int]:
    """Children of the launcher, but for the one that waits to become the next keeper."""
    pid = sandbox.spawner.pid
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(one) for one in found if b"bwrap" in _below(int(one))}


def _below(pid: int) -> bytes:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return b"".join(Path(f"/proc/{one}/comm").read_bytes() for one in children)


def test_the_job_gets_the_box_and_the_next_job_another(sandbox: BubblewrapSandbox) -> None:
    sandbox.ahead(PLAN)
    box = sandbox.open(PLAN)
    assert len(keepers(sandbox)) <= 1
    assert did(box, "echo mine > /tmp/note; touch here; sleep 1000 >/dev/null 2>&1 & echo done") == (
        0,
        "done\n",
    )
    assert len(keepers(sandbox)) == 1
    assert box.close() == [] and not keepers(sandbox)
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
    assert len(keepers(sandbox)) == 1
    box.close()
    assert not keepers(sandbox)


def test_a_box_that_has_died_meanwhile_is_not_given_away(sandbox: BubblewrapSandbox) -> None:
    sandbox.ahead(PLAN)
    waiting = sandbox._ahead[1]
    assert waiting._line is not None
    pid = int(waiting._line.recv(100))
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
    assert waiting._line is not None
    pid = int(waiting._line.recv(100))
    made.close()
    assert not waiting.lives and ended(pid)
