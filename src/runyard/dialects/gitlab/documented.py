"""What the OpenAPI page says of each line beside its path: parameters and the statuses of success. Called by
openapi; pure data.

Parameters are written as one text a line: `name` is a text, `name#` a number, `name?` a boolean, `name[]` a
list, `name{}` an object; `!` marks what must be there. They may come as query, JSON, form or multipart; the
page shows them in the query of GET and DELETE and in the body of others.
"""

from __future__ import annotations

from collections.abc import Mapping

PAGED = "page# per_page#"
KEYSET = f"{PAGED} pagination order_by sort cursor"
_VARIABLE = "key value description masked? masked_and_hidden? protected? raw? variable_type environment_scope"
_MEMBER = "user_id# username access_level#! expires_at"
_SCHEDULE = "description ref cron cron_timezone active? inputs[]"
_RUNNER = (
    "description paused? locked? access_level run_untagged? tag_list[] maximum_timeout# maintenance_note"
)
_MERGE = "title description labels squash?"
_PIPELINES = "scope status ref sha yaml_errors? username name source updated_after updated_before"
P, J, R = "/projects/{id}", "/projects/{id}/jobs/{job_id}", "/projects/{id}/repository"
L, S, G = (
    f"{P}/pipelines/{{pipeline_id}}",
    f"{P}/pipeline_schedules/{{pipeline_schedule_id}}",
    "/groups/{group_id}",
)
E, D, M = f"{P}/environments", f"{P}/deployments", f"{P}/merge_requests"
T, RG = f"{P}/job_token_scope", f"{P}/resource_groups/{{key}}"

PARAMETERS: Mapping[tuple[str, str], str] = {
    ("GET", f"{P}/jobs"): f"scope[] {KEYSET}",
    ("GET", f"{L}/jobs"): f"scope[] include_retried? {KEYSET}",
    ("GET", f"{L}/bridges"): f"scope[] {PAGED}",
    ("POST", f"{J}/cancel"): "force?",
    ("POST", f"{J}/retry"): "job_inputs{}",
    ("POST", f"{J}/play"): "job_variables_attributes[] job_inputs{}",
    ("GET", f"{P}/pipelines"): f"{_PIPELINES} {KEYSET}",
    ("POST", f"{P}/pipeline"): "ref! variables[] inputs{}",
    ("GET", f"{P}/pipelines/latest"): "ref",
    ("PUT", f"{L}/metadata"): "name!",
    ("GET", "/projects"): f"search membership? owned? min_access_level# visibility {KEYSET}",
    ("POST", "/projects"): "name path namespace_path namespace_id# default_branch visibility description ci_config_path",
    ("PUT", P): "name visibility default_branch description ci_config_path",
    ("GET", f"{R}/commits"): f"ref_name {PAGED}",
    ("POST", f"{R}/commits"): "branch! commit_message! actions[]! start_branch start_sha author_name author_email",
    ("GET", f"{R}/branches"): f"search {PAGED}",
    ("POST", f"{R}/branches"): "branch! ref!",
    ("GET", f"{R}/tags"): f"search {PAGED}",
    ("POST", f"{R}/tags"): "tag_name! ref! message",
    ("GET", f"{R}/files/{{path}}"): "ref",
    ("POST", f"{R}/files/{{path}}"): "branch! commit_message! content! encoding start_branch author_name author_email",
    ("PUT", f"{R}/files/{{path}}"): "branch! commit_message! content! encoding start_branch author_name author_email",
    ("DELETE", f"{R}/files/{{path}}"): "branch! commit_message!",
    ("POST", f"{P}/triggers"): "description!",
    ("PUT", f"{P}/triggers/{{trigger_id}}"): "description",
    ("POST", f"{P}/trigger/pipeline"): "token! ref! variables{} inputs{}",
    ("POST", f"{P}/ref/{{ref}}"): "token! variables{} inputs{}",
    ("GET", f"{P}/ci/lint"): "content_ref sha dry_run? dry_run_ref include_jobs?",
    ("POST", f"{P}/ci/lint"): "content! dry_run? include_jobs? ref",
    ("GET", "/users"): "username",
    ("POST", "/users"): "username! name email",
    ("POST", "/users/{id}/personal_access_tokens"): "name expires_at scopes[]",
    ("GET", "/personal_access_tokens"): "user_id# state",
    ("GET", "/runners"): f"type status scope paused? tag_list[] {PAGED}",
    ("GET", "/runners/all"): f"type status scope paused? tag_list[] {PAGED}",
    ("GET", f"{P}/runners"): f"type status scope paused? tag_list[] {PAGED}",
    ("POST", f"{P}/runners"): "runner_id#!",
    ("PUT", "/runners/{id}"): _RUNNER,
    ("GET", "/runners/{id}/jobs"): f"status {KEYSET}",
    ("POST", f"{P}/protected_branches"): "name! push_access_level# merge_access_level# allow_force_push?",
    ("PATCH", f"{P}/protected_branches/{{name}}"): "push_access_level# merge_access_level# allow_force_push?",
    ("POST", f"{P}/protected_tags"): "name! create_access_level#",
    ("POST", "/user/runners"): f"runner_type! project_id# group_id# {_RUNNER}",
    ("GET", E): f"name search states {PAGED}",
    ("POST", E): "name! external_url tier description",
    ("PUT", f"{E}/{{environment_id}}"): "external_url tier description",
    ("POST", f"{E}/{{environment_id}}/stop"): "force?",
    ("POST", f"{E}/stop_stale"): "before!",
    ("DELETE", f"{E}/review_apps"): "before limit# dry_run?",
    ("GET", D): f"environment status updated_after updated_before finished_after finished_before order_by sort {PAGED}",
    ("POST", D): "environment! sha! ref! tag?! status!",
    ("PUT", f"{D}/{{deployment_id}}"): "status!",
    ("GET", "/groups"): f"search top_level_only? {PAGED}",
    ("POST", "/groups"): "name! path! parent_id# visibility description",
    ("GET", G): "with_projects?",
    ("PUT", G): "name visibility description",
    ("GET", f"{G}/projects"): f"include_subgroups? {PAGED}",
    ("GET", f"{G}/subgroups"): f"search {PAGED}",
    ("GET", "/namespaces"): f"search {PAGED}",
    ("GET", M): f"state source_branch target_branch iids[] author_username search labels sort {PAGED}",
    ("POST", M): f"source_branch! target_branch! {_MERGE}",
    ("PUT", f"{M}/{{merge_request_iid}}"): f"{_MERGE} state_event target_branch",
    ("GET", f"{P}/pipeline_schedules"): f"scope {PAGED}",
    ("POST", f"{P}/pipeline_schedules"): _SCHEDULE,
    ("PUT", S): _SCHEDULE,
    ("GET", f"{S}/pipelines"): f"sort {PAGED}",
    ("POST", f"{S}/variables"): "key! value! variable_type raw?",
    ("PUT", f"{S}/variables/{{key}}"): "value variable_type raw?",
    ("PATCH", T): "enabled?!",
    ("POST", f"{T}/allowlist"): "target_project_id#!",
    ("POST", f"{T}/groups_allowlist"): "target_group_id#!",
    ("PUT", RG): "process_mode!",
    ("POST", f"{P}/statuses/{{sha}}"): "state! ref name context target_url description coverage pipeline_id#",
    ("GET", f"{R}/commits/{{sha}}/statuses"): f"ref stage name pipeline_id# all? {PAGED}",
    ("POST", "/runners"): f"token! {_RUNNER} info{{}}",
    ("DELETE", "/runners"): "token!",
    ("POST", "/runners/verify"): "token! system_id",
    ("DELETE", "/runners/managers"): "token! system_id!",
    ("POST", "/runners/reset_authentication_token"): "token!",
    ("POST", "/jobs/request"): "token! system_id last_update info{}",
    ("PUT", "/jobs/{job_id}"): "token! state failure_reason exit_code# output{} info{}",
} | {
    (method, owner + one): text
    for owner in (f"{P}/variables", f"{G}/variables", "/admin/ci/variables")
    for method, one, text in (
        ("GET", "", PAGED),
        ("POST", "", f"{_VARIABLE}"),
        ("PUT", "/{key}", _VARIABLE),
    )
} | {
    (method, f"{owner}/members{rest}"): text
    for owner in (P, G)
    for method, rest, text in (
        ("GET", "", f"query user_ids[] {PAGED}"),
        ("GET", "/all", f"query user_ids[] {PAGED}"),
        ("POST", "", _MEMBER),
        ("PUT", "/{user_id}", "access_level#! expires_at"),
    )
}  # fmt: skip

USUAL = {"GET": (200,), "HEAD": (200,), "POST": (201,), "PUT": (200,), "PATCH": (200,), "DELETE": (204,)}
SUCCESS: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("POST", f"{J}/play"): (200,),
    ("POST", f"{J}/artifacts/keep"): (200,),
    ("POST", f"{L}/cancel"): (200,),
    ("DELETE", f"{P}/artifacts"): (202,),
    ("DELETE", P): (202,),
    ("DELETE", G): (202,),
    ("DELETE", f"{S}/variables/{{key}}"): (202,),
    ("DELETE", f"{E}/review_apps"): (200,),
    ("POST", f"{P}/mirror/pull"): (200,),
    ("POST", f"{P}/ci/lint"): (200,),
    ("POST", f"{E}/stop_stale"): (200,),
    ("POST", f"{E}/{{environment_id}}/stop"): (200,),
    ("PATCH", T): (204,),
    ("POST", "/runners/verify"): (200,),
    ("POST", "/jobs/request"): (201, 204),
    ("PUT", "/jobs/{job_id}"): (200, 202),
    ("PATCH", "/jobs/{job_id}/trace"): (202,),
    ("POST", "/jobs/{job_id}/artifacts/authorize"): (200,),
    ("PUT", "/jobs/{job_id}/steps/{position}"): (200,),
    ("PUT", "/jobs/{job_id}/usage"): (200,),
    ("POST", "/jobs/{job_id}/give_back"): (200,),
    ("PUT", "/jobs/{job_id}/visits/{visit}"): (200,),
}
# What any line may answer beside its success; the runner protocol has one more.
REFUSALS = (400, 401, 403, 404, 405, 409, 412, 413, 429, 503)
OF_RUNNERS = (416,)
