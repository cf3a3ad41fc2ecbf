"""The real python-gitlab through every noun that the GitLab door serves beside pipelines and jobs, against a
live server."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_python_gitlab import PRELUDE
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

CONFIG = """
stages: [build, deploy]
build:
  stage: build
  script: ['echo "$SCHEDULED $GROUPED"']
up:
  stage: deploy
  script: [echo up]
  resource_group: prod
  environment: {name: "review/$CI_COMMIT_REF_SLUG", url: "https://x.test", on_stop: down}
down:
  stage: deploy
  script: [echo down]
  when: manual
  environment: {name: "review/$CI_COMMIT_REF_SLUG", action: stop}
mr:
  stage: build
  script: ['echo "$CI_MERGE_REQUEST_IID"']
  rules: [{if: '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
"""

Run = Callable[..., Any]


@pytest.fixture
def run(server: LiveServer, client_python: Path) -> Run:
    """run(code, path="") -> what the code said, as JSON."""

    def go(code: str, path: str = "", token: str = TOKEN) -> Any:
        done = subprocess.run(
            [str(client_python), "-W", "error", "-c", PRELUDE + textwrap.dedent(code), server.url, token, path],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return go


def test_groups_members_and_their_variables(server: LiveServer, run: Run) -> None:
    found = run(
        """
        group = gl.groups.create({"name": "Nouns", "path": "nouns-team"})
        sub = gl.groups.create({"name": "Sub", "path": "sub", "parent_id": group.id})
        project = gl.projects.create({"name": "app", "namespace_id": sub.id})
        eve = gl.users.create({"username": "eve", "name": "Eve", "email": "eve@x.test", "password": "x" * 12})
        key = gl.http_post(f"/users/{eve.id}/personal_access_tokens", post_data={"name": "t", "scopes": ["api"]})["token"]
        hers = gitlab.Gitlab(url, private_token=key)
        def sees():
            try: return hers.projects.get(project.id).permissions["project_access"]["access_level"]
            except gitlab.GitlabGetError as error: return error.response_code
        before = sees()
        member = group.members.create({"user_id": eve.id, "access_level": gitlab.const.AccessLevel.REPORTER})
        inherited = [m.username for m in project.members_all.list(get_all=True)]
        as_reporter = sees()
        own = project.members.create({"user_id": eve.id, "access_level": 40})
        as_maintainer = sees()
        own.access_level = 30; own.save()
        as_developer = sees()
        own.delete(); member.delete()
        after = sees()
        group.variables.create({"key": "GROUPED", "value": "g", "protected": True})
        v = group.variables.get("GROUPED"); v.value = "h"; v.save()
        gl.variables.create({"key": "EVERYWHERE", "value": "i"}); gl.variables.delete("EVERYWHERE")
        project.variables.create({"key": "K", "value": "masked-value", "masked": True, "variable_type": "file", "environment_scope": "prod"})
        shown = project.variables.get("K", filter={"environment_scope": "prod"})
        say([before, as_reporter, as_maintainer, as_developer, after, "eve" in inherited, group.variables.get("GROUPED").value,
             [shown.masked, shown.variable_type, shown.environment_scope], gl.namespaces.get("nouns-team/sub").kind,
             [g.full_path for g in group.subgroups.list(get_all=True)], [p.path for p in group.projects.list(include_subgroups=True, get_all=True)]])
        """
    )
    assert found == [
        404, 20, 40, 30, 404, True, "h", [True, "file", "prod"], "group", ["nouns-team/sub"], ["app"],
    ]  # fmt: skip


def test_schedules_triggers_statuses_environments(server: LiveServer, run: Run) -> None:
    server.push("nouns/ci", {".gitlab-ci.yml": CONFIG})
    found = run(
        """
        first = until(lambda: project.pipelines.list(get_all=False)[0], "success")
        schedule = project.pipelineschedules.create({"ref": "main", "description": "n", "cron": "0 1 * * 5", "cron_timezone": "Europe/Berlin"})
        schedule.variables.create({"key": "SCHEDULED", "value": "by-schedule"})
        number = schedule.id
        schedule.play()  # the client takes the answer for the schedule, on GitLab too
        schedule = project.pipelineschedules.get(number); schedule.take_ownership()
        done = until(lambda: project.pipelineschedules.get(schedule.id).pipelines.list(get_all=True)[0], "success")
        log = next(j for j in project.pipelines.get(done.id).jobs.list(get_all=True) if j.name == "build")
        said = project.jobs.get(log.id).trace().decode()
        schedule.description = "renamed"; schedule.save()
        token = project.triggers.create({"description": "hook"}); token.description = "hook2"; token.save()
        commit = project.commits.get("main")
        commit.statuses.create({"state": "running", "name": "outside", "target_url": "https://ci.test"})
        commit.statuses.create({"state": "success", "name": "outside"})
        statuses = {s.name: s.status for s in commit.statuses.list(get_all=True)}
        environment = project.environments.list(get_all=True)[0]
        deployments = project.deployments.list(environment=environment.name, get_all=True)
        environment.stop()
        stopped = until(lambda: type("E", (), {"status": project.environments.get(environment.id).state}), "stopped").status
        project.environments.get(environment.id).delete()
        outside = project.deployments.create({"environment": "prod", "sha": commit.id, "ref": "main", "tag": False, "status": "success"})
        groups = [(g.key, g.process_mode) for g in project.resource_groups.list(get_all=True)]
        say([done.source, "by-schedule" in said, project.pipelineschedules.get(schedule.id).description, [t.description for t in project.triggers.list(get_all=True)],
             statuses["outside"], statuses["up"], environment.tier, deployments[0].status, deployments[0].deployable["name"], stopped, outside.status, groups])
        """,
        "nouns/ci",
    )
    assert found == [
        "schedule", True, "renamed", ["hook2"], "success", "success", "development", "success", "up", "stopped", "success",
        [["prod", "unordered"]],
    ]  # fmt: skip


def test_merge_requests_repository_runners_and_scope(server: LiveServer, run: Run) -> None:
    server.push("nouns/repo", {".gitlab-ci.yml": CONFIG, "README.md": "x\n"})
    found = run(
        """
        project.branches.create({"branch": "feat/x", "ref": "main"})
        project.files.create({"file_path": "docs/a.md", "branch": "feat/x", "content": "A", "commit_message": "a"})
        file = project.files.get("docs/a.md", ref="feat/x"); file.content = "B"; file.save(branch="feat/x", commit_message="b")
        project.commits.create({"branch": "feat/x", "commit_message": "c", "actions": [{"action": "move", "file_path": "docs/b.md", "previous_path": "docs/a.md"}]})
        tag = project.tags.create({"tag_name": "v1", "ref": "main"})
        mr = project.mergerequests.create({"source_branch": "feat/x", "target_branch": "main", "title": "T"})
        pipeline = until(lambda: mr.pipelines.list(get_all=True)[0], "success")
        jobs = [j.name for j in project.pipelines.get(pipeline.id).jobs.list(get_all=True)]
        mr.pipelines.create({})
        mr.state_event = "close"; mr.save()
        runner = gl.user.runners.create({"runner_type": "project_type", "project_id": project.id, "tag_list": ["x"]}) if hasattr(gl, "user") and gl.user else None
        made = gl.http_post("/user/runners", post_data={"runner_type": "project_type", "project_id": project.id, "tag_list": ["x"]})
        one = gl.runners.get(made["id"]); one.paused = True; one.save()
        listed = [r.id for r in project.runners.list(get_all=True)]
        all_of_them = len(gl.runners_all.list(get_all=True)) if hasattr(gl, "runners_all") else 1
        gl.runners.delete(made["id"])
        scope = project.job_token_scope.get(); scope.enabled = False; scope.save()
        scope.refresh()
        other = gl.projects.create({"name": "other", "namespace_path": "nouns"})
        scope.allowlist.create({"target_project_id": other.id})
        say([project.files.get("docs/b.md", ref="feat/x").decode().decode(), tag.name, pipeline.source, jobs, len(mr.pipelines.list(get_all=True)),
             project.mergerequests.get(mr.iid).state, [m.iid for m in project.mergerequests.list(source_branch="feat/x", get_all=True)], made["id"] in listed,
             scope.inbound_enabled, [p.path for p in scope.allowlist.list(get_all=True)], [c.title for c in project.commits.list(ref_name="feat/x", get_all=True)],
             made["token"][:5]])
        """,
        "nouns/repo",
    )
    assert found == [
        "B", "v1", "merge_request_event", ["mr"], 2, "closed", [1], True, False, ["repo", "other"],
        ["c", "b", "a", "change"], "glrt-",
    ]  # fmt: skip
