"""What nouns beside jobs and pipelines show, attribute by attribute.

Names are those of GitLab's `lib/api/entities` and of the samples in `doc/api` (read November 2026); those of
paid tiers and of features that docs/dialects/gitlab.md refuses are left out.
"""

from __future__ import annotations

from typing import Any

import pytest

from runyard.model.access import Role
from tests.dialects.gitlab_routes.conftest import House

USER = "id username public_email name state locked avatar_url web_url"
ACCOUNT = f"{USER} created_at bio location linkedin twitter website_url job_title organization pronouns bot work_information followers following local_time"
COMMIT = "id short_id created_at parent_ids title message author_name author_email authored_date committer_name committer_email committed_date trailers web_url"
IDENTITY = "id description name name_with_namespace path path_with_namespace created_at"
ENVIRONMENT = "id name slug external_url created_at updated_at"
RUNNER = "id description ip_address active paused is_shared runner_type name online created_at created_by status job_execution_status"
REQUEST = """id iid project_id title description state created_at updated_at merged_by merge_user merged_at closed_by closed_at target_branch
    source_branch user_notes_count upvotes downvotes author assignees assignee reviewers source_project_id target_project_id labels draft
    work_in_progress milestone merge_when_pipeline_succeeds merge_status detailed_merge_status merge_after sha merge_commit_sha
    squash_commit_sha discussion_locked should_remove_source_branch force_remove_source_branch prepared_at reference references web_url
    time_stats squash task_completion_status has_conflicts blocking_discussions_resolved imported imported_from"""
PROJECT = f"""{IDENTITY} default_branch tag_list topics ssh_url_to_repo http_url_to_repo web_url readme_url forks_count avatar_url star_count
    last_activity_at namespace _links packages_enabled empty_repo archived visibility issues_enabled merge_requests_enabled wiki_enabled
    jobs_enabled snippets_enabled container_registry_enabled service_desk_enabled repository_access_level merge_requests_access_level
    issues_access_level wiki_access_level builds_access_level snippets_access_level pages_access_level emails_disabled
    shared_runners_enabled lfs_enabled import_status import_error ci_default_git_depth ci_job_token_scope_enabled public_jobs
    build_git_strategy auto_cancel_pending_pipelines ci_config_path shared_with_groups only_allow_merge_if_pipeline_succeeds
    restrict_user_defined_variables request_access_enabled merge_method auto_devops_enabled permissions"""
SHOWN = {
    "/projects/{p}": PROJECT,
    "/projects/{p}/environments": f"{ENVIRONMENT} tier project state auto_stop_at description auto_stop_setting",
    "/projects/{p}/environments/1": f"{ENVIRONMENT} tier project last_deployment state auto_stop_at description auto_stop_setting",
    "/projects/{p}/environments/1 project": IDENTITY,
    "/projects/{p}/deployments": "id iid ref sha created_at updated_at user environment deployable status",
    "/projects/{p}/deployments environment": ENVIRONMENT,
    "/projects/{p}/repository/branches": "name commit merged protected developers_can_push developers_can_merge can_push default web_url",
    "/projects/{p}/repository/branches commit": COMMIT,
    "/projects/{p}/repository/tags": "name message target commit release protected created_at",
    "/projects/{p}/repository/commits": COMMIT,
    "/projects/{p}/repository/commits/main": f"{COMMIT} stats status project_id last_pipeline",
    "/projects/{p}/repository/commits/main stats": "additions deletions total",
    "/projects/{p}/repository/commits/main/statuses": "id sha ref status name target_url description created_at started_at finished_at allow_failure coverage pipeline_id author",
    "/projects/{p}/merge_requests": REQUEST,
    "/projects/{p}/merge_requests/1": f"""{REQUEST} subscribed changes_count latest_build_started_at latest_build_finished_at
        first_deployed_to_production_at pipeline head_pipeline diff_refs merge_error first_contribution user""",
    "/projects/{p}/merge_requests/1 diff_refs": "base_sha head_sha start_sha",
    "/projects/{p}/merge_requests/1 time_stats": "time_estimate total_time_spent human_time_estimate human_total_time_spent",
    "/projects/{p}/members": f"{USER} access_level created_at expires_at",
    "/projects/{p}/triggers": "id token description created_at updated_at last_used expires_at owner",
    "/projects/{p}/pipeline_schedules": "id description ref cron cron_timezone next_run_at active created_at updated_at owner inputs",
    "/projects/{p}/variables": "variable_type key value hidden protected masked raw environment_scope description",
    "/projects/{p}/resource_groups": "id key process_mode created_at updated_at",
    "/projects/{p}/job_token_scope": "inbound_enabled outbound_enabled",
    "/projects/{p}/job_token_scope/allowlist": f"{IDENTITY} default_branch tag_list topics ssh_url_to_repo http_url_to_repo web_url avatar_url star_count last_activity_at namespace",
    "/projects/{p}/job_token_scope/groups_allowlist": "id web_url name",
    "/projects/{p}/runners": RUNNER,
    "/runners/{r}": f"{RUNNER} tag_list run_untagged locked maximum_timeout access_level version revision platform architecture contacted_at maintenance_note projects groups",
    "/runners/{r} projects": IDENTITY,
    "/users/1": f"{ACCOUNT} email is_admin two_factor_enabled external",
    "/projects/{p}/ci/lint": "valid errors warnings merged_yaml includes",
}  # fmt: skip
DEPLOYS = "ship: {script: [x], environment: prod, resource_group: one}"


@pytest.fixture
def filled(house: House) -> dict[str, Any]:
    """One of everything; ids for the paths of SHOWN."""
    p = house.project()
    at = f"/projects/{p}"
    actions = [
        {"action": "update", "file_path": ".gitlab-ci.yml", "content": DEPLOYS},
        {"action": "create", "file_path": "a.txt", "content": "1\n2\n"},
    ]
    house.made(
        f"{at}/repository/commits", branch="feat", start_branch="main", commit_message="c", actions=actions
    )
    house.made(f"{at}/repository/commits", branch="main", commit_message="d", actions=actions)
    house.made(f"{at}/repository/tags", tag_name="v1", ref="main", message="hello")
    house.made(
        f"{at}/merge_requests",
        source_branch="feat",
        target_branch="main",
        title="t",
        description="- [x] a\n* [ ] b\n",
    )
    sha = house.get(f"{at}/repository/commits/main")["id"]
    house.made(f"{at}/statuses/{sha}", state="running", name="outside")
    house.made(f"{at}/deployments", environment="prod", sha=sha, ref="main", tag=False, status="success")
    house.join(p, Role.DEVELOPER)
    house.made(f"{at}/triggers", description="t")
    house.made(f"{at}/pipeline_schedules", description="d", ref="main", cron="0 1 * * *")
    house.made(f"{at}/variables", key="K", value="v")
    house.made(f"{at}/job_token_scope/allowlist", target_project_id=house.project("group/other"))
    group = house.get("/groups/group")["id"]
    house.made(f"{at}/job_token_scope/groups_allowlist", target_group_id=group)
    runner = house.made("/user/runners", runner_type="project_type", project_id=p)["id"]
    return {"p": p, "r": runner}


def one(found: Any) -> dict[str, Any]:
    body: dict[str, Any] = found[0] if isinstance(found, list) else found
    return body


def test_every_attribute_is_there(house: House, filled: dict[str, Any]) -> None:
    lacking = {}
    for place, names in SHOWN.items():
        path, _, inner = place.partition(" ")
        body = one(house.get(path.format(**filled)))
        body = one(body[inner]) if inner else body
        if missing := set(names.split()) - body.keys():
            lacking[place] = missing
    assert lacking == {}


def test_what_is_counted_and_compared(house: House, filled: dict[str, Any]) -> None:
    at = f"/projects/{filled['p']}"
    main = house.get(f"{at}/repository/commits/main")
    counted = main["stats"]
    assert counted["additions"] >= 3 and counted["total"] == counted["additions"] + counted["deletions"]
    assert "stats" not in house.get(f"{at}/repository/commits/main?stats=false")
    first = house.get(f"{at}/repository/commits/{main['parent_ids'][0]}")["stats"]
    assert first["additions"] > 0 and first["deletions"] == 0

    request = house.get(f"{at}/merge_requests/1")
    feat = house.get(f"{at}/repository/commits/feat")
    assert request["diff_refs"] == {
        "base_sha": main["parent_ids"][0], "head_sha": feat["id"], "start_sha": main["id"]
    }  # fmt: skip
    assert request["changes_count"] == "2" and request["task_completion_status"] == {
        "count": 2,
        "completed_count": 1,
    }
    assert request["head_pipeline"]["sha"] == feat["id"] and request["head_pipeline"]["ref"] == "feat"

    tag = house.get(f"{at}/repository/tags/v1")
    assert (tag["message"], tag["commit"]["id"]) == ("hello", main["id"]) and tag["target"] != main["id"]
    house.made(f"{at}/repository/tags", tag_name="plain", ref="main")
    plain = house.get(f"{at}/repository/tags/plain")
    assert (plain["message"], plain["target"], plain["created_at"]) == (None, main["id"], None)


def test_a_runners_jobs_name_their_project(house: House) -> None:
    project = house.project()
    house.pipeline(project)
    assert house.claim(house.runner()).status_code == 201
    runner = house.get("/runners/all")[0]
    (job,) = house.get(f"/runners/{runner['id']}/jobs")
    assert job["project"]["path_with_namespace"] == "group/demo" and set(IDENTITY.split()) == set(
        job["project"]
    )


def test_an_account_is_whole_for_administrators_only(house: House) -> None:
    house.join(house.project(), Role.DEVELOPER)
    assert "email" in house.get("/users/1")
    seen = house.get("/users/1", token="glpat-plain")
    assert "email" not in seen and set(ACCOUNT.split()) <= set(seen)
