"""Runs git, bounded: a fixed environment, no hooks, no prompts, no user or system configuration, a time limit
and a growth limit.

Called by repositories and workspace; smart_http uses `ENVIRONMENT` and `SAFE` for its own streaming
processes. A process that breaks a limit is killed with its whole group. Callers pass user text only after
`--end-of-options` and after `names` has judged it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runyard.model.errors import Unavailable

ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oConnectTimeout=15",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
    "GIT_HTTP_LOW_SPEED_TIME": "60",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
# Command-line configuration outranks whatever a repository's own file says.
SAFE: tuple[str, ...] = (
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "core.askPass=true",
    "-c", "credential.helper=",
    "-c", "protocol.ext.allow=never",
    "-c", "gc.auto=0",
    "-c", "maintenance.auto=false",
    "-c", "submodule.recurse=false",
    "-c", "transfer.fsckObjects=true",
    "-c", "fsck.badTimezone=ignore",
    "-c", "fsck.missingSpaceBeforeDate=ignore",
    "-c", "fsck.zeroPaddedFilemode=ignore",
    "-c", "fetch.fsck.badTimezone=ignore",
    "-c", "fetch.fsck.missingSpaceBeforeDate=ignore",
    "-c", "fetch.fsck.zeroPaddedFilemode=ignore",
    "-c", "receive.fsck.badTimezone=ignore",
    "-c", "receive.fsck.missingSpaceBeforeDate=ignore",
    "-c", "receive.fsck.zeroPaddedFilemode=ignore",
)  # fmt: skip
ERROR_TAIL_BYTES = 4096
_CREDENTIALS = re.compile(r"//[^/@\s]*@")


class GitFailed(Unavailable):
    """git did not do what was asked."""


def run_git(
    git_dir: Path,
    arguments: Sequence[str],
    *,
    stdin: bytes = b"",
    stdout: int = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    growth_limit_bytes: int | None = None,
    growing: Path | None = None,
) -> bytes:
    """What git wrote. GitFailed when it exits with non-zero, takes too long, or the folder `growing` (the
    repository's objects, if not another) grows by more than the limit."""
    growing = growing or git_dir / "objects"
    before_bytes = _size_bytes(growing) if growth_limit_bytes is not None else 0
    argv = ["git", *SAFE, f"--git-dir={git_dir}", *arguments]
    env = {**ENVIRONMENT, **(environment or {})}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            argv, stdin=given, stdout=stdout, stderr=errors, env=env, cwd="/", start_new_session=True
        )
        try:
            written = _wait(process, growing, timeout_s, growth_limit_bytes, before_bytes)
        except BaseException:
            kill_group(process.pid)
            process.communicate()
            raise
        if process.returncode != 0:
            errors.seek(max(0, errors.tell() - ERROR_TAIL_BYTES))
            raise GitFailed(_complaint(errors.read(), git_dir))
        return written


def _wait(
    process: subprocess.Popen[bytes], growing: Path, timeout_s: float, limit: int | None, before: int
) -> bytes:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            written, _ = process.communicate(timeout=max(0.01, min(1.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise GitFailed(f"git took longer than {timeout_s:g} s") from None
            if limit is not None and _size_bytes(growing) - before > limit:
                raise GitFailed(f"it grew by more than {limit} bytes") from None
        else:
            return written or b""


def kill_group(pid: int) -> None:
    """Ends the session that `pid` leads; nothing when it is gone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _size_bytes(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(root) / name).lstat().st_size
            except OSError:  # git moves temporary packs while we look
                continue
    return total


def _complaint(errors: bytes, git_dir: Path) -> str:
    """The line that says why, without credentials and without our folders (reliability.md §5 H11)."""
    lines = [line.strip() for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    said = fatal[0] if fatal else "git failed without a word"
    return _CREDENTIALS.sub("//", said).replace(str(git_dir), "the repository")[:500]
