"""The real python-gitlab (unmodified, in its own environment) against a live server with its built-in
runner."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

PRELUDE = """
import gitlab, io, json, sys, time, zipfile
url, token, path = sys.argv[1:4]
gl = gitlab.Gitlab(url, private_token=token, keep_base_url=False)
project = gl.projects.get(path) if path else None
def say(found): print(json.dumps(found))
def until(look, *words):
    for _ in range(600):
        found = look()
        if found.status in words: return found
        time.sleep(0.05)
    raise SystemExit(f"still {found.status}, wanted {words}")
def job(name): return project.jobs.get(next(j.id for j in project.jobs.list(get_all=True) if j.name == name))
"""

CONFIG = """
stages: [one, two]
build job:
  stage: one
  script:
    - mkdir -p out && echo "$GREETING" > out/hello.txt && echo "<b>" > page.html
    - echo "the secret is $SECRET"
  artifacts: {paths: [out, page.html], expire_in: 1 week}
slow:
  stage: one
  when: manual
  allow_failure: true
  script: [echo started, sleep 60]
flaky:
  stage: two
  allow_failure: true
  script: [cat out/hello.txt, "test -n \\"$AGAIN\\""]
by hand:
  stage: two
  when: manual
  allow_failure: true
  script: ['echo "by hand says $WORD"']
"""

Client = Callable[..., Any]


@pytest.fixture
def client(server: LiveServer, client_python: Path) -> Client:
    """client(code, path="") -> what the code said, as JSON."""

    def run(code: str, path: str = "", token: str = TOKEN) -> Any:
        done = subprocess.run(
            [str(client_python), "-W", "error", "-c", PRELUDE + textwrap.dedent(code), server.url, token, path],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def project(server: LiveServer, client: Client, request: pytest.FixtureRequest) -> Iterator[str]:
    """A project made by the client, with variables, whose first pipeline a push has started."""
    name = request.node.name.replace("_", "-")[:60].strip("-")
    made = client(
        f"""
        made = gl.projects.create({{"name": "{name}", "path": "{name}", "namespace_path": "clients"}})
        made.variables.create({{"key": "SECRET", "value": "hunter2hunter2", "masked": True}})
        made.variables.create({{"key": "GREETING", "value": "hello"}})
        say(made.path_with_namespace)
        """
    )
    server.push(made, {".gitlab-ci.yml": CONFIG, "README.md": "x\n"})
    yield made


def test_who_and_what(client: Client) -> None:
    assert client("gl.auth(); say([gl.user.username, gl.version()[0][:3]])") == ["root", "18."]
    code = """
        try: gl.auth(); say("in")
        except gitlab.GitlabAuthenticationError as error: say([error.response_code, error.error_message])
    """
    assert client(code, token="wrong") == [401, "401 Unauthorized"]


def test_a_push_starts_a_pipeline_and_its_jobs_can_be_read(client: Client, project: str) -> None:
    found = client(
        """
        pipeline = until(lambda: project.pipelines.list(get_all=False)[0], "success")
        done = job("build job")
        say([pipeline.source, [j.name for j in pipeline.jobs.list(get_all=True)], [j.name for j in project.jobs.list(scope=["manual"], get_all=True)],
             done.attributes["artifacts_file"]["filename"], done.trace().decode(), job("flaky").status, job("flaky").failure_reason,
             project.pipelines.get(pipeline.id).detailed_status["label"]])
        """,
        project,
    )
    assert (
        found[0] == "push"
        and set(found[1]) == {"build job", "slow", "flaky", "by hand"}
        and set(found[2]) == {"slow", "by hand"}
    )
    assert found[3] == "artifacts.zip" and "the secret is [MASKED]" in found[4] and "hunter2" not in found[4]
    assert found[5:] == ["failed", "script_failure", "passed with warnings"]


def test_artifacts_all_three_ways_keep_and_delete(client: Client, project: str) -> None:
    found = client(
        """
        until(lambda: project.pipelines.list(get_all=False)[0], "success")
        done = job("build job")
        names = sorted(n for n in zipfile.ZipFile(io.BytesIO(done.artifacts())).namelist() if not n.endswith("/"))
        streamed = io.BytesIO(); done.artifacts(streamed=True, action=streamed.write)
        by_ref = project.artifacts.download(ref_name="main", job="build job")
        single = [done.artifact("out/hello.txt").decode(), project.artifacts.raw("main", "page.html", "build job").decode()]
        before = done.artifacts_expire_at
        done.keep_artifacts()
        kept = job("build job").artifacts_expire_at
        done.delete_artifacts()
        try: done.artifacts(); gone = False
        except gitlab.GitlabError as error: gone = error.response_code
        say([names, streamed.getvalue() == by_ref, single, bool(before), kept, gone])
        """,
        project,
    )
    assert found == [["out/hello.txt", "page.html"], True, ["hello\n", "<b>\n"], True, None, 404]


def test_retry_play_cancel_erase(client: Client, project: str) -> None:
    found = client(
        """
        until(lambda: project.pipelines.list(get_all=False)[0], "success")
        broken = job("flaky")
        broken.retry()
        again = until(lambda: job("flaky"), "failed")
        hand = job("by hand")
        gl.http_post(f"/projects/{project.id}/jobs/{hand.id}/play", post_data={"job_variables_attributes": [{"key": "WORD", "value": "hi"}]})
        said = until(lambda: project.jobs.get(hand.id), "success").trace().decode()
        slow = job("slow"); slow.play()
        until(lambda: project.jobs.get(slow.id), "running")
        slow.cancel()
        ended = until(lambda: project.jobs.get(slow.id), "canceled")
        ended.erase()
        erased = project.jobs.get(slow.id)
        say([again.id > broken.id, "by hand says hi" in said, ended.status, len(erased.trace()), bool(erased.erased_at)])
        """,
        project,
    )
    assert found == [True, True, "canceled", 0, True]


def test_pipelines_by_api(client: Client, project: str) -> None:
    found = client(
        """
        until(lambda: project.pipelines.list(get_all=False)[0], "success")
        made = project.pipelines.create({"ref": "main", "variables": [{"key": "AGAIN", "value": "1"}]})
        done = until(lambda: project.pipelines.get(made.id), "success")
        variables = [(v.key, v.value) for v in done.variables.list(get_all=True)]
        latest = project.pipelines.latest(ref="main").id == made.id
        third = project.pipelines.create({"ref": "main"}); third.cancel()
        canceled = until(lambda: project.pipelines.get(third.id), "canceled").status
        third.retry()
        retried = until(lambda: project.pipelines.get(third.id), "success").status
        third.delete()
        try: project.pipelines.create({"ref": "nope"}); refused = ""
        except gitlab.GitlabCreateError as error: refused = str(error.error_message)
        say([job("flaky").status, variables, latest, canceled, retried, len(project.pipelines.list(get_all=True)), refused,
             project.ci_lint.get().valid, project.commits.get("main").last_pipeline["id"] == made.id, project.branches.get("main").default])
        """,
        project,
    )
    assert found[1:6] == [[["AGAIN", "1"]], True, "canceled", "success", 2]
    assert "Reference not found" in found[6] and found[7:] == [True, True, True]


def test_a_trigger_token_and_a_job_token(client: Client, project: str) -> None:
    found = client(
        """
        until(lambda: project.pipelines.list(get_all=False)[0], "success")
        trigger = project.triggers.create({"description": "hook"})
        fired = project.trigger_pipeline("main", trigger.token, variables={"AGAIN": "1"})
        say([until(lambda: project.pipelines.get(fired.id), "success").source])
        """,
        project,
    )
    assert found == ["trigger"]


def test_keyset_pages_are_followed(client: Client, project: str) -> None:
    found = client(
        """
        until(lambda: project.pipelines.list(get_all=False)[0], "success")
        ids = [j.id for j in project.jobs.list(iterator=True, pagination="keyset", order_by="id", sort="asc", per_page=1)]
        say([len(ids), ids == sorted(ids), len(list(project.jobs.list(iterator=True, per_page=1)))])
        """,
        project,
    )
    assert found == [4, True, 4]


def test_a_mirror_of_a_local_repository(client: Client, server: LiveServer, project: str) -> None:
    source = next((server.folder / "work").glob("clients-test-a-mirror*"))
    found = client(
        f"""
        made = gl.projects.create({{"name": "mirrored", "namespace_path": "clients", "import_url": {str(source)!r}}})
        pipeline = made.pipelines.create({{"ref": "main"}})
        say([made.default_branch, until(lambda: made.pipelines.get(pipeline.id), "success", "failed").status])
        """
    )
    assert found[0] == "main"
