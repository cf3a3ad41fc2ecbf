"""A server that cannot start says why in one sentence, with exit code 2 and without a traceback
(reliability.md §8 rows 19 and 22)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live_server import LiveServer


def refused(folder: Path, *flags: str, **env: str) -> str:
    """What `runyard serve` says against these flags."""
    argv = [
        sys.executable,
        "-m",
        "runyard",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        str(folder),
        *flags,
    ]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=30, cwd=folder.parent, env={**os.environ, **env}
    )
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert "runyard ready" not in done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) <= 3, done.stderr
    return done.stderr


def test_a_second_server_on_the_same_folder_is_refused_with_the_pid_of_the_first(
    serve: Callable[..., LiveServer],
) -> None:
    server = serve(RUNYARD_RUNNER_SLOTS="0")
    on_its_way = server.folder / "data/spool/upload"
    on_its_way.parent.mkdir(exist_ok=True)
    on_its_way.write_bytes(b"half")
    said = refused(server.folder / "data")
    assert str(server.process.pid) in said
    assert on_its_way.exists(), "the first one's"
    assert server.call("GET", "/api/v4/user")[0] == 200


def test_a_folder_that_became_read_only_is_refused_by_name(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -m runyard serve --listen 127.0.0.1:0 --data "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(data), sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "permitted" in done.stderr:
        pytest.skip("needs root for a mount namespace of its own")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert str(data) in done.stderr


def test_a_taken_port_is_refused_by_name(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in refused(tmp_path / "data", "--listen", address)


# (flags, environment, what must be said): tried one after the other in one process, because a start costs
# seconds on a busy machine
HOPELESS: list[tuple[list[str], dict[str, str], str]] = [
    (["--data", "{tmp}/file"], {}, "{tmp}/file"),
    (["--data", "/proc/self/nothing"], {"RUNYARD_ROOT_TOKEN": "t" * 20}, "/proc/self/nothing"),
    (["--database", "mysql://localhost/x"], {}, "mysql"),
    (["--database", "postgresql://nobody:secretword@127.0.0.1:1/x"], {}, "127.0.0.1"),
    (["--database", "postgresql://[/x"], {}, "postgresql://USER"),
    (["--database", "sqlite:///proc/nothing/x.db"], {}, "/proc/nothing"),
    (["--database", "nonsense"], {}, "nonsense"),
    (["--blobs", "ftp://host/x"], {}, "ftp"),
    (["--blobs", "s3://"], {}, "bucket"),
    (["--blobs", "/proc/nothing/blobs"], {}, "blobs"),
    (["--data", "{tmp}/damaged"], {}, "damaged"),
    (["--listen", "nowhere"], {}, "HOST:PORT"),
    (["--listen", "127.0.0.1:99999"], {}, "HOST:PORT"),
    ([], {"RUNYARD_LEASE_S": "soon"}, "lease_s"),
    ([], {"RUNYARD_LEASE_S": "0"}, "lease_s"),
    ([], {"RUNYARD_NETWORK": "everything"}, "network"),
    ([], {"RUNYARD_RUNNER_SLOTS": "-1"}, "runner_slots"),
    ([], {"RUNYARD_ROOT_TOKEN_FILE": "/proc/nothing/token"}, "/proc/nothing/token"),
]
TRY_ALL = """
import contextlib, io, json, os, sys
from runyard.__main__ import load
serve, found = load("serve"), []
for flags, env, _ in json.load(sys.stdin):
    os.environ.update(env)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            serve(args=flags)
    except SystemExit as end:
        found.append([end.code, said.getvalue()])
    except BaseException as error:
        found.append([repr(error), said.getvalue()])
    for name in env:
        del os.environ[name]
print(json.dumps(found))
"""


def test_what_makes_no_sense_is_refused_in_a_sentence_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "runyard.db").write_bytes(b"this is no database, " * 1000)
    cases = json.loads(json.dumps(HOPELESS).replace("{tmp}", str(tmp_path)))
    for number, (flags, _, _) in enumerate(cases):
        flags += [] if "--data" in flags else ["--data", str(tmp_path / f"data{number}")]
        flags += [] if "--listen" in flags else ["--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-c", TRY_ALL],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    answers = json.loads(done.stdout)
    for (flags, env, says), (code, said) in zip(cases, answers, strict=True):
        assert code == 2, (flags, env, code, said)
        assert says in said, (flags, env, said)
        assert "secretword" not in said
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) == 1
