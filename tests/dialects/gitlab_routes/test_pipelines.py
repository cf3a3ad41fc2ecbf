"""Pipelines, projects, repository, variables, triggers, lint and meta as clients see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runyard.engine.ports import Tx
from runyard.model.access import Role
from runyard.model.work import Attempt, Job, Project, Run
from tests.services import PLAIN


def test_pipelines_are_listed_and_counted(house: Any) -> None:
    project = house.project()
    ids = [house.pipeline(project)["id"] for _ in range(3)]
    answer = house.call("GET", f"/projects/{project}/pipelines?per_page=2")
    assert [p["id"] for p in answer.json()] == [ids[2], ids[1]]
    assert (
        answer.headers["x-total"] == "3"
        and answer.headers["x-total-pages"] == "2"
        and 'rel="last"' in answer.headers["link"]
    )
    assert [p["id"] for p in house.get(f"/projects/{project}/pipelines?order_by=id&sort=asc")] == ids
    assert len(house.get(f"/projects/{project}/pipelines?username=root")) == 3
    for query in (
        "username=nobody",
        "status=success",
        "ref=nope",
        "sha=beef",
        "scope=tags",
        "scope=finished",
        "status=preparing",
        "name=x",
        "yaml_errors=true",
        "status=manual",
    ):
        assert house.get(f"/projects/{project}/pipelines?{query}") == [], query
    recent = f"/projects/{project}/pipelines?updated_after=2020-01-01T00:00:00Z"
    assert [len(house.get(f"{recent}{more}")) for more in ("", "&scope=branches")] == [3, 1]
    for query in ("status=bogus", "scope=bogus", "order_by=bogus", "updated_after=bogus"):
        assert house.call("GET", f"/projects/{project}/pipelines?{query}").status_code == 400
    assert house.get(f"/projects/{project}/pipelines/latest")["id"] == ids[2]
    assert house.call("GET", f"/projects/{project}/pipelines/latest?ref=nope").json() == {
        "message": "404 Pipeline Not Found"
    }


def test_cancel_retry_delete_a_pipeline(house: Any) -> None:
    project = house.project()
    pipeline = house.pipeline(project)["id"]
    at = f"/projects/{project}/pipelines/{pipeline}"
    canceled = house.call("POST", f"{at}/cancel", json={})
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert house.call("POST", f"{at}/cancel", json={}).status_code == 200
    retried = house.call("POST", f"{at}/retry", json={})
    assert (retried.status_code, retried.json()["status"]) == (201, "pending")
    assert len(house.get(f"{at}/jobs")) == 3 and len(house.get(f"{at}/jobs?include_retried=True")) > 3
    assert house.call("PUT", f"{at}/metadata", json={"name": "nightly"}).json()["name"] == "nightly"
    assert house.get(f"{at}/bridges") == []
    assert house.call("DELETE", at).status_code == 204 and house.call("GET", at).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ({}, 400, {"error": "ref is missing"}),
        ({"ref": "nope"}, 400, {"message": {"base": ["Reference not found"]}}),
        ({"ref": "--upload-pack=x"}, 400, None),
        ({"ref": "main", "variables": "x"}, 400, {"error": "variables is invalid"}),
        (
            {"ref": "main", "variables": [{"key": "a b", "value": "x"}]},
            400,
            {"error": "variables[key] is invalid"},
        ),
        ({"ref": ["main"]}, 400, {"error": "ref is invalid"}),
    ],
)
def test_a_pipeline_that_cannot_be_made(house: Any, body: dict[str, Any], status: int, answer: Any) -> None:
    project = house.project()
    got = house.call("POST", f"/projects/{project}/pipeline", json=body)
    assert got.status_code == status and (answer is None or got.json() == answer)
    assert house.get(f"/projects/{project}/pipelines") == []


@pytest.mark.parametrize("config", ["a: [", "a:\n  script: x\n  needs: [b]\n", "a:\n  nope: 1\n", "\t", "x"])
def test_a_broken_configuration_names_its_place(house: Any, config: str) -> None:
    project = house.project(config=config)
    got = house.call("POST", f"/projects/{project}/pipeline", json={"ref": "main"})
    assert got.status_code == 400 and got.json()["message"]["base"][0].startswith(".gitlab-ci.yml")
    assert house.get(f"/projects/{project}/pipelines") == []


def test_rules_that_leave_nothing(house: Any) -> None:
    project = house.project(config='a:\n  script: [x]\n  rules: [{if: "$NEVER"}]\n')
    got = house.call("POST", f"/projects/{project}/pipeline", json={"ref": "main"})
    assert got.status_code == 400 and got.json()["message"]["base"][0].startswith("Pipeline will not run")
    assert house.pipeline(project, variables=[{"key": "NEVER", "value": "1"}])["id"]


def test_bodies_in_every_encoding(house: Any) -> None:
    project = house.project()
    at = f"/projects/{project}/pipeline"
    form = {"ref": "main", "variables[][key]": "K", "variables[][value]": "form"}
    for more in ({"data": form}, {"files": {k: (None, v) for k, v in form.items()}}, {"params": form}):
        made = house.call("POST", at, **more)
        assert made.status_code == 201, made.text
        assert house.get(f"/projects/{project}/pipelines/{made.json()['id']}/variables")[0]["value"] == "form"
    both = house.call("POST", f"{at}?ref=nope", json={"ref": "main"})
    assert both.status_code == 201
    assert (
        house.call("POST", at, content=b"ref=main", headers={"Content-Type": "text/yaml"}).status_code == 400
    )
    assert house.call("POST", at, content=b"x" * (2 << 20)).json() == {
        "message": "413 Request Entity Too Large"
    }


def test_projects(house: Any) -> None:
    made = house.call("POST", "/projects", json={"name": "My Project!"})
    assert (
        made.status_code == 201
        and made.json()["path_with_namespace"] == "root/my-project"
        and made.json()["empty_repo"]
    )
    again = house.call("POST", "/projects", json={"name": "My Project!"})
    assert (again.status_code, again.json()) == (400, {"message": {"path": ["has already been taken"]}})
    assert house.get("/projects?search=my-proj")[0]["id"] == made.json()["id"]
    shown = house.get("/projects/root%2Fmy-project?license=true&with_custom_attributes=true")
    assert (
        shown["http_url_to_repo"] == "http://ci.test/root/my-project.git"
        and shown["namespace"]["full_path"] == "root"
    )
    changed = house.call(
        "PUT", f"/projects/{shown['id']}", json={"ci_config_path": "ci/x.yml", "default_branch": "trunk"}
    )
    assert changed.json()["ci_config_path"] == "ci/x.yml" and changed.json()["default_branch"] == "trunk"
    for body in (
        {},
        {"name": "a", "path": "../x"},
        {"path": "a b"},
        {"path": "x", "import_url": "ext::sh -c x"},
        {"path": "x", "import_url": "/nonexistent"},
        {"path": "x", "visibility": "?"},
        {"path": "x", "default_branch": "-x"},
    ):
        assert house.call("POST", "/projects", json=body).status_code == 400, body
    blocked = house.call("POST", "/projects", token="glpat-plain", json={"path": "x", "import_url": "/tmp"})
    assert "only administrators" in blocked.json()["message"]["import_url"][0]
    assert house.call("DELETE", f"/projects/{shown['id']}").status_code == 202
    assert house.call("GET", f"/projects/{shown['id']}").status_code == 404


def test_a_default_branch_is_the_repositorys_and_stays(house: Any) -> None:
    project = house.project()
    at = f"/projects/{project}"
    made = house.call("POST", f"{at}/repository/branches", json={"branch": "develop", "ref": "main"})
    assert made.status_code == 201
    refused = house.call("PUT", at, json={"default_branch": "nope"})
    assert (refused.status_code, "does not exist" in refused.text) == (400, True)
    assert house.call("PUT", at, json={"default_branch": "develop"}).json()["default_branch"] == "develop"
    edit = {"branch": "main", "commit_message": "m", "actions": [{"action": "create", "file_path": "n"}]}
    assert house.call("POST", f"{at}/repository/commits", json=edit).status_code == 201
    assert house.get(at)["default_branch"] == "develop", "a push takes it from the repository's HEAD"
    assert house.services.source.default_branch(project) == "develop"


def test_a_change_of_a_project_keeps_what_others_wrote_meanwhile(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = house.project()
    at = f"/projects/{project}"
    lead_to = house.services.source.set_default_branch

    def meanwhile(project_id: int, branch: str) -> None:
        lead_to(project_id, branch)
        house.write(lambda tx: tx.save(replace(tx.get(Project, project), extra={"protection": {"main": {}}})))

    monkeypatch.setattr(type(house.services.source), "set_default_branch", lambda _, *a: meanwhile(*a))
    assert house.call("PUT", at, json={"default_branch": "main", "description": "d"}).status_code == 200
    row = house.services.db.submit_read(lambda tx: tx.get(Project, project)).result()
    assert row.extra["protection"] == {"main": {}} and row.extra["gitlab"]["description"] == "d"


def test_the_repository(house: Any) -> None:
    project = house.project(**{"a.txt": "A"})
    commit = house.get(f"/projects/{project}/repository/commits/main")
    assert commit["title"] == "first" and commit["last_pipeline"] is None
    pipeline = house.pipeline(project)
    assert (
        house.get(f"/projects/{project}/repository/commits/{commit['id']}")["last_pipeline"]["id"]
        == pipeline["id"]
    )
    assert house.get(f"/projects/{project}/repository/branches")[0]["name"] == "main"
    assert house.get(f"/projects/{project}/repository/branches/main")["default"] is True
    assert house.get(f"/projects/{project}/repository/tags") == []
    assert house.get(f"/projects/{project}/repository/files/a%2Etxt?ref=main")["content"] == "QQ=="
    assert house.call("GET", f"/projects/{project}/repository/files/a.txt/raw").text == "A"
    for path, thing in (
        ("commits/nope", "Commit"),
        ("branches/-x", "Branch"),
        ("tags/v1", "Tag"),
        ("files/x", "File"),
    ):
        answer = house.call("GET", f"/projects/{project}/repository/{path}")
        assert (answer.status_code, answer.json()) == (404, {"message": f"404 {thing} Not Found"})


def test_variables(house: Any) -> None:
    project = house.project()
    at = f"/projects/{project}/variables"
    made = house.call("POST", at, json={"key": "SECRET", "value": "hunter2hunter2", "masked": True})
    assert (
        made.status_code == 201 and made.json()["masked"] is True and made.json()["environment_scope"] == "*"
    )
    again = house.call("POST", at, json={"key": "SECRET", "value": "x"})
    assert again.json() == {"message": {"key": ["(SECRET) has already been taken"]}}
    assert house.call("POST", at, json={"key": "M", "value": "short", "masked": True}).json() == {
        "message": {"value": ["is invalid"]}
    }
    assert house.call("PUT", f"{at}/SECRET", json={"value": "other-secret"}).json()["value"] == "other-secret"
    assert [v["key"] for v in house.get(at)] == ["SECRET"]
    house.pipeline(project)
    sent = {v["key"]: v for v in house.claim(house.runner()).json()["variables"]}
    assert sent["SECRET"]["value"] == "other-secret" and sent["SECRET"]["masked"] is True
    assert (
        house.call("DELETE", f"{at}/SECRET").status_code == 204
        and house.call("GET", f"{at}/SECRET").status_code == 404
    )
    assert house.call("POST", "/admin/ci/variables", json={"key": "ALL", "value": "1"}).status_code == 201
    assert house.get(at) == [] and house.get("/admin/ci/variables/ALL")["value"] == "1"


def test_trigger_tokens(house: Any) -> None:
    project, other = house.project(), house.project("group/other")
    token = house.call("POST", f"/projects/{project}/triggers", json={"description": "hook"}).json()["token"]
    at = f"/projects/{project}/trigger/pipeline"
    made = house.call("POST", f"{at}?token={token}&ref=main", token=None, files={"variables[A]": (None, "1")})
    assert made.status_code == 201 and made.json()["source"] == "trigger"
    body = {"token": token, "ref": "main", "variables": {"A": "1"}, "inputs": {}}
    assert house.call("POST", at, token=None, json=body).status_code == 201
    assert (
        house.call(
            "POST", f"/projects/{project}/ref/main/trigger/pipeline", token=None, json={"token": token}
        ).status_code
        == 201
    )
    wrong = house.call("POST", at, token=None, json={**body, "variables": {"A": 1}})
    assert wrong.json() == {"message": "400 Bad request - variables needs to be a map of key-valued strings"}
    for foreign in ({**body, "token": "x"}, {**body, "token": "glpat-root"}):
        assert house.call("POST", at, token=None, json=foreign).status_code == 404
    assert house.call("POST", f"/projects/{other}/trigger/pipeline", token=None, json=body).status_code == 404


def test_a_jobs_token_starts_pipelines_as_far_as_its_person_and_its_own_rights_go(house: Any) -> None:
    project = house.project()
    house.join(project, Role.DEVELOPER)
    assert (
        house.call("POST", f"/projects/{project}/pipeline", token=PLAIN, json={"ref": "main"}).status_code
        == 201
    )
    job = house.claim(house.runner()).json()

    def fired() -> int:
        body = {"token": job["token"], "ref": "main"}
        at = f"/projects/{project}/trigger/pipeline"
        return int(house.call("POST", at, token=None, json=body).status_code)

    assert fired() == 201

    def change(dialect: str, steers: bool) -> None:
        def save(tx: Tx) -> None:
            attempt = tx.get(Attempt, job["id"])
            assert attempt is not None
            row, run = tx.get(Job, attempt.job_id), tx.get(Run, attempt.run_id)
            assert row is not None and run is not None
            tx.save(replace(row, plan=replace(row.plan, steers_runs=steers)))
            tx.save(replace(run, dialect=dialect))

        house.write(save)

    change("depot", steers=False)
    assert fired() == 404, "`permissions: {}` of Actions would mean nothing at this door"
    change("depot", steers=True)
    assert fired() == 201
    member = house.get("/user", token=PLAIN)["id"]
    assert house.call("DELETE", f"/projects/{project}/members/{member}").status_code == 204
    assert fired() == 404, "the job's person may not run anything here any more"


def test_a_variable_is_given_once(house: Any) -> None:
    project = house.project()
    twice = [{"key": key, "value": "1"} for key in ("A", "B", "A", "C", "C")]
    at = f"/projects/{project}/pipeline"
    assert house.call("POST", at, json={"ref": "main", "variables": twice}).json() == {
        "message": {"base": ["Duplicate variable names: A, C"]}
    }
    assert house.get(f"/projects/{project}/pipelines") == []


def test_lint(house: Any) -> None:
    project = house.project()
    good = house.get(f"/projects/{project}/ci/lint")
    assert good["valid"] and good["errors"] == [] and "make" in good["merged_yaml"]
    bad = house.call(
        "POST", f"/projects/{project}/ci/lint", json={"content": "a:\n  nope: 1\n", "include_jobs": True}
    )
    assert bad.status_code == 200 and not bad.json()["valid"] and bad.json()["errors"]
    jobs = house.call(
        "POST", f"/projects/{project}/ci/lint", json={"content": "a: {script: [x]}", "include_jobs": True}
    ).json()["jobs"]
    assert jobs[0]["name"] == "a"
    empty = house.call("POST", "/projects", json={"path": "empty"}).json()["id"]
    assert house.get(f"/projects/{empty}/ci/lint")["valid"] is False
    assert house.call("POST", f"/projects/{empty}/ci/lint", json={"content": "a: {script: [x]}"}).json()[
        "valid"
    ]


def test_meta_and_fleet(house: Any) -> None:
    assert house.get("/user")["is_admin"] is True and house.get("/version")["version"].startswith("18.")
    assert house.get("/metadata")["version"] == house.get("/version")["version"]
    assert house.get("/personal_access_tokens/self")["active"] is True
    made = house.call(
        "POST",
        "/user/runners",
        json={"runner_type": "instance_type", "tag_list": "a,b", "run_untagged": "false"},
    )
    assert made.status_code == 201 and made.json()["token"].startswith("glrt-")
    shown = house.get(f"/runners/{made.json()['id']}")
    assert (
        shown["tag_list"] == ["a", "b"]
        and shown["run_untagged"] is False
        and shown["status"] == "never_contacted"
    )
    assert house.call("POST", "/user/runners", json={}).json() == {"error": "runner_type is missing"}
    assert (
        house.call(
            "POST", "/user/runners", token="glpat-plain", json={"runner_type": "instance_type"}
        ).status_code
        == 403
    )
    assert (
        house.call(
            "POST", "/user/runners", json={"runner_type": "instance_type", "tag_list": ["x"] * 1}
        ).status_code
        == 201
    )
    assert (
        house.call(
            "POST",
            "/user/runners",
            json={"runner_type": "instance_type", "tag_list": [str(n) for n in range(99)]},
        ).status_code
        == 400
    )
    assert house.get(f"/runners/{made.json()['id']}/jobs") == []
    reset = house.call(
        "POST", "/runners/reset_authentication_token", token=None, json={"token": made.json()["token"]}
    )
    assert reset.status_code == 201 and house.claim(made.json()["token"]).status_code == 403
    assert (
        house.call("DELETE", "/runners", token=None, json={"token": reset.json()["token"]}).status_code == 204
    )
    assert house.call("GET", f"/runners/{made.json()['id']}").status_code == 404


def test_a_project_may_keep_its_configuration_elsewhere(house: Any) -> None:
    project = house.project(config="x: [", **{"other.yml": "there: {script: [x]}\n"})
    house.call("PUT", f"/projects/{project}", json={"ci_config_path": "other.yml"})
    pipeline = house.pipeline(project)
    assert [j["name"] for j in house.get(f"/projects/{project}/pipelines/{pipeline['id']}/jobs")] == ["there"]


def test_runs_of_other_dialects_are_seen_through_this_door(house: Any) -> None:
    from runyard.engine.trigger import accept
    from runyard.model.plan import JobPlan, Plan, WorkflowPlan
    from runyard.model.trigger import Trigger
    from runyard.model.work import Project, User

    project = house.project()

    def start(tx: Any) -> Any:
        row, root = tx.get(Project, project), tx.user_by_name("root") or User(0, "")
        plan = Plan(workflows=(WorkflowPlan(key="ci.yml", jobs=(JobPlan(key="b", name="Build it"),)),))
        return accept(tx, Trigger(row, "depot", "api", "main", "a" * 40, root, 1), plan, 1)

    run = house.write(start)
    jobs = house.get(f"/projects/{project}/pipelines/{run.id}/jobs")
    assert [(j["name"], j["status"], j["commit"]) for j in jobs] == [("Build it", "pending", None)]
    assert house.claim(house.runner()).status_code == 204
    assert house.claim(house.runner(), features={"runyard": True}).status_code == 201


def test_the_coverage_of_a_pipeline_is_the_mean_of_its_jobs(house: Any) -> None:
    project = house.project(
        config="a: {script: [x], coverage: '/cov ([0-9.]+)/'}\nb: {script: [x], coverage: '/cov ([0-9.]+)/'}\nc: {script: [x]}\n"
    )
    pipeline = house.pipeline(project)
    token = house.runner()
    for text in (b"cov 20.5\n", b"cov 30.5\n", b"none\n"):
        job = house.claim(token).json()
        headers = {
            "JOB-TOKEN": job["token"],
            "Content-Range": f"0-{len(text) - 1}",
            "Content-Type": "text/plain",
        }
        house.call("PATCH", f"/jobs/{job['id']}/trace", token=None, headers=headers, content=text)
        house.call("PUT", f"/jobs/{job['id']}", token=None, json={"token": job["token"], "state": "success"})
    assert house.get(f"/projects/{project}/pipelines/{pipeline['id']}")["coverage"] == "25.50"


def test_a_source_that_is_none_is_refused(house: Any) -> None:
    project = house.project()
    answer = house.call("GET", f"/projects/{project}/pipelines?source=x")
    assert (answer.status_code, answer.json()) == (400, {"error": "source does not have a valid value"})
    assert house.get(f"/projects/{project}/pipelines?source=schedule") == []


def test_whoever_may_read_may_ask_for_the_headers_alone(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    answer = house.call("HEAD", f"/projects/{project}/jobs")
    assert answer.status_code == 200 and answer.headers["x-page"] == "1"
    assert house.call("HEAD", f"/projects/{project}/jobs", token=None).status_code == 401


def test_a_ref_without_a_configuration_says_so(house: Any) -> None:
    project = house.project()
    house.call("PUT", f"/projects/{project}", json={"ci_config_path": "no.yml"})
    answer = house.call("POST", f"/projects/{project}/pipeline", json={"ref": "main"})
    assert (answer.status_code, answer.json()) == (400, {"message": {"base": ["Missing CI config file"]}})


def test_pipelines_in_another_order(house: Any) -> None:
    project = house.project(config="a: {script: [x]}")
    base = f"/projects/{project}"
    house.call("POST", f"{base}/repository/branches", json={"branch": "aside", "ref": "main"})
    first, second, third = (house.pipeline(project, ref=ref)["id"] for ref in ("main", "aside", "main"))
    house.time[0] += 5000
    house.call("POST", f"{base}/pipelines/{first}/cancel")

    def ids(query: str) -> list[int]:
        found = house.get(f"{base}/pipelines?{query}")
        return [row["id"] for row in found if row["id"] in (first, second, third)]

    assert ids("order_by=ref&sort=asc")[0] == second
    assert ids("order_by=ref") == [third, first, second]
    assert ids("order_by=updated_at")[0] == first
    assert ids("order_by=status&sort=asc")[0] == first  # canceled, then pending
    assert ids("order_by=user_id&sort=asc") == [first, second, third]
    assert house.call("GET", f"{base}/pipelines?order_by=sha").status_code == 400
