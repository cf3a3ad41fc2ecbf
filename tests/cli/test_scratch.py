"""The folders that runs work in: what a killed run leaves is removed by the next one, what a living run has
is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.cli.scratch import Scratch

MAKER = """
import sys
from pathlib import Path
from runyard.cli.scratch import Scratch
scratch = Scratch()
Path(scratch.name, "kept").mkdir(mode=0o000)
print(scratch.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / f"runyard-{os.getuid()}"


@pytest.fixture
def other(shelf: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process's."""
    with subprocess.Popen(
        [sys.executable, "-c", MAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def gone(folder: Path) -> bool:
    until = time.monotonic() + 60
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return not folder.exists()


def test_a_living_run_keeps_its_folder(shelf: Path, other: tuple[subprocess.Popen[str], Path]) -> None:
    _, folder = other
    assert folder.parent == shelf
    mine = Scratch()
    assert {folder, Path(mine.name)} == set(shelf.iterdir())
    mine.cleanup()
    assert [folder] == list(shelf.iterdir())


def test_the_next_run_removes_what_a_killed_one_left(
    shelf: Path, other: tuple[subprocess.Popen[str], Path]
) -> None:
    process, folder = other
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert folder.exists()
    mine = Scratch()
    assert gone(folder) and Path(mine.name).is_dir()
    mine.cleanup()
    assert not list(shelf.iterdir())


def test_others_that_have_taken_the_name_lose_nothing(shelf: Path) -> None:
    shelf.mkdir(mode=0o755)
    theirs = shelf / "live-theirs"
    theirs.mkdir()
    mine = Scratch()
    assert Path(mine.name).parent == shelf.parent and theirs.exists()
    mine.cleanup()
