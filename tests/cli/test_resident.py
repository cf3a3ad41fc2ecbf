"""The resident behind `runyard run`: the same answers as without it, Ctrl-C, a caller that dies, code that
changed; and nothing of it without being asked."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runyard.cli.resident import client

RUN = [sys.executable, "-m", "runyard", "run"]
PIPELINE = "a:\n  script: ['echo in $PWD said $WORD', 'exit $CODE']\n  variables: {CODE: '0'}\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q", "-b", "main"], ["commit", "-qm", "first", "--allow-empty"]):
        subprocess.run([*git, *command], cwd=tmp_path / "copy", check=True)
    (tmp_path / "copy/.gitlab-ci.yml").write_text(PIPELINE)
    return tmp_path / "copy"


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """With a runtime folder of this test's own, so that its resident is too; the resident ends with its
    socket."""
    runtime = Path(tempfile.mkdtemp(prefix="rr-"))  # short: a socket's name has at most 107 bytes
    found = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "RUNYARD_RESIDENT": "1"}
    found.pop("CI", None)
    yield found
    for path in runtime.glob("*/*.sock"):
        path.unlink()
    shutil.rmtree(runtime)


def sockets(environment: dict[str, str]) -> list[Path]:
    return list(Path(environment["XDG_RUNTIME_DIR"]).glob("*/*.sock"))


def eventually(holds: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def run(copy: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments], cwd=copy, env=environment, capture_output=True, text=True, timeout=120
    )


def imported(copy: Path, environment: dict[str, str]) -> tuple[int, set[str]]:
    """Exit code and the modules of a client."""
    code = "import os, sys; sys.argv = ['runyard', 'run']; os._exit = sys.exit\nimport runyard.__main__ as m\ntry: m.main()\nexcept SystemExit as e: print(*sys.modules, file=sys.stderr); raise"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True, timeout=120
    )
    return done.returncode, set(done.stderr.split())


def test_a_second_run_is_made_by_the_resident(copy: Path, environment: dict[str, str]) -> None:
    cold = run(copy, environment, "--var", "WORD=one")
    assert cold.returncode == 0 and "said one" in cold.stdout, cold.stderr
    eventually(lambda: sockets(environment))
    assert sockets(environment)[0].parent.stat().st_mode & 0o777 == 0o700
    for code, word in (("0", "two"), ("3", "three")):
        warm = run(copy, environment, "--var", f"WORD={word}", "--var", f"CODE={code}")
        assert warm.returncode == (1 if code == "3" else 0) and f"said {word}" in warm.stdout, warm.stderr
    status, modules = imported(copy, environment)
    assert status == 0
    assert not {"runyard.cli.run", "socket", "json", "pathlib", "re", "argparse"} & modules
    assert run(copy, environment, "--nothing").returncode == 2
    assert run(copy, environment, "nobody").returncode == 2
    other = {**environment, "RUNYARD_RESIDENT": "0"}
    assert "runyard.cli.run" in imported(copy, other)[1]


def test_ctrl_c_and_death_of_the_caller_end_the_run(copy: Path, environment: dict[str, str]) -> None:
    run(copy, environment)
    eventually(lambda: sockets(environment))
    (copy / ".gitlab-ci.yml").write_text(
        "a:\n  script: ['echo begun', 'sleep 300']\n  after_script: ['echo not this']\n"
    )
    for number in (signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(RUN, cwd=copy, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "│ begun" in line:
                    break
            process.send_signal(number)
            said = process.stdout.read()  # ends when the run has let go of the pipe
        assert process.returncode == (1 if number is signal.SIGINT else -9), said
        assert "canceled" in said


def test_a_stranger_s_folder_is_not_trusted_and_a_broken_order_changes_nothing(
    copy: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(copy, environment)
    eventually(lambda: sockets(environment))
    path = sockets(environment)[0]
    for rubbish in (b"", b"\0" * 8, b"\xff" * 4096):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(path))
            line.sendall(rubbish)
    assert run(copy, environment).returncode == 0
    assert path.exists()
    path.parent.chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", environment["XDG_RUNTIME_DIR"])
    monkeypatch.setenv("RUNYARD_RESIDENT", "1")
    assert client.ask([]) is None


def test_what_a_killed_resident_left_behind_keeps_nobody_away(
    copy: Path, environment: dict[str, str]
) -> None:
    folder = Path(environment["XDG_RUNTIME_DIR"]) / f"runyard-{os.getuid()}"
    folder.mkdir(mode=0o700)
    code = "from runyard.cli.resident import client; print(client.address())"
    asked = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(asked.stdout.strip())
    assert run(copy, environment, "--list").returncode == 0
    eventually(lambda: client_answers(sockets(environment)))


def client_answers(found: list[Path]) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        return bool(found) and line.connect_ex(str(found[0])) == 0


def test_none_is_started_where_it_is_not_wanted(copy: Path, environment: dict[str, str]) -> None:
    assert run(copy, {**environment, "CI": "true"}).returncode == 0
    assert run(copy, {**environment, "RUNYARD_RESIDENT": "off"}).returncode == 0
    time.sleep(1)
    assert not sockets(environment)


def test_a_rehearsal_goes_through_everything_and_leaves_no_thread() -> None:
    """In a process of its own, as the resident makes it: after it a fork is safe, and a second one imports
    nothing."""
    code = (
        "import importlib, logging, sys, threading\n"
        "logging.basicConfig(stream=sys.stdout)\n"  # a rehearsal that fails says so there
        "from runyard.cli.resident.rehearsal import rehearse\n"
        "rehearse()\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "before = set(sys.modules)\n"
        "assert {'runyard.dialects.gitlab', 'runyard.dialects.depot', 'runyard.engine.ending'} <= before\n"
        "rehearse()\n"
        "assert set(sys.modules) == before, set(sys.modules) - before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
