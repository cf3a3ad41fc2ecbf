"""Submodules of a GitLab job on our own runner: GIT_SUBMODULE_… as gitlab-runner reads them, projects of the
same server, with the job's token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runyard.runner.actions.fetching import Submodules
from runyard.syntax.actions import ActionError
from tests.live_server import TOKEN, LiveServer

CONFIG = """
default: {before_script: ["seen() { test -f \\"$1\\" && cat \\"$1\\" || echo -; }"]}
none: {script: ['echo "<$(seen lib/lib.txt)>"']}
normal:
  variables: {GIT_SUBMODULE_STRATEGY: normal, GIT_SUBMODULE_PATHS: lib third}
  script:
    - 'echo "<$(seen lib/lib.txt) $(seen lib/deep/deep.txt) $(seen third/deep.txt)>"'
    - 'echo "<$(git -C lib rev-list --count HEAD) $(cat .git/modules/lib/config | grep -c "$CI_JOB_TOKEN")>"'
recursive:
  variables: {GIT_SUBMODULE_STRATEGY: recursive, GIT_SUBMODULE_DEPTH: "1", GIT_SUBMODULE_UPDATE_FLAGS: --jobs 2, GIT_SUBMODULE_PATHS: lib third}
  script: ['echo "<$(seen lib/lib.txt) $(seen lib/deep/deep.txt) $(seen third/deep.txt) $(git -C lib rev-list --count HEAD)>"']
some:
  variables: {GIT_SUBMODULE_STRATEGY: normal, GIT_SUBMODULE_PATHS: ":(exclude)third :(exclude)secret ."}
  script: ['echo "<$(seen lib/lib.txt) $(seen third/deep.txt)>"']
only:
  variables: {GIT_SUBMODULE_STRATEGY: normal, GIT_SUBMODULE_PATHS: third}
  script: ['echo "<$(seen lib/lib.txt) $(seen third/deep.txt)>"']
odd:
  variables: {GIT_SUBMODULE_STRATEGY: most}
  script: [echo never]
secret:
  variables: {GIT_SUBMODULE_STRATEGY: normal, GIT_SUBMODULE_PATHS: secret}
  script: [echo never]
"""
WANTED = {
    "none": ["<->"],
    "normal": ["<the library - deep down>", "<2 0>"],
    "recursive": ["<the library deep down deep down 1>"],
    "some": ["<the library ->"],
    "only": ["<- deep down>"],
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path)
    yield live
    live.stop()


def push(server: LiveServer, path: str, files: dict[str, str], modules: dict[str, tuple[str, str]]) -> str:
    """Two commits, the second with submodules: path → (address, commit). Answers the second's sha."""
    work = server.folder / path.replace("/", "-")
    work.mkdir()
    server.git(work, "init", "-q", "-b", "main")
    server.git(work, "commit", "-qm", "first", "--allow-empty")
    for name, text in files.items():
        (work / name).write_text(text)
    sections = [
        f'[submodule "{name}"]\n\tpath = {name}\n\turl = {url}\n' for name, (url, _) in modules.items()
    ]
    if sections:
        (work / ".gitmodules").write_text("".join(sections))
    server.git(work, "add", "-A")
    for name, (_, sha) in modules.items():
        server.git(work, "update-index", "--add", "--cacheinfo", f"160000,{sha},{name}")
    server.git(work, "commit", "-qm", "second", "--allow-empty")
    server.git(work, "push", "-q", f"{server.url.replace('://', f'://root:{TOKEN}@')}/{path}.git", "main")
    return server.git(work, "rev-parse", "HEAD").strip()


def logs(server: LiveServer, path: str) -> dict[str, tuple[str, str]]:
    """Of the only pipeline, when it has ended: job → (status, log)."""
    api = f"/api/v4/projects/{path.replace('/', '%2F')}"

    def jobs() -> Any:
        return server.call("GET", f"{api}/jobs")[1]

    ended = server.until(jobs, lambda found: found and all(j["finished_at"] for j in found), 120)
    return {j["name"]: (j["status"], server.call("GET", f"{api}/jobs/{j['id']}/trace")[1]) for j in ended}


def test_submodules_of_the_same_server(server: LiveServer) -> None:
    deep = push(server, "team/deep", {"deep.txt": "deep down\n"}, {})
    lib = push(server, "team/lib", {"lib.txt": "the library\n"}, {"deep": ("../deep.git", deep)})
    secret = push(server, "other/secret", {"a": "b"}, {})
    server.call("POST", "/api/v4/projects", {"name": "app", "path": "app", "namespace_path": "team"})
    number = server.call("GET", "/api/v4/projects/team%2Fapp")[1]["id"]
    for name in ("deep", "lib"):
        path = f"/api/v4/projects/team%2F{name}/job_token_scope/allowlist"
        assert server.call("POST", path, {"target_project_id": number})[0] == 201
    modules = {
        "lib": ("../lib.git", lib),
        "third": (f"{server.url}/team/deep.git", deep),
        "secret": ("../../other/secret.git", secret),
    }
    push(server, "team/app", {".gitlab-ci.yml": CONFIG}, modules)
    found = logs(server, "team/app")
    for job, lines in WANTED.items():
        status, log = found[job]
        assert status == "success", log
        assert [line for line in log.splitlines() if line.startswith("<")] == lines, log
    assert "unknown GIT_SUBMODULE_STRATEGY 'most'" in found["odd"][1] and found["odd"][0] == "failed"
    assert found["secret"][0] == "failed" and "never" not in found["secret"][1]


@pytest.mark.parametrize(
    ("given", "argv"),
    [
        ({"GIT_SUBMODULE_STRATEGY": "normal"}, ["--depth=20"]),
        ({"GIT_SUBMODULE_STRATEGY": "recursive", "GIT_SUBMODULE_DEPTH": "0"}, ["--recursive"]),
        ({"GIT_SUBMODULE_STRATEGY": "normal", "GIT_SUBMODULE_DEPTH": "many"}, ["--depth=20"]),
        (
            {"GIT_SUBMODULE_STRATEGY": "normal", "GIT_SUBMODULE_PATHS": " a  :(exclude)b ", "GIT_SUBMODULE_UPDATE_FLAGS": "--remote"},
            ["--depth=20", "--remote", "--", "a", ":(exclude)b"],
        ),
    ],
)  # fmt: skip
def test_variables_become_one_git_command(given: dict[str, str], argv: list[str]) -> None:
    wanted = Submodules.of_variables(given, 20)
    assert wanted is not None
    assert wanted.argv == ["submodule", "update", "--init", "--force", *argv]


def test_what_gitlab_runner_refuses_is_refused() -> None:
    assert Submodules.of_variables({}, 20) is None
    assert Submodules.of_variables({"GIT_SUBMODULE_STRATEGY": "none"}, 20) is None
    with pytest.raises(ActionError, match="without a blank"):
        Submodules.of_variables(
            {"GIT_SUBMODULE_STRATEGY": "normal", "GIT_SUBMODULE_PATHS": ":(exclude) a"}, 20
        )
