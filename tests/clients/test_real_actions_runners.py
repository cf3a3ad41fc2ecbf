"""The real act_runner and forgejo-runner against a live server, one binary after the other: whole workflows,
artifacts, cancel, a server that dies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.clients.actions_fleet import NONE, ActionsRunner, binaries
from tests.live_server import LiveServer

pytestmark = [pytest.mark.client, pytest.mark.skipif(not binaries(), reason=NONE)]
ENDED = ("finished", "failed", "cancelled")

UPLOAD = r"""
import base64, json, os, urllib.request
token, base = os.environ["ACTIONS_RUNTIME_TOKEN"], os.environ["ACTIONS_RESULTS_URL"].rstrip("/")
part = token.split(".")[1]
scope = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["scp"].split()[0]
_, run, job = scope.split(":")
ids = {"workflow_run_backend_id": run, "workflow_job_run_backend_id": job}
def call(method, body):
    url = f"{base}/twirp/github.actions.results.api.v1.ArtifactService/{method}"
    head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return json.load(urllib.request.urlopen(urllib.request.Request(url, json.dumps({**ids, **body}).encode(), head)))
name = "bundle-" + os.environ["LEG"]
made = call("CreateArtifact", {"name": name, "version": 4})
put = urllib.request.Request(made["signed_upload_url"], b"PK-not-really", {"x-ms-blob-type": "BlockBlob"}, method="PUT")
urllib.request.urlopen(put)
print("artifact", call("FinalizeArtifact", {"name": name, "size": "13"})["ok"])
"""
WORKFLOW = f"""
name: Fleet
on: workflow_dispatch
env: {{TOP: level, OVER: file}}
jobs:
  three:
    runs-on: [self-hosted, fleet]
    strategy: {{matrix: {{n: [1, 2]}}}}
    outputs: {{word: '${{{{ steps.make.outputs.word }}}}'}}
    steps:
      - {{name: First, run: 'echo "hello $CI_PLACE $TOP ${{{{ matrix.n }}}}" && echo "the secret is $SECRET"', env: {{SECRET: '${{{{ secrets.WORD }}}}'}}}}
      - {{id: make, name: Second, run: 'echo "word=made" >> "$GITHUB_OUTPUT"'}}
      - name: Third
        shell: python
        env: {{LEG: '${{{{ matrix.n }}}}'}}
        run: |
{"".join(f"          {line}{chr(10)}" for line in UPLOAD.strip().splitlines())}
  after:
    needs: three
    runs-on: [self-hosted, fleet]
    steps:
      - {{name: Look, run: 'test "${{{{ needs.three.outputs.word }}}}" = made && echo "on ${{{{ github.repository }}}} ${{{{ vars.PLAIN }}}}"'}}
      - {{name: Soft, continue-on-error: true, run: exit 4}}
      - {{name: Fail, run: exit 3}}
      - {{name: Never, run: echo unreached}}
      - {{name: Always, if: always(), run: 'echo "ended ${{{{ job.status }}}}"'}}
  mourn:
    needs: after
    if: failure()
    runs-on: [self-hosted, fleet]
    env: {{OVER: job}}
    steps: [{{run: 'echo "after was ${{{{ needs.after.result }}}} for $OVER"'}}]
"""
ONCE = """
on: workflow_dispatch
jobs:
  once: {runs-on: [self-hosted, fleet], steps: [{run: echo once}]}
"""
SLOW = """
name: Slow
on: workflow_dispatch
jobs:
  slow:
    runs-on: [self-hosted, fleet]
    steps:
      - run: echo begun; for i in $(seq 300); do sleep 0.1; test -e "$HOME/go" && break; done; echo gone on
"""


class Place:
    """A server and one runner of it."""

    def __init__(self, server: LiveServer, runner: ActionsRunner) -> None:
        self.server, self.runner = server, runner

    def call(self, method: str, body: Any) -> Any:
        request = Request(
            f"{self.server.url}/{method}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def ci(self, method: str, body: Any) -> Any:
        return self.call(f"depot.ci.v1.CIService/{method}", body)

    def start(self, file: str) -> str:
        return str(
            self.ci("Run", {"repo": "fleet/demo", "workflow": f".depot/workflows/{file}.yml"})["runId"]
        )

    def ended(self, run: str) -> dict[str, Any]:
        """Jobs by display name, once all is over."""
        self.until(run, lambda tree: tree["status"] in ENDED)
        tree = self.ci("GetRunStatus", {"runId": run})
        return {job["jobDisplayName"]: job for flow in tree["workflows"] for job in flow["jobs"]}

    def until(self, run: str, wanted: Callable[[Any], bool]) -> None:
        try:
            self.server.until(lambda: self.ci("GetRunStatus", {"runId": run}), wanted, 120)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.runner.said()}") from None

    def lines(self, job: Any) -> list[dict[str, Any]]:
        found = self.ci("GetJobAttemptLogs", {"attemptId": job["attempts"][-1]["attemptId"]})
        return list(found.get("lines", []))

    def text(self, job: Any) -> str:
        return "\n".join(line.get("body", "") for line in self.lines(job))


@pytest.fixture(scope="module", params=binaries(), ids=lambda path: path.name)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    server = LiveServer(tmp_path_factory.mktemp("live"))
    server.push("fleet/demo", {".depot/workflows/fleet.yml": WORKFLOW, ".depot/workflows/slow.yml": SLOW})
    runner = ActionsRunner(request.param, server, tmp_path_factory.mktemp("runner") / "it")
    found = Place(server, runner)
    for service, name, value in (("Secret", "WORD", "sesame-open"), ("Variable", "PLAIN", "in-sight")):
        found.call(f"depot.ci.v1.{service}Service/Add{service}", {"name": name, "value": value})
    said = runner.register()
    assert "successfully" in said.lower()
    with runner.running():
        yield found
    server.stop()


def test_a_workflow_of_three_steps_artifacts_and_a_failure(place: Place) -> None:
    run = place.start("fleet")
    jobs = place.ended(run)
    legs = [job for name, job in jobs.items() if name.startswith("three")]
    assert len(legs) == 2 and {job["status"] for job in legs} == {"finished"}, [
        place.text(leg) for leg in legs
    ]
    for n, leg in enumerate(legs, 1):
        text = place.text(leg)
        assert f"hello here level {n}" in text and "artifact True" in text
        assert "the secret is ***" in text and "sesame-open" not in text
        by_step = {line.get("stepName") for line in place.lines(leg)}
        assert {"First", "Third"} <= by_step
        times = [int(line["timestampMs"]) for line in place.lines(leg)]
        assert all(times) and times == sorted(times)
    found = place.ci("ListArtifacts", {"runId": run})["artifacts"]
    assert sorted(one["name"] for one in found) == ["bundle-1", "bundle-2"]
    url = place.ci("GetArtifactDownloadURL", {"artifactId": found[0]["artifactId"]})["url"]
    with urlopen(url, timeout=30) as answer:
        assert answer.read() == b"PK-not-really"
    after = jobs["after"]
    text = place.text(after)
    assert after["status"] == "failed", text
    assert "on fleet/demo in-sight" in text and "ended failure" in text and "unreached" not in text
    assert "after was failure for job" in place.text(jobs["mourn"])


def test_a_canceled_job_stops(place: Place) -> None:
    run = place.start("slow")
    place.until(run, lambda tree: "begun" in _log_of(place, tree))
    place.ci("CancelRun", {"runId": run})
    jobs = place.ended(run)
    assert jobs["slow"]["status"] == "cancelled"
    assert "gone on" not in place.text(jobs["slow"]).splitlines()


def test_a_job_goes_on_while_the_server_is_away(place: Place) -> None:
    run = place.start("slow")
    place.until(run, lambda tree: "begun" in _log_of(place, tree))
    place.server.kill()
    (place.runner.folder / "go").touch()
    place.server.start()
    jobs = place.ended(run)
    assert jobs["slow"]["status"] == "finished" and len(jobs["slow"]["attempts"]) == 1, place.runner.said()
    assert "gone on" in place.text(jobs["slow"]).splitlines()
    (place.runner.folder / "go").unlink()


def _log_of(place: Place, tree: Any) -> str:
    (job,) = (job for flow in tree["workflows"] for job in flow["jobs"])
    return place.text(job) if job.get("attempts") else ""


def test_an_ephemeral_runner_takes_one_job_and_goes(place: Place, tmp_path: Path) -> None:
    if "forgejo" in place.runner.binary.name:
        pytest.skip("forgejo-runner registers no ephemeral runners")
    server = LiveServer(tmp_path)
    try:
        server.push("fleet/demo", {".depot/workflows/once.yml": ONCE})
        runner = ActionsRunner(place.runner.binary, server, tmp_path / "it")
        runner.register("--ephemeral")
        alone = Place(server, runner)
        runs = [alone.start("once") for _ in range(2)]
        with runner.running() as process:
            alone.ended(runs[0])
            process.wait(60)
        assert alone.ci("GetRunStatus", {"runId": runs[0]})["status"] == "finished", runner.said()
        assert alone.ci("GetRunStatus", {"runId": runs[1]})["status"] == "queued"
    finally:
        server.stop()
