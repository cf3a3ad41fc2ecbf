"""Hostile remotes and repositories (reliability.md §5 G): nothing of theirs runs, nothing hangs, nothing
grows without end."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runyard.model.errors import Invalid, RunyardError, Unavailable
from runyard.sources import GitSource, process, repositories

Git = Callable[..., str]


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch PWN",
        "ext::sh -c touch% PWN",
        "EXT::sh -c x",
        "-oProxyCommand=touch PWN:x",
        "ssh://-oProxyCommand=x/y",
        "fd::3",
    ],
)
def test_a_hostile_address_never_reaches_git(
    source: GitSource, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Invalid):
        source.mirror(1, url)
    assert not (tmp_path / "PWN").exists() and not source.git_dir(1).exists()


def test_configuration_and_hooks_of_a_local_repository_do_not_run(
    source: GitSource, work: Path, git: Git, tmp_path: Path
) -> None:
    bait = f"touch {tmp_path}/PWN"
    for key in (
        "core.fsmonitor",
        "core.sshCommand",
        "uploadpack.packObjectsHook",
        "core.pager",
        "core.alternateRefsCommand",
    ):
        git("config", key, bait, cwd=work)
    for name in ("post-checkout", "reference-transaction", "pre-upload"):
        hook = work / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\n{bait}\n")
        hook.chmod(0o755)
    assert source.mirror(1, str(work)) == "main"
    assert not (tmp_path / "PWN").exists()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_repository_of_another_user_is_refused(
    source: GitSource, work: Path, git: Git, tmp_path: Path
) -> None:
    git("config", "core.fsmonitor", f"touch {tmp_path}/PWN", cwd=work)
    subprocess.run(["chown", "-R", "20001:20001", str(work)], check=True)
    with pytest.raises(Unavailable, match="ownership"):
        source.mirror(1, str(work))
    assert not (tmp_path / "PWN").exists()


def test_hooks_inside_the_mirror_do_not_run(
    mirrored: GitSource, work: Path, git: Git, tmp_path: Path
) -> None:
    hooks = mirrored.git_dir(1) / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-merge"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/PWN\n")
        (hooks / name).chmod(0o755)
    git("commit", "-q", "--allow-empty", "-m", "x", cwd=work)
    mirrored.mirror(1, str(work))
    assert not (tmp_path / "PWN").exists()


def test_a_branch_that_looks_like_an_option_is_not_shown(mirrored: GitSource, work: Path, git: Git) -> None:
    git("update-ref", "refs/heads/--upload-pack=x", "HEAD", cwd=work)
    mirrored.mirror(1, str(work))
    assert [name for name, _ in mirrored.branches(1)] == ["feat/x", "main"]


def test_a_hostile_commit_is_refused_at_the_mirror(source: GitSource, work: Path, git: Git) -> None:
    (work / ".gitmodules").write_text('[submodule "../../hooks"]\n\tpath = x\n\turl = ext::sh -c x\n')
    git("add", ".", cwd=work)
    git("commit", "-qm", "evil", cwd=work)
    with pytest.raises(Unavailable):
        source.mirror(1, str(work))
    assert source.branches(1) == []


def test_objects_that_are_a_link_elsewhere_cannot_be_read(
    source: GitSource, work: Path, tmp_path: Path
) -> None:
    (work / ".git" / "objects").rename(tmp_path / "elsewhere")
    (work / ".git" / "objects").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunyardError):
        source.mirror(1, str(work))


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        kept: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    kept.append(listening.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x.git"
        listening.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()
        thread.join(5)


def test_a_remote_that_never_answers_is_given_up_and_nothing_stays(
    source: GitSource, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "HEAD_TIME_S", 0.5)
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="longer than"):
        source.mirror(1, silent)
    assert time.monotonic() - begun < 5
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert silent not in left


def test_a_repository_that_grows_too_much_is_given_up(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter(range(0, 10**9, 10**6))
    monkeypatch.setattr(process, "_size_bytes", lambda _: next(sizes))
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="grew by more"):
        process.run_git(
            work / ".git", ["-c", "alias.wait=!sleep 30", "wait"], timeout_s=20, growth_limit_bytes=1000
        )
    assert time.monotonic() - begun < 10
