"""Plain curl, as the GitLab Jobs API document of 2017 writes its examples: the same calls must go on working
unchanged (contracts/gitlab.md, seed 003)."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

CONFIG = """
stages: [build, test]
test:
  stage: build
  script: [echo some output, mkdir -p out, echo hi > out/a.txt]
  artifacts: {paths: [out]}
broken: {stage: build, allow_failure: true, script: ["false"]}
deploy: {stage: test, when: manual, allow_failure: true, script: [echo deployed]}
slow: {stage: test, when: manual, allow_failure: true, script: [sleep 60]}
"""
HEADER = f'--header "PRIVATE-TOKEN: {TOKEN}"'


@pytest.fixture(scope="module")
def shell(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """shell(line) -> (status, body as JSON or text) of one curl line; `$` names are those of a project that
    all readers share."""
    return shell_of(server, tmp_path_factory.mktemp("curl"), "curl")


def shell_of(server: LiveServer, folder: Path, name: str) -> Any:
    """The same for a project of its own."""
    if shutil.which("curl") is None:
        pytest.skip("LOUD: curl is not here; the document's own examples were NOT tested")
    server.push(f"clients/{name}", {".gitlab-ci.yml": CONFIG}, branch="master")
    project = server.call("GET", f"/api/v4/projects/clients%2F{name}")[1]["id"]
    run = server.until(
        lambda: server.call("GET", f"/api/v4/projects/{project}/pipelines")[1][0],
        lambda r: r["status"] == "success",
    )
    jobs = {j["name"]: j["id"] for j in server.call("GET", f"/api/v4/projects/{project}/jobs")[1]}
    names = {
        "host": server.url,
        "project": str(project),
        "pipeline": str(run["id"]),
        **{k: str(v) for k, v in jobs.items()},
    }

    def run_line(line: str) -> tuple[int, Any]:
        for name, value in names.items():
            line = line.replace(f"${name}", value)
        argv = ["curl", "-s", "-w", "\n%{http_code}", *shlex.split(line)[1:]]
        done = subprocess.run(argv, cwd=folder, capture_output=True, timeout=60, check=True)
        body, _, status = done.stdout.rpartition(b"\n")
        try:
            return int(status), json.loads(body)
        except ValueError:
            return int(status), body

    return run_line


def test_lists_with_scopes(shell: Any) -> None:
    status, jobs = shell(
        f"curl --globoff {HEADER} '$host/api/v4/projects/$project/jobs?scope[]=manual&scope[]=success'"
    )
    assert (status, {j["name"] for j in jobs}) == (200, {"test", "deploy", "slow"})
    status, jobs = shell(
        f"curl --globoff {HEADER} '$host/api/v4/projects/$project/pipelines/$pipeline/jobs?scope[]=failed'"
    )
    assert (status, [j["name"] for j in jobs]) == (200, ["broken"])
    old = {
        "commit",
        "coverage",
        "created_at",
        "finished_at",
        "id",
        "name",
        "pipeline",
        "ref",
        "runner",
        "stage",
        "started_at",
        "status",
        "tag",
        "user",
    }
    assert old <= jobs[0].keys() and {"id", "ref", "sha", "status"} <= jobs[0]["pipeline"].keys()


def test_one_job_its_trace_and_its_artifacts(shell: Any) -> None:
    assert shell(f"curl {HEADER} '$host/api/v4/projects/$project/jobs/$test'")[1]["name"] == "test"
    status, trace = shell(f"curl --location {HEADER} '$host/api/v4/projects/$project/jobs/$test/trace'")
    assert status == 200 and b"some output" in trace
    for address in ("jobs/$test/artifacts", "jobs/artifacts/master/download?job=test"):
        status, data = shell(f"curl --location {HEADER} '$host/api/v4/projects/$project/{address}'")
        assert status == 200 and data[:2] == b"PK"
    status, data = shell(
        f"curl --location {HEADER} '$host/api/v4/projects/$project/jobs/artifacts/master/raw/out/a.txt?job=test'"
    )
    assert (status, data) == (200, b"hi\n")


def test_acts(server: LiveServer, tmp_path: Path) -> None:
    shell = shell_of(server, tmp_path, "curl-acts")
    status, kept = shell(
        f"curl --request POST {HEADER} '$host/api/v4/projects/$project/jobs/$test/artifacts/keep'"
    )
    assert (status, kept["artifacts_expire_at"]) == (200, None)
    status, played = shell(f"curl --request POST {HEADER} '$host/api/v4/projects/$project/jobs/$deploy/play'")
    assert (status, played["status"]) in ((200, "pending"), (200, "running"))
    status, fresh = shell(f"curl --request POST {HEADER} '$host/api/v4/projects/$project/jobs/$broken/retry'")
    assert status == 201 and fresh["status"] in ("pending", "running")
    shell(f"curl --request POST {HEADER} '$host/api/v4/projects/$project/jobs/$slow/play'")
    status, canceled = shell(
        f"curl --request POST {HEADER} '$host/api/v4/projects/$project/jobs/$slow/cancel'"
    )
    assert status == 201 and canceled["status"] in ("canceling", "canceled")
    status, erased = shell(f"curl --request POST {HEADER} '$host/api/v4/projects/$project/jobs/$test/erase'")
    assert status == 201 and erased["erased_at"]
    assert shell(f"curl --request POST {HEADER} '$host/api/v4/projects/$project/jobs/$test/erase'")[0] == 403


@pytest.mark.parametrize(
    "given",
    [
        "--form ref=master --form 'variables[][key]=A' --form 'variables[][value]=1'",
        "--data ref=master --data 'variables[][key]=A' --data 'variables[][value]=1'",
        """--header 'Content-Type: application/json' --data '{"ref": "master", "variables": [{"key": "A", "value": "1"}]}'""",
        "--globoff -X POST 'QUERY'",
    ],
)
def test_a_pipeline_in_every_encoding(shell: Any, given: str) -> None:
    query = "?ref=master&variables[][key]=A&variables[][value]=1" if "QUERY" in given else ""
    given = given.replace("'QUERY'", "")
    status, run = shell(
        f"curl --globoff --request POST {HEADER} {given} '$host/api/v4/projects/$project/pipeline{query}'"
    )
    assert status == 201, run
    assert shell(f"curl {HEADER} '$host/api/v4/projects/$project/pipelines/{run['id']}/variables'")[1] == [
        {"variable_type": "env_var", "key": "A", "value": "1", "raw": False}
    ]
    shell(f"curl --request POST {HEADER} '$host/api/v4/projects/$project/pipelines/{run['id']}/cancel'")


def test_the_four_credentials(shell: Any) -> None:
    for line in (
        f"curl {HEADER} '$host/api/v4/projects/$project'",
        f"curl --header 'Authorization: Bearer {TOKEN}' '$host/api/v4/projects/$project'",
        f"curl '$host/api/v4/projects/$project?private_token={TOKEN}'",
        f"curl '$host/api/v4/projects/$project?access_token={TOKEN}'",
    ):
        assert shell(line)[0] == 200
    assert shell("curl '$host/api/v4/projects/$project'") == (401, {"message": "401 Unauthorized"})
