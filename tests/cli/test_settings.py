"""Settings that cannot be: the message names the setting and the file, and nothing is made."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runyard.cli.settings import read_settings
from runyard.model.errors import Invalid


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('lisen = "127.0.0.1:0"\n', "runyard.toml: there is no setting 'lisen'; did you mean 'listen'?"),
        ("[job]\nmemory = 5\n", "no setting 'job_memory'; did you mean 'job_memory_bytes'?"),
        ("data = [\n", "runyard.toml: Invalid value"),
        ("listen = 5\n", "listen (RUNYARD_LISTEN, or in runyard.toml): Input should be a valid string"),
    ],
)
def test_a_wrong_file_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runyard.toml").write_text(written)
    with pytest.raises(Invalid) as refused:
        read_settings()
    assert told in refused.value.message


def test_tables_of_other_programs_are_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runyard.toml").write_text("lease_s = 7\n[datafold]\nconfig = 'shop'\n[actions]\nbuiltin = false\n")
    found = read_settings()
    assert found.lease_s == 7 and found.actions_builtin is False


@pytest.mark.parametrize("listen", ["bad", "127.0.0.1:99999", "999.1.1.1:0"])
def test_a_start_that_cannot_be_leaves_nothing_behind(tmp_path: Path, listen: str) -> None:
    argv = [sys.executable, "-m", "runyard", "serve", "--listen", listen]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and listen in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_runner_says_that_nobody_answers_yet(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        argv = [sys.executable, "-m", "runyard", "runner", "--url", url, "--token", "glrt-x"]
        with subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as waiting:
            assert waiting.stderr is not None
            said = waiting.stderr.readline()
            assert "Connection refused" in said and "asking again for three minutes" in said
            assert waiting.poll() is None
            waiting.kill()
