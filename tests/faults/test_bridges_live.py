"""Child and multi-project pipelines on a real server: made from files and from artifacts, followed, refused
with a place; none lost by kill -9."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.live_server import LiveServer

pytestmark = pytest.mark.xdist_group("server")
DONE = {"success", "failed", "canceled", "skipped"}
NO_GIT = "variables: {GIT_STRATEGY: none}\n"


def pipelines(live: LiveServer, path: str, **query: str) -> list[dict[str, Any]]:
    asked = "&".join(f"{key}={value}" for key, value in query.items())
    found: list[dict[str, Any]] = live.call("GET", f"/api/v4/projects/{quote(path, '')}/pipelines?{asked}")[1]
    return found


def ended(live: LiveServer, path: str, **query: str) -> dict[str, Any]:
    found = live.until(
        lambda: pipelines(live, path, **query), lambda all_: bool(all_) and all_[0]["status"] in DONE
    )
    first: dict[str, Any] = found[0]
    return first


def bridges(live: LiveServer, path: str, pipeline: int) -> dict[str, dict[str, Any]]:
    found = live.call("GET", f"/api/v4/projects/{quote(path, '')}/pipelines/{pipeline}/bridges")[1]
    return {bridge["name"]: bridge for bridge in found}


def trace(live: LiveServer, path: str, pipeline: int, name: str) -> str:
    place = f"/api/v4/projects/{quote(path, '')}"
    jobs = live.call("GET", f"{place}/pipelines/{pipeline}/jobs")[1]
    job = next(job for job in jobs if job["name"] == name)
    return str(live.call("GET", f"{place}/jobs/{job['id']}/trace")[1])


def test_a_family_of_pipelines(server: LiveServer) -> None:
    other = {".gitlab-ci.yml": NO_GIT + "greet: {script: ['echo hello $WHOM from $CI_PIPELINE_SOURCE']}\n"}
    server.push("fam/other", other)
    ended(server, "fam/other")
    parent = {
        ".gitlab-ci.yml": """\
stages: [make, go, after]
make:
  stage: make
  script:
    - 'echo "generated: {script: [echo made by hand \\$UP, cat note.txt], needs: [{pipeline: \\$PARENT, job: make}]}" > gen.yml'
    - echo a note > note.txt
  artifacts: {paths: [gen.yml, note.txt]}
static:
  stage: go
  variables: {UP: "$CI_COMMIT_REF_NAME!"}
  trigger: {include: [{local: child.yml, inputs: {who: ada}}], strategy: depend}
dynamic:
  stage: go
  variables: {UP: up, PARENT: $CI_PIPELINE_ID}
  trigger: {include: [{artifact: gen.yml, job: make}], strategy: depend}
far:
  stage: go
  variables: {WHOM: world}
  trigger: {project: fam/$NAME, strategy: mirror}
after: {stage: after, script: [echo all is well]}
variables: {GIT_STRATEGY: none, NAME: other}
""",
        "child.yml": "spec: {inputs: {who: {}}}\n---\n'$[[ inputs.who ]]': {script: ['echo child of $UP']}\n",
    }
    server.push("fam/app", parent)
    run = ended(server, "fam/app")
    shown = bridges(server, "fam/app", run["id"])
    assert run["status"] == "success", (shown, server.log.read_text()[-3000:])
    assert {name: bridge["status"] for name, bridge in shown.items()} == {
        "static": "success",
        "dynamic": "success",
        "far": "success",
    }
    children = {name: bridge["downstream_pipeline"] for name, bridge in shown.items()}
    assert "child of main!" in trace(server, "fam/app", children["static"]["id"], "ada")
    assert children["static"]["source"] == "parent_pipeline"
    made = trace(server, "fam/app", children["dynamic"]["id"], "generated")
    assert "made by hand up" in made and "a note" in made
    assert "hello world from pipeline" in trace(server, "fam/other", children["far"]["id"], "greet")


def test_a_child_that_cannot_be_made_fails_its_bridge_with_the_place(server: LiveServer) -> None:
    files = {
        ".gitlab-ci.yml": NO_GIT
        + "go: {trigger: {include: child.yml, strategy: depend}}\nfar: {trigger: fam/gone}\n",
        "child.yml": "a:\n  scirpt: x\n",
    }
    server.push("fam/broken", files)
    run = ended(server, "fam/broken")
    shown = bridges(server, "fam/broken", run["id"])
    assert run["status"] == "failed"
    reasons = {name: bridge["failure_reason"] for name, bridge in shown.items()}
    assert reasons == {
        "go": "downstream_pipeline_creation_failed",
        "far": "downstream_bridge_project_not_found",
    }


@pytest.mark.slow
def test_no_child_is_lost_or_made_twice_by_kill_9(tmp_path: Any) -> None:
    live = LiveServer(tmp_path, RUNYARD_RUNNER_SLOTS="2")
    try:
        jobs = "".join(f"b{i}: {{trigger: {{include: child.yml, strategy: depend}}}}\n" for i in range(20))
        live.push("fam/app", {".gitlab-ci.yml": jobs, "child.yml": NO_GIT + "a: {script: ['true']}\n"})
        for _ in range(4):
            live.until(lambda: None, lambda _: True)
            live.kill()
            live.start()
        run = ended(live, "fam/app", source="push")
        assert run["status"] == "success"
        children = pipelines(live, "fam/app", source="parent_pipeline", per_page="100")
        assert len(children) == 20
    finally:
        live.stop()
