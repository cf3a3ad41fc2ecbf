"""git over HTTP for a runner on another machine: one commit into an empty folder, with the job's token.
Called by `remote.py`.

The token travels in git's environment, never in an argv or a stored URL; no configuration, hook, filter or
credential helper of this machine takes part (contracts/reliability.md §5 G).
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runyard.model.errors import Invalid, Unavailable

FETCH_S = 1800
SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def fetch(url: str, token: str, sha: str, ref: str, wanted: Sequence[str], depth: int, into: Path) -> str:
    """Lays out `sha` (or what `ref` means) in `into`; answers the commit. `wanted`: what to ask for, the
    first that the server has."""
    if not url.startswith(("http://", "https://")) or (sha and not SHA.fullmatch(sha)):
        raise Invalid("this repository address or commit cannot be used")
    if ref.startswith("-") or any(c in ref for c in " ~^:?*[\\\0") or ".." in ref:
        raise Invalid(f"{ref!r} is not the name of a ref")
    basic = base64.b64encode(f"gitlab-ci-token:{token}".encode()).decode()
    env = {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_CONFIG_COUNT": "3", "GIT_CONFIG_KEY_0": "http.extraHeader", "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        "GIT_CONFIG_KEY_1": "core.hooksPath", "GIT_CONFIG_VALUE_1": "/dev/null",
        "GIT_CONFIG_KEY_2": "safe.directory", "GIT_CONFIG_VALUE_2": str(into),
    }  # fmt: skip
    # What this process trusts of the server, git has to trust too.
    if trusted := os.environ.get("SSL_CERT_FILE"):
        env["GIT_SSL_CAINFO"] = trusted
    _git(["init", "-q", "--template=", "."], into, env)
    depths = [f"--depth={depth}"] if depth > 0 else []
    trouble = Unavailable("there is nothing to fetch")
    for refspec in dict.fromkeys(filter(None, (*wanted, ref, sha))):
        try:
            _git(["fetch", "-q", "--no-tags", *depths, "--end-of-options", url, refspec], into, env)
            found = sha or _git(["rev-parse", "FETCH_HEAD"], into, env).strip()
            _git(["checkout", "-q", "-f", "--detach", found], into, env)
            if ref.startswith(
                "refs/heads/"
            ):  # then HEAD is on a local branch, as the server's own runner leaves it
                _git(["update-ref", ref, found], into, env)
                _git(["symbolic-ref", "HEAD", ref], into, env)
            return found
        except Unavailable as error:
            trouble = error
    raise trouble


def _git(argv: list[str], cwd: Path, env: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            ["git", *argv],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FETCH_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"git {argv[0]} did not work: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"git {argv[0]} failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout.decode(errors="replace")
