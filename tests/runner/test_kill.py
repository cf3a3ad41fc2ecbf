"""The kill battery (contracts/reliability.md §7.4): jobs that trap TERM, double-fork and call setsid leave no
survivor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.runner.sandbox import BoxPlan, Level, Limits, Sandbox, SandboxError, choose
from runyard.runner.sandbox.plain import PlainSandbox

STUBBORN = """
import os, signal, sys, time
for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(n, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)
if os.fork() == 0:
    os.setsid()
    os.close(1); os.close(2)
    time.sleep(600)
print("begun", flush=True)
time.sleep(600)
"""


def survivors(mark: str) -> list[int]:
    """Processes with the mark in their command line, zombies aside."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in line and int(pid) != os.getpid():
            found.append(int(pid))
    return found


def none_left(mark: str, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while survivors(mark):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(params=["best", "plain"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sandbox]:
    if request.param == "plain":
        made: Sandbox = PlainSandbox(tmp_path / "work", Limits(), ())
        (tmp_path / "work").mkdir()
    else:
        try:
            made = choose(tmp_path / "work")
        except SandboxError as error:
            pytest.skip(f"NOT TESTED: {error.message}")
    yield made
    made.close()


def start(sandbox: Sandbox, mark: str):  # type: ignore[no-untyped-def]
    box = sandbox.open(BoxPlan(1, "group/app"))
    process = box.run(
        (sys.executable if sandbox.level is Level.PLAIN else "python3", "-c", STUBBORN, mark),
        {"PATH": "/usr/bin:/bin"},
        box.inside.workspace,
    )
    assert os.read(process.output, 100) == b"begun\n"
    return box, process


def test_kill_leaves_nobody(sandbox: Sandbox) -> None:
    mark = uuid.uuid4().hex
    box, process = start(sandbox, mark)
    process.terminate()
    time.sleep(0.3)
    assert survivors(mark), "they ignore TERM"
    process.kill()
    assert process.wait(10) is not None
    os.close(process.output)
    assert box.close() == []
    assert none_left(mark, 2)


def test_the_end_of_the_first_process_is_the_end_of_all(sandbox: Sandbox) -> None:
    mark = uuid.uuid4().hex
    box = sandbox.open(BoxPlan(1, "group/app"))
    script = STUBBORN.rsplit("time.sleep(600)", 1)[0]
    python = sys.executable if sandbox.level is Level.PLAIN else "python3"
    process = box.run((python, "-c", script, mark), {"PATH": "/usr/bin:/bin"}, box.inside.workspace)
    assert process.wait(10) == 0
    os.close(process.output)
    box.close()
    assert none_left(mark, 2)


def test_closing_the_box_ends_what_runs(sandbox: Sandbox) -> None:
    mark = uuid.uuid4().hex
    box, process = start(sandbox, mark)
    assert box.close() == []
    os.close(process.output)
    assert none_left(mark, 2)


RUNNER = """
import sys, time
from pathlib import Path
from runyard.runner.sandbox import BoxPlan, choose
sandbox = choose(Path(sys.argv[1]), allow_plain=True)
box = sandbox.open(BoxPlan(1, "group/app"))
process = box.run(("python3", "-c", sys.argv[2], sys.argv[3]), {"PATH": "/usr/bin:/bin"}, box.inside.workspace)
import os
print(os.read(process.output, 100).decode().strip(), flush=True)
time.sleep(600)
"""


def test_a_killed_runner_leaves_nobody_and_the_next_start_sweeps(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path / "work"), STUBBORN, mark],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None and runner.stdout.readline().strip() == "begun"
    assert len(survivors(mark)) > 3
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    runner.stdout.close()
    assert none_left(mark, 3)
    again = choose(tmp_path / "work", allow_plain=True)
    # walk, because other workers' groups come and go meanwhile
    groups = [name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names if name.startswith("runyard-") and f"-{runner.pid}-" in f"-{name}"]  # fmt: skip
    again.close()
    assert groups == []


def test_a_killed_launcher_is_the_jobs_end_and_the_next_box_works(tmp_path: Path) -> None:
    sandbox = choose(tmp_path / "work", allow_plain=True)
    mark = uuid.uuid4().hex
    box, process = start(sandbox, mark)
    os.kill(sandbox.spawner.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.raises(SandboxError):
        process.wait(10)
    os.close(process.output)
    assert none_left(mark, 3)
    box.close()
    box = sandbox.open(BoxPlan(1, "group/app"))
    process = box.run(("echo", "again"), {"PATH": "/usr/bin:/bin"}, box.inside.workspace)
    with os.fdopen(process.output, "rb") as output:
        assert output.read() == b"again\n"
    assert process.wait(10) == 0
    box.close()
    sandbox.close()
