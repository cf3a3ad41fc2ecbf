"""A run started from the page: what is asked comes from the branch's own files, what is given reaches the
run, and nobody starts what he may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from runyard.dialects import Dialect
from runyard.dialects.depot import DIALECT as DEPOT
from runyard.dialects.gitlab import DIALECT as GITLAB
from runyard.engine.ports import Edit, Page, RunFilter, Tx
from runyard.http.services import Services
from runyard.model import protection
from runyard.model.access import Role
from runyard.model.protection import Protection
from runyard.model.work import Attempt, Project, Run
from runyard.web.routes import site
from tests.services import PLAIN, ROOT, join, services_of

CONFIG = """
spec:
  inputs:
    place: {options: [staging, production], default: staging, description: "Where <b>to</b>"}
    copies: {type: number, default: 2}
    dry: {type: boolean, default: true}
    regions: {type: array, default: [eu, us]}
    note: {}
---
variables:
  LEVEL: {value: info, description: How loud, options: [info, debug]}
  SILENT: x
job:
  script: ["$[[ inputs.place ]] $[[ inputs.copies ]] $[[ inputs.dry ]] $[[ inputs.regions ]] $[[ inputs.note ]]"]
"""
WORKFLOW = """
name: Release
on:
  workflow_dispatch:
    inputs:
      version: {description: Which, required: true}
      level: {type: choice, options: [minor, major], default: minor}
      dry: {type: boolean, default: true}
jobs:
  go: {runs-on: ubuntu-latest, steps: [{run: "echo ${{ inputs.version }} ${{ inputs.level }} ${{ inputs.dry }}"}]}
"""
FILES = {
    "gitlab": {".gitlab-ci.yml": CONFIG},
    "depot": {".github/workflows/release.yml": WORKFLOW, ".github/workflows/ci.yml": "on: push\njobs: {}\n"},
}
NEW = "/team/app/-/pipelines/new"


class Yard:
    """One door's pages over one project."""

    def __init__(self, dialect: Dialect, folder: Path) -> None:
        self.services: Services = services_of(dialect, folder)[0]
        makers = {dialect.name: dialect.offers}
        asks = {dialect.name: dialect.job_inputs} if dialect.job_inputs else {}
        self.client = TestClient(site(self.services, [dialect.name], makers, asks), base_url="http://ci.test")
        self.dialect = dialect.name

        def make(tx: Tx) -> Project:
            return tx.add(Project(id=0, path="team/app", name="app", created_at=1))

        self.project: Project = self.services.db.submit_write(make).result()
        self.services.source.create(self.project.id, "main")
        self.commit(FILES[dialect.name])

    def commit(self, files: dict[str, str], branch: str = "main") -> None:
        """Another branch begins at main, whose files these replace."""
        start, action = ("", "create") if branch == "main" else ("main", "update")
        edits = [Edit(action, path, text.encode()) for path, text in files.items()]
        source, now = self.services.source, 1_800_000_000_000
        source.commit_edits(self.project.id, branch, start, edits, "m", "A", "a@x.test", now)

    def publish(self) -> None:
        def change(tx: Tx) -> None:
            found = tx.get(Project, self.project.id)
            assert found is not None
            tx.save(replace(found, visibility="public"))

        self.services.db.submit_write(change).result()

    def sign_in(self, token: str = ROOT) -> None:
        assert self.client.post("/sign-in", data={"token": token}, follow_redirects=False).status_code == 303

    def start(self, path: str, **given: str) -> Any:
        fields = {"dialect": self.dialect, "path": path, "ref": "main", **given}
        return self.client.post("/team/app/-/pipelines", data=fields, follow_redirects=False)

    def runs(self) -> list[Run]:
        return self.services.db.submit_read(
            lambda tx: tx.runs(RunFilter(project_id=self.project.id), Page())
        ).result()

    def plan(self, run: Run) -> str:
        """All of its jobs' plans, as text."""
        return str(
            [job.plan for job, _ in self.services.db.submit_read(lambda tx: tx.graph(run.id)).result()]
        )


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Callable[[Dialect], Yard]]:
    made: list[Yard] = []

    def make(dialect: Dialect) -> Yard:
        made.append(Yard(dialect, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.services.db.close()


def test_a_pipeline_asks_for_its_inputs_and_described_variables(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(GITLAB)
    it.sign_in()
    html = it.client.get(NEW).text
    for name in ("input:place", "input:copies", "input:dry", "input:regions", "input:note", "variable:LEVEL"):
        assert f'name="{name}"' in html, name
    assert "variable:SILENT" not in html
    assert "Where &lt;b&gt;to&lt;/b&gt;" in html
    assert "[&#34;eu&#34;, &#34;us&#34;]" in html


def test_what_is_given_reaches_the_pipeline(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(GITLAB)
    it.sign_in()
    given = {"input:place": "production", "input:copies": "3", "input:regions": '["x"]', "input:note": "why"}
    answer = it.start(".gitlab-ci.yml", **given, **{"variable:LEVEL": "debug", "more": "A=1 = 2\r\n\r\nB="})
    [run] = it.runs()
    assert answer.headers["location"] == f"/team/app/-/pipelines/{run.id}"
    assert (run.source, run.ref) == ("web", "main")
    assert [(v.key, v.value) for v in run.variables] == [("LEVEL", "debug"), ("A", "1 = 2"), ("B", "")]
    assert "production 3 false" in it.plan(run)  # a box that is not ticked is not sent
    assert "why" in it.plan(run)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input:note": "x", "input:regions": "eu"}, "regions: write an array as JSON"),
        ({"input:note": "x", "more": "no equals"}, "more variables, line 1: write KEY=value"),
        ({"input:note": "x", "input:copies": "many"}, "copies"),
        ({"input:note": "x", "input:place": "moon"}, "place"),
    ],
)
def test_what_does_not_fit_is_said_and_the_form_keeps_what_was_written(
    yard: Callable[[Dialect], Yard], given: dict[str, str], said: str
) -> None:
    it = yard(GITLAB)
    it.sign_in()
    answer = it.start(".gitlab-ci.yml", **given)
    assert answer.status_code == 400
    problem = answer.text.partition('role="alert">')[2].partition("</pre>")[0]
    assert said in problem
    assert 'value="x"' in answer.text
    assert it.runs() == []


JOB = """
ship:
  when: manual
  inputs:
    place: {options: [staging, production], default: staging, description: "Where <b>to</b>"}
    copies: {type: number, default: 2}
    dry: {type: boolean, default: true}
    regions: {type: array, default: [eu]}
  script: ["echo ${{ job.inputs.place }}"]
plain: {when: manual, script: [x]}
"""


def attempt_of(it: Yard, name: str) -> Attempt:
    """The newest of that job."""
    [run] = it.runs()
    graph = it.services.db.submit_read(lambda tx: tx.graph(run.id)).result()
    return next(attempt for job, attempt in graph if job.name == name)


def test_a_manual_job_asks_for_its_inputs_and_so_does_its_retry(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(GITLAB)
    it.sign_in()
    it.commit({".gitlab-ci.yml": JOB}, "jobs")
    it.start(".gitlab-ci.yml", ref="jobs")
    first, plain = attempt_of(it, "ship"), attempt_of(it, "plain")
    at = f"/team/app/-/jobs/{first.id}"
    html = it.client.get(at).text
    assert html.count(f'action="{at}/play"') == 1, "the form takes the bare button's place"
    assert 'name="input:copies" value="2"' in html and "Where &lt;b&gt;to&lt;/b&gt;" in html
    assert "input:" not in it.client.get(f"/team/app/-/jobs/{plain.id}").text

    form = {"form": "inputs", "input:place": "production", "input:copies": "3", "input:regions": '["x", "y"]'}
    for wrong, said in ({"input:place": "moon"}, "moon"), ({"input:regions": "x"}, "regions: write an array"):
        answer = it.client.post(f"{at}/play", data=form | wrong, follow_redirects=False)
        assert answer.status_code == 400 and said in answer.text
    assert attempt_of(it, "ship") == first, "a wrong form changes nothing"

    it.client.post(f"{at}/play", data=form)
    played = attempt_of(it, "ship")
    given = {"place": "production", "copies": 3, "dry": False, "regions": ["x", "y"]}
    assert (str(played.state), played.extra["inputs"]) == ("queued", given)
    it.client.post(f"{at}/cancel")
    html = it.client.get(at).text
    assert (
        f'action="{at}/retry"' in html
        and "[&#34;x&#34;, &#34;y&#34;]" in html
        and "<option selected>production" in html
    )
    it.client.post(f"{at}/retry", data=form | {"input:copies": "4", "input:dry": "true"})
    assert attempt_of(it, "ship").extra["inputs"] == {**given, "copies": 4, "dry": True}


def test_a_manual_job_takes_variables_and_so_does_its_retry(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(GITLAB)
    it.sign_in()
    it.commit({".gitlab-ci.yml": JOB + "auto: {script: [x]}\n"}, "jobs")
    it.start(".gitlab-ci.yml", ref="jobs")
    assert 'name="more"' not in it.client.get(f"/team/app/-/jobs/{attempt_of(it, 'auto').id}").text
    at = f"/team/app/-/jobs/{attempt_of(it, 'plain').id}"
    html = it.client.get(at).text
    assert 'name="more"' in html and html.count(f'action="{at}/play"') == 2, "the bare button stays"

    def given() -> dict[str, str]:
        return {v.key: v.value for v in attempt_of(it, "plain").variables}

    refused = it.client.post(f"{at}/play", data={"form": "inputs", "more": "no equals"})
    assert refused.status_code == 400 and "line 1" in refused.text and given() == {}
    it.client.post(f"{at}/play", data={"form": "inputs", "more": "WHERE=a=b\r\nEMPTY=\r\n"})
    assert given() == {"WHERE": "a=b", "EMPTY": ""}
    it.client.post(f"{at}/cancel")
    assert "WHERE=a=b\nEMPTY=</textarea>" in it.client.get(at).text
    it.client.post(f"{at}/retry")
    assert given() == {"WHERE": "a=b", "EMPTY": ""}, "a bare button keeps them"
    at = f"/team/app/-/jobs/{attempt_of(it, 'plain').id}"
    it.client.post(f"{at}/cancel")
    it.client.post(f"{at}/retry", data={"form": "inputs", "more": ""})
    assert given() == {}


def test_a_bare_button_leaves_the_inputs_as_they_are(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(GITLAB)
    it.sign_in()
    it.commit({".gitlab-ci.yml": JOB}, "jobs")
    it.start(".gitlab-ci.yml", ref="jobs")
    it.client.post(f"/team/app/-/jobs/{attempt_of(it, 'ship').id}/play")  # the button on the run's page
    started = attempt_of(it, "ship")
    assert str(started.state) == "queued" and "inputs" not in started.extra


def test_a_broken_configuration_can_be_started_and_says_why_it_does_not(
    yard: Callable[[Dialect], Yard],
) -> None:
    it = yard(GITLAB)
    it.commit({".gitlab-ci.yml": "job: {scrip: [x]}"}, "broken")
    it.sign_in()
    assert "Start on broken" in it.client.get(NEW + "?ref=broken").text
    answer = it.start(".gitlab-ci.yml", ref="broken")
    assert answer.status_code == 400
    assert ".gitlab-ci.yml:1:" in answer.text


def test_a_workflow_that_knows_dispatches_is_offered_and_takes_its_inputs(
    yard: Callable[[Dialect], Yard],
) -> None:
    it = yard(DEPOT)
    it.sign_in()
    html = it.client.get(NEW).text
    assert "release.yml" in html
    assert "ci.yml" not in html
    answer = it.start(
        ".github/workflows/release.yml",
        **{"input:version": "1.2", "input:level": "major", "input:dry": "true"},
    )
    assert answer.status_code == 303, answer.text
    [run] = it.runs()
    assert run.source == "workflow_dispatch"
    assert "1.2" in it.plan(run)
    assert "major" in it.plan(run)


def test_a_branch_that_is_not_there_and_one_with_nothing_to_start(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(GITLAB)
    it.sign_in()
    answer = it.client.get(NEW + "?ref=nowhere")
    assert answer.status_code == 404
    assert "There is no branch or tag nowhere" in answer.text


def test_a_branch_with_nothing_to_start_says_what_would_be(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(DEPOT)
    it.sign_in()
    it.commit({".github/workflows/release.yml": "on: push\njobs: {}\n"}, "bare")
    html = it.client.get(NEW + "?ref=bare").text
    assert "can be started by hand" in html
    assert "workflow_dispatch" in html


def test_strangers_are_sent_to_sign_in_and_onlookers_told_whom_to_ask(
    yard: Callable[[Dialect], Yard],
) -> None:
    it = yard(GITLAB)
    assert it.client.get(NEW).status_code == 404
    it.publish()
    answer = it.client.get(NEW, follow_redirects=False)
    assert answer.headers["location"] == "/sign-in?next=%2Fteam%2Fapp%2F-%2Fpipelines%2Fnew"
    assert it.start(".gitlab-ci.yml").status_code == 401
    it.sign_in(PLAIN)
    it.services.db.submit_write(lambda tx: join(tx, "plain", "team/app", Role.REPORTER)).result()
    assert it.client.get(NEW).status_code == 403
    assert "Start a run" not in it.client.get("/team/app").text
    assert it.start(".gitlab-ci.yml", **{"input:note": "x"}).status_code == 403
    assert it.runs() == []


def test_a_protected_branch_takes_whom_its_protection_lets(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(GITLAB)

    def protect(tx: Tx) -> None:
        join(tx, "plain", "team/app", Role.DEVELOPER)
        project = tx.get(Project, it.project.id)
        assert project is not None
        rule = Protection("main", Role.MAINTAINER, Role.MAINTAINER)
        tx.save(protection.with_rules(project, protection.BRANCHES, [rule]))

    it.services.db.submit_write(protect).result()
    it.sign_in(PLAIN)
    assert "main is protected" in it.client.get(NEW).text
    assert it.start(".gitlab-ci.yml", **{"input:note": "x"}).status_code == 403
    it.sign_in(ROOT)
    assert it.start(".gitlab-ci.yml", **{"input:note": "x"}).status_code == 303
    [run] = it.runs()
    here = f"/team/app/-/pipelines/{run.id}"
    assert f"{here}/cancel" in it.client.get(here).text
    it.sign_in(PLAIN)
    assert f"{here}/cancel" not in it.client.get(here).text
    assert it.client.post(f"{here}/cancel").status_code == 403


def test_a_form_of_another_site_starts_nothing(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(GITLAB)
    it.sign_in()
    fields = {"dialect": "gitlab", "path": ".gitlab-ci.yml", "ref": "main", "input:note": "x"}
    answer = it.client.post(
        "/team/app/-/pipelines", data=fields, headers={"Origin": "https://evil.test"}, follow_redirects=False
    )
    assert answer.status_code == 403
    assert it.runs() == []


def test_only_what_the_branch_offers_can_be_started(yard: Callable[[Dialect], Yard]) -> None:
    it = yard(DEPOT)
    it.sign_in()
    assert it.start(".github/workflows/ci.yml").status_code == 404
    assert it.start("../../etc/passwd").status_code == 404
    assert it.runs() == []
