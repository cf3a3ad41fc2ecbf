"""`runyard serve` as the README has it: no option but the port, in a folder of one's own; and what the first
push says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PIPELINE = "a:\n  script: [echo hello]\n"


def git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@b.invalid", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_push_to_a_server_whose_data_folder_is_the_default_one(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith("RUNYARD_")}
    server = subprocess.Popen(
        [sys.executable, "-m", "runyard", "serve", "--listen", "127.0.0.1:0"],
        cwd=here,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        token = (here / "runyard-data/root-token").read_text().strip()
        work = tmp_path / "work"
        work.mkdir()
        (work / ".gitlab-ci.yml").write_text(PIPELINE)
        git("init", "-q", "-b", "main", cwd=work)
        git("add", ".", cwd=work)
        git("commit", "-qm", "first", cwd=work)
        said = git("push", f"{url.replace('://', f'://root:{token}@')}/team/app.git", "HEAD:main", cwd=work)
        assert f"gitlab run 1 started: {url}/team/app/-/pipelines/1" in said
        (work / ".gitlab-ci.yml").write_text("a:\n  scrpt: [echo]\n")
        git("commit", "-qam", "second", cwd=work)
        said = git("push", f"{url.replace('://', f'://root:{token}@')}/team/app.git", "HEAD:main", cwd=work)
        assert "gitlab run 2 cannot start: .gitlab-ci.yml:1:1: " in said
        assert "(and 1 more)" in said
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        if server.stdout is not None:
            server.stdout.close()
