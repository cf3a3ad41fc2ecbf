"""How our rows look on GitLab's wire: plain dicts, ready for msgspec. Called by gathering and routes; pure.

Field names, nullability and order follow lib/api/entities (contracts/gitlab.md §1.1 to §1.3); `null` where we
have nothing to say.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from runyard.dialects.gitlab.words import LOOKS, say
from runyard.engine.access import PERSONAL
from runyard.model.access import Role
from runyard.model.plan import Variable
from runyard.model.trigger import ZERO_SHA, Commit, ServerFacts
from runyard.model.work import Environment, Group, Project, Record, Run, Runner, User

Dict = dict[str, Any]
ONLINE_MS = 2 * 3600 * 1000  # GitLab: a runner heard within two hours is online
STALE_MS = 7 * 24 * 3600 * 1000  # and one not heard, or made and never heard, for a week is stale


def stable_id(project_id: int, name: str) -> int:
    """An id for a thing that has no row: made from what names it, always the same."""
    return zlib.crc32(f"{project_id}/{name}".encode()) & 0x7FFFFFFF or 1


_TRAILER = re.compile(r"([A-Za-z0-9-]+): *(.*\S) *")
_SECONDS = [f"{s:02d}." for s in range(60)]
_THOUSANDTHS = [f"{ms:03d}Z" for ms in range(1000)]


@lru_cache(maxsize=4096)
def _minute(number: int) -> str:
    return datetime.fromtimestamp(number * 60, UTC).isoformat()[:17]


def when(at: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds. A page of jobs has a hundred times, so it is put together from
    pieces."""
    if at is None:
        return None
    seconds, thousandths = divmod(at, 1000)
    minute, second = divmod(seconds, 60)
    return _minute(minute) + _SECONDS[second] + _THOUSANDTHS[thousandths]


def user(row: User, server: ServerFacts) -> Dict:
    """UserBasic."""
    return {
        "id": row.id,
        "username": row.username,
        "public_email": "",
        "name": row.name or row.username,
        "state": "active",
        "locked": False,
        "avatar_url": None,
        "web_url": f"{server.url}/{row.username}",
    }


def job_user(row: User, server: ServerFacts) -> Dict:
    """User, as jobs show it."""
    empty = dict.fromkeys(
        ("bio", "location", "linkedin", "twitter", "discord", "website_url", "job_title", "organization"), ""
    )
    return {**user(row, server), "created_at": when(row.created_at), **empty, "pronouns": None, "bot": False,
            "work_information": None, "followers": 0, "following": 0, "local_time": None}  # fmt: skip


def trailers_of(message: str) -> dict[str, list[str]]:
    """The `Key: value` lines of the message's last paragraph, as `git interpret-trailers` knows them; none
    where another line is among them."""
    head, gap, last = message.rstrip().rpartition("\n\n")
    lines = last.split("\n") if gap and head.strip() else []
    found: dict[str, list[str]] = {}
    for line in lines:
        if line[:1].isspace() and found:  # a folded line belongs to the value before it
            found[next(reversed(found))][-1] += f" {line.strip()}"
            continue
        match = _TRAILER.fullmatch(line)
        if match is None:
            return {}
        found.setdefault(match[1], []).append(match[2])
    return found


def commit(row: Commit, project: Project, server: ServerFacts) -> Dict:
    """Commit."""
    trailers = trailers_of(row.message)
    return {
        "id": row.sha,
        "short_id": row.sha[:8],
        "created_at": when(row.committed_at),
        "parent_ids": list(row.parents),
        "title": row.title,
        "message": row.message,
        "author_name": row.author_name,
        "author_email": row.author_email,
        "authored_date": when(row.authored_at),
        "committer_name": row.committer_name,
        "committer_email": row.committer_email,
        "committed_date": when(row.committed_at),
        "trailers": {key: values[-1] for key, values in trailers.items()},
        "extended_trailers": trailers,
        "web_url": f"{server.url}/{project.path}/-/commit/{row.sha}",
    }


def ref_of(run: Run) -> str:
    """GitLab names a merge request's pipeline after the merge request."""
    iid = run.extra.get("merge_request_iid")
    return f"refs/merge-requests/{iid}/head" if iid else run.ref


def status(run: Run) -> str:
    """A pipeline's word."""
    return say(run.state, run.outcome, run.hold)


def pipeline_basic(run: Run, project: Project, server: ServerFacts) -> Dict:
    """PipelineBasic with its name."""
    return {
        "id": run.id,
        "iid": run.number,
        "project_id": run.project_id,
        "sha": run.sha,
        "ref": ref_of(run),
        "status": status(run),
        "source": run.source,
        "created_at": when(run.created_at),
        "updated_at": when(run.updated_at),
        "web_url": f"{server.url}/{project.path}/-/pipelines/{run.id}",
        "name": run.name or None,
    }


def pipeline(
    run: Run, project: Project, server: ServerFacts, actor: User | None, committed_at: int | None
) -> Dict:
    """Pipeline."""
    started, ended = run.started_at, run.finished_at
    return {
        **pipeline_basic(run, project, server),
        "before_sha": run.before_sha or ZERO_SHA,
        "tag": run.tag,
        "yaml_errors": run.error or None,
        "user": user(actor, server) if actor else None,
        "started_at": when(started),
        "finished_at": when(ended),
        "committed_at": when(committed_at),
        "duration": max(0, ended - started) // 1000 if started is not None and ended is not None else None,
        "queued_duration": max(0, started - run.created_at) // 1000 if started is not None else None,
        "coverage": None,
        "detailed_status": detailed_status(run, project),
        "archived": False,
    }


def detailed_status(run: Run, project: Project) -> Dict:
    """The badge of a pipeline."""
    word = say(run.state, run.outcome, run.hold)
    text, label, icon = LOOKS[word]
    group = word.replace("_", "-")
    if word == "success" and run.warnings:
        text, label, icon, group = (
            "Warning",
            "passed with warnings",
            "status_warning",
            "success-with-warnings",
        )
    return {
        "icon": icon,
        "text": text,
        "label": label,
        "group": group,
        "tooltip": label,
        "has_details": True,
        "details_path": f"/{project.path}/-/pipelines/{run.id}",
        "illustration": None,
        "favicon": f"/assets/ci_favicons/favicon_{icon}.png",
    }


def variable(row: Variable) -> Dict:
    """A pipeline's variable."""
    return {
        "variable_type": "file" if row.file else "env_var",
        "key": row.key,
        "value": row.value,
        "raw": row.raw,
    }


def runner_type(row: Runner) -> str:
    """Whom it serves, in GitLab's words."""
    return (
        "instance_type" if row.serves_all else "project_type" if row.project_id is not None else "group_type"
    )


def runner_status(row: Runner, now: int) -> str:
    """A runner's word."""
    if now - (row.contacted_at or row.created_at) > STALE_MS:
        return "stale"
    if row.contacted_at is None:
        return "never_contacted"
    return "online" if now - row.contacted_at < ONLINE_MS else "offline"


def runner(row: Runner, now: int, maker: Dict | None = None) -> Dict:
    """Runner. `maker`: UserBasic of who made it."""
    status = runner_status(row, now)
    return {
        "id": row.id,
        "description": row.description,
        "ip_address": row.info.get("ip_address"),
        "active": not row.paused,
        "paused": row.paused,
        "is_shared": row.serves_all,
        "runner_type": runner_type(row),
        "name": row.info.get("name"),
        "online": status == "online",
        "created_at": when(row.created_at),
        "created_by": maker,
        "status": status,
        "job_execution_status": "idle",
    }


def runner_details(row: Runner, now: int, maker: Dict | None) -> Dict:
    """RunnerDetails."""
    info = row.info
    told = {key: info.get(key) for key in ("version", "revision", "platform", "architecture")}
    return {
        **runner(row, now, maker),
        "tag_list": list(row.tags),
        "run_untagged": row.run_untagged,
        "locked": bool(row.extra.get("locked", False)),
        "maximum_timeout": row.maximum_timeout_s,
        "access_level": "ref_protected" if row.protected else "not_protected",
        **told,
        "contacted_at": when(row.contacted_at),
        "maintenance_note": row.extra.get("maintenance_note"),
        "projects": [],
        "groups": [],
    }


def project_identity(row: Project) -> Dict:
    """ProjectIdentity: as runners and their jobs show it."""
    name, group = row.path.rpartition("/")[2], row.path.rpartition("/")[0]
    return {
        "id": row.id,
        "description": row.extra.get("gitlab", {}).get("description"),
        "name": row.name or name,
        "name_with_namespace": f"{group} / {row.name or name}",
        "path": name,
        "path_with_namespace": row.path,
        "created_at": when(row.created_at),
    }


def runner_manager(row: Record, now: int) -> Dict:
    """RunnerManager: one machine behind a runner's token (see `managers`)."""
    info, heard = row.data, row.data.get("contacted_at")
    told = {key: info.get(key) for key in ("system_id", "version", "revision", "platform", "architecture")}
    online = heard is not None and now - heard < ONLINE_MS
    return {
        "id": row.id,
        **told,
        "created_at": when(row.created_at),
        "contacted_at": when(heard),
        "ip_address": info.get("ip_address"),
        "status": "online" if online else "offline",
        "job_execution_status": "idle",
    }


def environment_basic(row: Environment) -> Dict:
    """EnvironmentBasic."""
    return {
        "id": row.id,
        "name": row.name,
        "slug": row.slug,
        "external_url": row.external_url or None,
        "created_at": when(row.created_at),
        "updated_at": when(row.updated_at),
    }


def environment(row: Environment, project: Project) -> Dict:
    """Environment."""
    return {
        **environment_basic(row),
        "tier": row.tier,
        "project": project_identity(project),
        "state": row.state,
        "auto_stop_at": when(row.auto_stop_at),
        "description": row.extra.get("description"),
        "auto_stop_setting": "always",
    }


def group(row: Group, server: ServerFacts) -> Dict:
    """Group."""
    return {
        "id": row.id,
        "web_url": f"{server.url}/groups/{row.path}",
        "name": row.name or row.path.rpartition("/")[2],
        "path": row.path.rpartition("/")[2],
        "description": row.extra.get("description", ""),
        "visibility": row.visibility,
        "share_with_group_lock": False,
        "require_two_factor_authentication": False,
        "project_creation_level": "developer",
        "subgroup_creation_level": "maintainer",
        "auto_devops_enabled": None,
        "emails_disabled": True,
        "lfs_enabled": False,
        "avatar_url": None,
        "request_access_enabled": False,
        "full_name": row.path.replace("/", " / "),
        "full_path": row.path,
        "created_at": when(row.created_at),
        "parent_id": row.extra.get("parent_id"),
        "shared_runners_setting": "enabled",
    }


def namespace_of(row: Group, server: ServerFacts) -> Dict:
    """Namespace: a group, or a person's own."""
    is_personal = PERSONAL in row.extra
    return {
        "id": row.id,
        "name": row.name or row.path.rpartition("/")[2],
        "path": row.path.rpartition("/")[2],
        "kind": "user" if is_personal else "group",
        "full_path": row.path,
        "parent_id": row.extra.get("parent_id"),
        "avatar_url": None,
        "web_url": f"{server.url}/{'' if is_personal else 'groups/'}{row.path}",
    }


# What is so for every project here.
_ABSENT = (
    "issues",
    "wiki",
    "snippets",
    "pages",
    "forking",
    "container_registry",
    "releases",
    "package_registry",
)
_PROJECT: Dict = {
    **{f"{feature}_access_level": "disabled" for feature in _ABSENT},
    **{f"{feature}_access_level": "enabled" for feature in ("repository", "merge_requests", "environments")},
    **{
        f"{feature}_enabled": False
        for feature in ("wiki", "snippets", "packages", "container_registry", "lfs")
    },
    **{f"{feature}_enabled": False for feature in ("request_access", "auto_devops", "service_desk")},
    "group_runners_enabled": True,
    "emails_disabled": True,
    "build_git_strategy": "fetch",
    "auto_cancel_pending_pipelines": "enabled",
    "shared_with_groups": [],
    "restrict_user_defined_variables": False,
    "ci_id_token_sub_claim_components": ["project_path", "ref_type", "ref"],
    "only_allow_merge_if_pipeline_succeeds": False,
    "only_allow_merge_if_all_discussions_are_resolved": False,
    "remove_source_branch_after_merge": False,
    "merge_method": "merge",
    "import_error": None,
}


def project(
    row: Project,
    server: ServerFacts,
    group: Group | None,
    role: Role | None = None,
    is_empty: bool | None = None,
) -> Dict:
    """Project. `role` is the asker's own."""
    name, api = row.path.rpartition("/")[2], f"{server.url}/api/v4/projects/{row.id}"
    settings: Mapping[str, Any] = row.extra.get("gitlab", {})
    host = server.url.partition("://")[2].rpartition(":")[0] or server.url.partition("://")[2]
    return {
        "id": row.id,
        "description": settings.get("description"),
        "name": row.name or name,
        "name_with_namespace": f"{row.path.rpartition('/')[0]} / {row.name or name}",
        "path": name,
        "path_with_namespace": row.path,
        "created_at": when(row.created_at),
        "default_branch": row.default_branch,
        "tag_list": [],
        "topics": [],
        "ssh_url_to_repo": f"git@{host}:{row.path}.git",
        "http_url_to_repo": f"{server.url}/{row.path}.git",
        "web_url": f"{server.url}/{row.path}",
        "readme_url": None,
        "avatar_url": None,
        "forks_count": 0,
        "star_count": 0,
        "last_activity_at": when(row.created_at),
        "namespace": namespace_of(group, server) if group else None,
        "empty_repo": is_empty,
        "archived": False,
        "visibility": row.visibility,
        "jobs_enabled": True,
        "builds_access_level": "enabled",
        "ci_config_path": settings.get("ci_config_path") or None,
        "ci_default_git_depth": 20,
        "ci_job_token_scope_enabled": False,
        "public_jobs": True,
        "shared_runners_enabled": True,
        "merge_requests_enabled": True,
        "issues_enabled": False,
        "import_url": None,
        "import_status": "finished" if row.import_url else "none",
        **_PROJECT,
        "_links": {
            "self": api,
            "merge_requests": f"{api}/merge_requests",
            "repo_branches": f"{api}/repository/branches",
            "members": f"{api}/members",
        },
        "permissions": {
            "project_access": {"access_level": int(role), "notification_level": 3} if role else None,
            "group_access": None,
        },
    }


def me(row: User, server: ServerFacts) -> Dict:
    """The current user."""
    return {
        **job_user(row, server),
        "email": row.email,
        "commit_email": row.email,
        "public_email": None,
        "is_admin": row.is_admin,
        "last_sign_in_at": None,
        "confirmed_at": when(row.created_at),
        "last_activity_on": None,
        "projects_limit": 100_000,
        "can_create_group": True,
        "can_create_project": True,
        "two_factor_enabled": False,
        "external": False,
        "private_profile": False,
        "identities": [],
        "theme_id": 1,
        "color_scheme_id": 1,
    }
