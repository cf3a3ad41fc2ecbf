"""The real gitlab-runner against a live server, one binary after the other: whole pipelines, cancel, a server
that dies, goodbye."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from tests.clients.stock_fleet import NONE, StockRunner, binaries
from tests.live_server import LiveServer

pytestmark = [pytest.mark.client, pytest.mark.skipif(not binaries(), reason=NONE)]
ENDED = ("success", "failed", "canceled", "skipped")

PIPELINE = """
default: {tags: [stock]}
variables: {PLAIN: "seen-$CI_PROJECT_NAME"}
stages: [build, test, late]
make:
  stage: build
  script:
    - mkdir -p out/deep
    - echo made > out/made.txt
    - echo no > out/skip.tmp
    - echo "VERSION=1.2.3" > build.env
    - echo '<testsuite name="a"><testcase name="t1" classname="c" time="1.5"/><testcase name="t2" classname="c"><failure>boom</failure></testcase></testsuite>' > one.xml
    - cp one.xml two.xml
    - echo '<coverage line-rate="0.5"/>' > cobertura.xml
    - echo '[]' > quality.json
    - echo 'TOTAL 87.5%'
  coverage: '/TOTAL (\\d+\\.\\d+)%/'
  artifacts:
    name: "made-$CI_JOB_NAME"
    paths: [out]
    exclude: ["out/*.tmp"]
    expire_in: 1 week
    reports:
      junit: ["one.xml", "two.xml"]
      dotenv: build.env
      coverage_report: {coverage_format: cobertura, path: cobertura.xml}
      codequality: quality.json
cached:
  stage: build
  cache: {key: "k-$CI_COMMIT_REF_SLUG", paths: [stock]}
  script: [mkdir -p stock, echo kept > stock/file]
use:
  needs: [make, cached]
  cache: {key: "k-$CI_COMMIT_REF_SLUG", paths: [stock], policy: pull}
  script:
    - test "$(cat out/made.txt)" = made
    - test ! -e out/skip.tmp
    - test "$VERSION" = 1.2.3
    - test "$PLAIN" = "seen-$CI_PROJECT_NAME"
    - test "$(cat stock/file)" = kept
    - test -n "$CI_JOB_STARTED_AT"
secret:
  script:
    - echo "secret is $HIDDEN_WORD"
    - cat "$SECRET_FILE"
    - echo "token $CI_JOB_TOKEN"
    - test "$RAW" = 'a$PLAIN'
tolerated:
  script: [echo before, exit 7, echo never]
  after_script: ["echo after status=$CI_JOB_STATUS", exit 3]
  allow_failure: {exit_codes: [7]}
again:
  script: [exit 1]
  retry: 1
  allow_failure: true
long:
  script: ["seq 1 300000", "echo LAST LINE"]
served:
  services: ["postgres:15"]
  script: [echo ran without]
modules:
  variables: {GIT_SUBMODULE_STRATEGY: recursive, GIT_SUBMODULE_DEPTH: "1"}
  script: [cat sub/inner.txt]
nothing:
  dependencies: []
  variables: {GIT_STRATEGY: none}
  script: [pwd]
cloned:
  variables: {GIT_STRATEGY: clone, GIT_DEPTH: "0"}
  script: [git log --oneline, 'test "$(git branch -a | grep -c side)" = 1']
grid:
  parallel: {matrix: [{A: [x, y], B: ["1"]}]}
  script: ["echo $A $B $CI_NODE_INDEX/$CI_NODE_TOTAL"]
hooked:
  hooks: {pre_get_sources_script: [echo from the hook]}
  id_tokens: {MY_TOKEN: {aud: here}}
  script: ['test $(echo "$MY_TOKEN" | tr -dc . | wc -c) = 2']
asked:
  inputs: {word: {default: "it's"}, n: {type: number, default: 3}}
  script: ['echo asked "${{ job.inputs.word }}" ${{ job.inputs.n }}']
listed:
  run:
    - {name: one, script: 'echo listed $WORD; cd /', env: {WORD: words}}
    - {name: two, script: 'test "$PWD" = "$CI_PROJECT_DIR"'}
kept:
  cache: {key: of-$CI_PIPELINE_ID, paths: [kept.txt]}
  script: ["echo kept > kept.txt"]
hand:
  stage: late
  when: manual
  script: ["echo by hand $GIVEN"]
"""
LONG_JOB = """
default: {tags: [stock]}
a:
  script: [echo begun, sleep 300, echo NEVER]
  after_script: ["echo after status=$CI_JOB_STATUS", "sleep $NAP"]
  variables: {NAP: "0"}
"""
COUNTING = """
default: {tags: [stock]}
a:
  script: ["for i in $(seq 1 COUNT); do echo line $i; sleep 0.5; done; echo whole"]
"""


class Fleet:
    """A server without a runner of its own, and a stock runner on it."""

    def __init__(self, server: LiveServer, runner: StockRunner) -> None:
        self.server, self.runner = server, runner

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, found = self.server.call(method, f"/api/v4{path}", body)
        assert status < 300, (method, path, status, found)
        return found

    def newest(self, project: str) -> dict[str, Any]:
        found = self.server.call("GET", f"/api/v4{project}/jobs")[1]
        return dict(found[0]) if found else {"status": "none", "id": 0}

    def log(self, project: str, job: int) -> str:
        return str(self.call("GET", f"{project}/jobs/{job}/trace") or "").replace("\r", "")

    def started(self, project: str, line: str) -> dict[str, Any]:
        """The newest job once it runs and has said `line`."""
        job: dict[str, Any] = self.server.until(
            lambda: self.newest(project), lambda j: j["status"] == "running"
        )
        self.server.until(lambda: self.log(project, job["id"]), lambda text: line in text)
        return job

    def ended(self, project: str) -> dict[str, Any]:
        found: dict[str, Any] = self.server.until(
            lambda: self.newest(project), lambda j: j["status"] in ENDED, 120
        )
        return found


@pytest.fixture(scope="module", params=binaries() or [None], ids=lambda one: one.name if one else "none")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Registered with the instance's registration token (the old way)."""
    folder = tmp_path_factory.mktemp("fleet")
    server = LiveServer(folder, RUNYARD_RUNNER_SLOTS="0")
    try:
        runner = StockRunner(request.param, server, folder / "runner")
        token = (folder / "data/registration-token").read_text().strip()
        runner.register("--registration-token", token, "--tag-list", "stock", "--run-untagged=false")
        with runner.running():
            yield Fleet(server, runner)
        runner.command("verify")
        runner.command("unregister", "--all-runners")
        assert server.call("GET", "/api/v4/runners/all") == (200, [])
    finally:
        server.stop()


def _push_with_submodule(server: LiveServer, work: Path, path: str) -> None:
    address = server.url.replace("://", f"://root:{server.token}@")
    work.mkdir()
    server.git(work, "init", "-q", "-b", "main")
    (work / ".gitlab-ci.yml").write_text(PIPELINE)
    server.git(work, "submodule", "add", "-q", f"{address}/fleet/inner.git", "sub")
    (work / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ../inner.git\n')
    server.git(work, "add", "-A")
    server.git(work, "commit", "-qm", "first")
    server.git(work, "push", "-q", "-o", "ci.skip", f"{address}/{path}.git", "main:side")
    server.git(work, "push", "-q", f"{address}/{path}.git", "main")


def test_a_whole_pipeline(fleet: Fleet, tmp_path: Path) -> None:
    server, one = fleet.server, "/projects/fleet%2Fone"
    server.push("fleet/inner", {"inner.txt": "inner text\n"})
    made = fleet.call("POST", "/projects", {"name": "one", "namespace_path": "fleet"})
    allowed = {
        "target_project_id": made["id"]
    }  # submodules of private projects need the job's project on their list, as in GitLab
    fleet.call("POST", "/projects/fleet%2Finner/job_token_scope/allowlist", allowed)
    for variable in (
        {"key": "HIDDEN_WORD", "value": "verysecretword", "masked": True},
        {"key": "SECRET_FILE", "value": "file body\n", "variable_type": "file"},
        {"key": "RAW", "value": "a$PLAIN", "raw": True},
    ):
        fleet.call("POST", f"{one}/variables", variable)
    _push_with_submodule(server, tmp_path / "work", "fleet/one")
    pipeline = f"{one}/pipelines/{fleet.call('GET', f'{one}/pipelines')[0]['id']}"
    status = server.until(lambda: fleet.call("GET", pipeline)["status"], lambda word: word in ENDED, 180)
    rows = fleet.call("GET", f"{pipeline}/jobs?include_retried=true&per_page=100")
    jobs = {row["name"]: row for row in reversed(rows)}
    logs = {name: fleet.log(one, row["id"]) for name, row in jobs.items() if row["started_at"]}
    wrong = {
        name: logs.get(name, "")[-800:]
        for name, row in jobs.items()
        if row["status"] not in ("success", "manual")
    }
    assert set(wrong) == {"tolerated", "again"} and status == "success", wrong
    assert [row["name"] for row in rows].count("again") == 2
    assert jobs["make"]["coverage"] == 87.5
    kinds = {one["file_type"] for one in jobs["make"]["artifacts"]}
    assert kinds == {"archive", "junit", "dotenv", "cobertura", "codequality", "trace"}
    total = fleet.call("GET", f"{pipeline}/test_report_summary")["total"]
    assert (total["count"], total["success"], total["failed"]) == (4, 2, 2)
    assert (
        "secret is [MASKED]" in logs["secret"]
        and "file body" in logs["secret"]
        and "token [MASKED]" in logs["secret"]
    )
    assert "after status=failed" in logs["tolerated"] and "\nnever" not in logs["tolerated"]
    assert jobs["tolerated"]["allow_failure"] is True
    assert "300000\n" in logs["long"] and "LAST LINE\n" in logs["long"] and len(logs["long"]) > 1_900_000
    assert "inner text" in logs["modules"]
    assert "from the hook" in logs["hooked"] or fleet.runner.binary.name.endswith("-14.10")  # hooks are newer
    assert {"x 1 1/2", "y 1 2/2"} <= {
        line for name in ("grid: [x, 1]", "grid: [y, 1]") for line in logs[name].splitlines()
    }
    assert "asked it's 3\n" in logs["asked"] and "listed words\n" in logs["listed"]
    assert f"of-{pipeline.rpartition('/')[2]}-non_protected" in logs["kept"]
    _downloads_are_whole(fleet, one, jobs["make"])
    _by_hand(fleet, one, jobs["hand"])


def _downloads_are_whole(fleet: Fleet, project: str, job: dict[str, Any]) -> None:
    path = f"{fleet.server.url}/api/v4{project}/jobs/artifacts/main/download?job={quote(job['name'])}"
    with urlopen(Request(path, headers={"PRIVATE-TOKEN": fleet.server.token}), timeout=60) as answer:
        archive = zipfile.ZipFile(BytesIO(answer.read()))
    assert {name for name in archive.namelist() if not name.endswith("/")} == {"out/made.txt"}


def _by_hand(fleet: Fleet, project: str, job: dict[str, Any]) -> None:
    given = {"job_variables_attributes": [{"key": "GIVEN", "value": "with a value"}]}
    fleet.call("POST", f"{project}/jobs/{job['id']}/play", given)
    fleet.server.until(
        lambda: fleet.call("GET", f"{project}/jobs/{job['id']}")["status"], lambda word: word == "success"
    )
    assert "by hand with a value" in fleet.log(project, job["id"])


def test_cancel(fleet: Fleet) -> None:
    """A runner that cancels gracefully (17 and newer) runs its after_script, once it hears of it with its
    next beat (30 s); an older one is cut off."""
    project = "/projects/fleet%2Fcancel"
    fleet.server.push("fleet/cancel", {".gitlab-ci.yml": LONG_JOB})
    job = fleet.started(project, "begun")
    said = fleet.call("POST", f"{project}/jobs/{job['id']}/cancel")["status"]
    assert said in ("canceling", "canceled")
    assert fleet.ended(project)["status"] == "canceled"
    log = fleet.log(project, job["id"])
    assert ("after status=canceled\n" in log) is (said == "canceling") and "\nNEVER" not in log
    if said == "canceled":
        fleet.runner.until_heard("Job failed: canceled", 60)


def test_forced_cancel(fleet: Fleet) -> None:
    project = "/projects/fleet%2Fforce"
    fleet.server.push("fleet/force", {".gitlab-ci.yml": LONG_JOB.replace('"0"', '"300"')})
    job = fleet.started(project, "begun")
    said = fleet.call("POST", f"{project}/jobs/{job['id']}/cancel")["status"]
    if said == "canceling":
        fleet.call("POST", f"{project}/jobs/{job['id']}/cancel?force=true")
    assert fleet.newest(project)["status"] == "canceled"
    assert "NEVER\n" not in fleet.log(project, job["id"]).replace("echo NEVER\n", "")


@pytest.mark.parametrize(("count", "away_s"), [(20, 3), (6, 6)], ids=["within", "over the end"])
def test_the_server_dies(fleet: Fleet, count: int, away_s: float) -> None:
    """kill -9 in the middle of a job, and over its end: the job ends well and its log is whole."""
    project = f"/projects/fleet%2Fdies-{count}"
    fleet.server.push(f"fleet/dies-{count}", {".gitlab-ci.yml": COUNTING.replace("COUNT", str(count))})
    job = fleet.started(project, "line 2")
    fleet.server.kill()
    fleet.runner.until_heard("connection refused")
    time.sleep(away_s)  # how long the server is away, not something to wait for
    fleet.server.start()
    ended = fleet.ended(project)
    assert (ended["id"], ended["status"]) == (job["id"], "success")
    lines = fleet.log(project, job["id"]).splitlines()
    assert [line for line in lines if line.startswith("line ")] == [f"line {i + 1}" for i in range(count)]


def test_a_runner_made_by_hand(fleet: Fleet, tmp_path: Path) -> None:
    """The new way: POST /user/runners gives a token, the machine only verifies it. Leaving takes the machine
    away, and from 17 on the runner stays."""
    if "--token " not in fleet.runner.command("register", "--help") and fleet.runner.binary.name.endswith(
        "14.10"
    ):
        pytest.skip("authentication tokens are newer (15.10)")
    wanted = {"runner_type": "instance_type", "tag_list": "by-hand", "run_untagged": False}
    made = fleet.call("POST", "/user/runners", wanted)
    assert made["token"].startswith("glrt-")
    runner = StockRunner(fleet.runner.binary, fleet.server, tmp_path / "made")
    runner.register("--token", made["token"])
    fleet.server.push("fleet/made", {".gitlab-ci.yml": "a: {tags: [by-hand], script: [echo yes]}\n"})
    with runner.running():
        assert fleet.ended("/projects/fleet%2Fmade")["status"] == "success"
    details = fleet.call("GET", f"/runners/{made['id']}")
    assert (details["tag_list"], details["status"], details["platform"]) == (["by-hand"], "online", "linux")
    machines = fleet.call("GET", f"/runners/{made['id']}/managers")
    assert len(machines) == 1 and machines[0]["status"] == "online"
    told = runner.command("unregister", "--all-runners")
    status, left = fleet.server.call("GET", f"/api/v4/runners/{made['id']}/managers")
    assert (status, left) == (200, []) or (status == 404 and "manager" not in told)
    fleet.server.call("DELETE", f"/api/v4/runners/{made['id']}")
