"""The shell text of a job, run by real shells: echo, errexit, pipefail, one shell for all lines."""

import shutil
import subprocess
from pathlib import Path

import pytest

from runyard.dialects.gitlab.config.script import text_of

SHELLS = [name for name in ("bash", "dash", "sh") if shutil.which(name)]


def run(shell: str, commands: list[str], folder: Path) -> tuple[int, str]:
    script = folder / "script"
    script.write_text(text_of(commands))
    done = subprocess.run(
        [shell, str(script)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_are_echoed_green_and_share_one_shell(shell: str, tmp_path: Path) -> None:
    code, out = run(
        shell,
        ["X=1", "mkdir d && cd d", "echo it\\'s $X in ${PWD##*/}", "if true; then", "echo 'a %s b'", "fi"],
        tmp_path,
    )
    assert code == 0
    assert "\x1b[32;1m$ X=1\x1b[0;m\n" in out
    assert "it's 1 in d\n" in out
    assert "\x1b[32;1m$ echo 'a %s b'\x1b[0;m\na %s b\n" in out


@pytest.mark.parametrize("shell", SHELLS)
def test_the_first_failure_ends_it_with_its_code(shell: str, tmp_path: Path) -> None:
    code, out = run(shell, ["echo one", "sh -c 'exit 7'", "echo two"], tmp_path)
    assert code == 7
    assert "one\n" in out
    assert "two" not in out
    assert run(shell, ["false || true", "! true || echo fine"], tmp_path)[0] == 0


def test_a_broken_pipe_part_fails_under_bash(tmp_path: Path) -> None:
    assert run("bash", ["false | true", "echo no"], tmp_path)[0] == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_a_long_command_shows_its_first_line(shell: str, tmp_path: Path) -> None:
    code, out = run(shell, ["cat <<END\nhello\nEND\n", "echo x\n"], tmp_path)
    assert code == 0
    assert "$ cat <<END # collapsed multi-line command\x1b[0;m\nhello\n" in out
    assert "$ echo x\x1b[0;m\nx\n" in out


def test_file_clobbering_and_empty_scripts(tmp_path: Path) -> None:
    assert run("bash", [], tmp_path)[0] == 0
    assert run("bash", ["echo a > f", "echo b > f", "cat f"], tmp_path)[1].endswith("b\n")
