"""Real git clones, fetches and pushes over HTTP."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runyard.engine.ports import RefUpdate
from runyard.model.errors import Forbidden, NotFound, Unauthenticated
from runyard.sources import GitSource
from runyard.sources.smart_http import Access, GitHttp, Scope, basic_credentials, serves

Git = Callable[..., str]
Serve = Callable[[object], str]


class Door:
    """Authorization and push hearing as app would do them."""

    def __init__(self, source: GitSource) -> None:
        self.source = source
        self.heard: list[tuple[list[RefUpdate], list[str]]] = []

    async def authorize(self, scope: Scope, project: str, service: str) -> Access:
        given = basic_credentials(scope)
        if given is None:
            raise Unauthenticated
        match given:
            case ("root", "secret"):
                if project == "g/new" and service == "git-receive-pack":
                    self.source.create(2, "main")
                    return Access(2)
                if project != "g/p":
                    raise NotFound
                return Access(1)
            case ("gitlab-ci-token", "job"):
                if service == "git-receive-pack":
                    raise Forbidden
                return Access(1, sees_runs=True)
            case _:
                raise Unauthenticated

    async def pushed(
        self, access: Access, moved: Sequence[RefUpdate], options: Sequence[str]
    ) -> Sequence[str]:
        self.heard.append((list(moved), list(options)))
        return ["View pipeline: http://x/1"]


@pytest.fixture
def door(mirrored: GitSource) -> Door:
    return Door(mirrored)


@pytest.fixture
def host(door: Door, serve: Serve) -> str:
    return serve(GitHttp(door.source, door.authorize, door.pushed))


def test_clone_with_protocol_two_and_zero(host: str, git: Git, tmp_path: Path) -> None:
    for version in ("2", "1", "0"):
        into = tmp_path / f"clone{version}"
        git(
            "-c",
            f"protocol.version={version}",
            "clone",
            "-q",
            f"http://root:secret@{host}/g/p.git",
            str(into),
            cwd=tmp_path,
        )
        assert (into / "b.txt").exists()
    git(
        "clone",
        "-q",
        "--depth",
        "1",
        f"http://root:secret@{host}/g/p",
        str(tmp_path / "shallow"),
        cwd=tmp_path,
    )
    assert len(git("log", "--oneline", cwd=tmp_path / "shallow").splitlines()) == 1


def test_strangers_get_401_404_and_jobs_may_not_push(host: str, git: Git, work: Path, tmp_path: Path) -> None:
    def fails(url: str) -> str:
        return git("ls-remote", url, cwd=tmp_path, check=False)

    assert "could not read Username" in fails(f"http://{host}/g/p.git")
    assert "Authentication failed" in fails(f"http://root:wrong@{host}/g/p.git")
    assert "not found" in fails(f"http://root:secret@{host}/other/x.git")
    said = git("push", f"http://gitlab-ci-token:job@{host}/g/p.git", "main:evil", cwd=work, check=False)
    assert "403" in said


def test_a_push_reports_what_moved_before_the_client_is_told(
    host: str, door: Door, git: Git, work: Path
) -> None:
    url = f"http://root:secret@{host}/g/p.git"
    git("commit", "-q", "--allow-empty", "-m", "pushed", cwd=work)
    old, new = git("rev-parse", "HEAD~1", "HEAD", cwd=work).split()
    said = git("push", "-o", "ci.skip", url, "main", "main:refs/tags/v2", ":feat/x", cwd=work)
    assert "remote: View pipeline: http://x/1" in said
    moved, options = door.heard[0]
    assert options == ["ci.skip"]
    assert {(u.ref, u.before == "0" * 40, u.after == "0" * 40) for u in moved} == {
        ("refs/heads/main", False, False), ("refs/tags/v2", True, False), ("refs/heads/feat/x", False, True),
    }  # fmt: skip
    assert next(u for u in moved if u.ref == "refs/heads/main") == RefUpdate("refs/heads/main", old, new)
    git("push", url, "main", cwd=work)
    assert len(door.heard) == 1


def test_a_push_creates_and_sets_the_default_branch(host: str, door: Door, git: Git, work: Path) -> None:
    git("push", "-q", f"http://root:secret@{host}/g/new.git", "main:trunk", cwd=work)
    assert door.source.default_branch(2) == "trunk"
    assert door.source.resolve(2, "HEAD")[0].title == "third"


def test_kept_refs_can_be_fetched_by_jobs_and_pushed_by_nobody(
    host: str, door: Door, git: Git, work: Path, tmp_path: Path
) -> None:
    url = f"http://root:secret@{host}/g/p.git"
    said = git("push", url, "main:refs/pipelines/9", cwd=work, check=False)
    assert "deny updating a hidden ref" in said and door.heard == []
    door.source.keep(1, 42, door.source.resolve(1, "main")[0].sha)
    assert "refs/pipelines/42" not in git("ls-remote", url, cwd=tmp_path)
    git("init", "-q", str(tmp_path / "job"), cwd=tmp_path)
    job = f"http://gitlab-ci-token:job@{host}/g/p.git"
    specs = ["+refs/pipelines/42:refs/pipelines/42", "+refs/heads/main:refs/remotes/origin/main"]
    git("fetch", "-q", "--depth", "20", job, *specs, cwd=tmp_path / "job")
    assert git("rev-parse", "refs/pipelines/42", cwd=tmp_path / "job")


def test_a_branch_that_looks_like_an_option_is_refused(host: str, door: Door, git: Git, work: Path) -> None:
    said = git(
        "push", f"http://root:secret@{host}/g/p.git", "main:refs/heads/--upload-pack=x", cwd=work, check=False
    )
    assert "may not start with a dash" in said and door.heard == []
    assert len(door.source.branches(1)) == 2


def test_hostile_objects_are_refused_at_the_door(host: str, door: Door, git: Git, work: Path) -> None:
    (work / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = -u./evil\n')
    git("add", ".", cwd=work)
    git("commit", "-qm", "evil", cwd=work)
    said = git("push", f"http://root:secret@{host}/g/p.git", "main", cwd=work, check=False)
    assert "gitmodulesUrl" in said and door.heard == []


def test_a_hook_in_the_repository_never_runs(
    host: str, door: Door, git: Git, work: Path, tmp_path: Path
) -> None:
    hooks = door.source.git_dir(1) / "hooks"
    hooks.mkdir()
    for name in ("pre-receive", "update", "post-receive", "post-update"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/PWN\n")
        (hooks / name).chmod(0o755)
    git("commit", "-q", "--allow-empty", "-m", "x", cwd=work)
    git("push", "-q", f"http://root:secret@{host}/g/p.git", "main", cwd=work)
    assert len(door.heard) == 1 and not (tmp_path / "PWN").exists()


def test_a_push_over_the_limit_is_refused(door: Door, serve: Serve, git: Git, work: Path) -> None:
    host = serve(GitHttp(door.source, door.authorize, door.pushed, push_limit_bytes=20_000))
    (work / "big").write_bytes(bytes(range(256)) * 10 + __import__("os").urandom(200_000))
    git("add", ".", cwd=work)
    git("commit", "-qm", "big", cwd=work)
    git("push", f"http://root:secret@{host}/g/p.git", "main", cwd=work, check=False)
    assert door.heard == [] and door.source.resolve(1, "main")[0].title == "third"


def request(
    host: str, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, timeout=10)
    given = {
        "Authorization": "Basic cm9vdDpzZWNyZXQ=",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    connection.request(method, path, body, given)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    connection.close()
    return found


def test_requests_that_are_not_gits_are_refused(host: str) -> None:
    upload = "application/x-git-upload-pack-request"
    assert request(host, "GET", "/g/p.git/info/refs")[0] == 403
    assert request(host, "GET", "/g/p.git/info/refs?service=git-evil")[0] == 403
    assert request(host, "GET", "/g/p.git/git-upload-pack")[0] == 404
    assert request(host, "POST", "/g/p.git/git-upload-pack", b"0000")[0] == 400
    bomb = gzip.compress(b"0" * (200 << 20), 1)
    assert (
        request(host, "POST", "/g/p.git/git-upload-pack", bomb, Content_Type=upload, Content_Encoding="gzip")[
            0
        ]
        == 413
    )
    assert (
        request(
            host, "POST", "/g/p.git/git-upload-pack", b"xx", Content_Type=upload, Content_Encoding="gzip"
        )[0]
        == 400
    )
    assert (
        request(host, "POST", "/g/p.git/git-upload-pack", b"", Content_Type=upload, Content_Encoding="br")[0]
        == 400
    )
    receive = "application/x-git-receive-pack-request"
    assert request(host, "POST", "/g/p.git/git-receive-pack", b"zzzzz", Content_Type=receive)[0] == 400
    status, headers, _ = request(
        host, "GET", "/g/p.git/info/refs?service=git-upload-pack", Authorization="Bearer x"
    )
    assert status == 401 and headers["www-authenticate"].startswith("Basic realm=")


def test_a_gzipped_request_is_inflated(host: str) -> None:
    body = gzip.compress(b"0014command=ls-refs\n0001" + b"0000")
    status, _, answer = request(
        host, "POST", "/g/p.git/git-upload-pack", body,
        Content_Type="application/x-git-upload-pack-request", Content_Encoding="gzip", Git_Protocol="version=2",
    )  # fmt: skip
    assert status == 200 and b"refs/heads/main" in answer


def test_paths_are_told_apart() -> None:
    assert serves("/g/p.git/info/refs") and serves("/g/p/git-upload-pack")
    assert (
        not serves("/info/refs") and not serves("/g/p.git/HEAD") and not serves("/g/p.git/objects/info/packs")
    )
