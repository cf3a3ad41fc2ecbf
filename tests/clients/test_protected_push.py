"""Protected branches and tags as git itself meets them, over HTTP."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import LiveServer

pytestmark = pytest.mark.client
PROJECT = "/api/v4/projects/protected%2Fapp"


def _call(server: LiveServer, method: str, path: str, body: Any) -> Any:
    status, found = server.call(method, path, body)
    assert status in (200, 201), (path, found)
    return found


def test_git_pushes_meet_the_protection(server: LiveServer, tmp_path: Path) -> None:
    server.push("protected/app", {"a.txt": "a\n"})
    person = {
        "username": "dev-of-protected",
        "name": "Dev",
        "email": "dev@example.org",
        "password": "a long password",
    }
    dev = _call(server, "POST", "/api/v4/users", person)
    token = _call(
        server, "POST", f"/api/v4/users/{dev['id']}/personal_access_tokens", {"name": "t", "scopes": ["api"]}
    )["token"]
    _call(server, "POST", f"{PROJECT}/members", {"user_id": dev["id"], "access_level": 30})
    work = tmp_path / "work"
    address = f"{server.url.replace('://', f'://dev:{token}@')}/protected/app.git"
    server.git(tmp_path, "clone", "-q", address, str(work))
    (work / "b.txt").write_text("b\n")
    server.git(work, "add", "-A")
    server.git(work, "commit", "-qm", "second")

    def push(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "push", *arguments], cwd=work, capture_output=True, text=True, check=False
        )
        return "" if done.returncode == 0 else done.stderr

    assert push("-q", "origin", "HEAD:main") == ""  # nobody has protected anything yet
    _call(server, "PATCH", f"{PROJECT}/protected_branches/main", {"push_access_level": 40})
    _call(server, "POST", f"{PROJECT}/protected_branches", {"name": "release/*", "push_access_level": 30})
    _call(server, "POST", f"{PROJECT}/protected_tags", {"name": "v*", "create_access_level": 40})
    server.git(work, "commit", "-qm", "third", "--allow-empty")
    assert "not allowed to push to the protected branch main" in push("origin", "HEAD:main")
    assert "not allowed to push to the protected tag v1" in push("origin", "HEAD:refs/tags/v1")
    assert push("-q", "origin", "HEAD:release/1") == "" and push("-q", "origin", "HEAD:free") == ""
    assert "non-fast-forward" in push("--force", "origin", "HEAD~1:release/1")
    assert push("-q", "--force", "origin", "HEAD~1:free") == ""
    assert "cannot be deleted" in push("--delete", "origin", "release/1")
    status, branches = server.call("GET", f"{PROJECT}/repository/branches")
    assert status == 200 and {row["name"]: row["protected"] for row in branches} == {
        "main": True,
        "release/1": True,
        "free": False,
    }
