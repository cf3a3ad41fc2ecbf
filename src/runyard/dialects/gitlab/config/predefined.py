"""GitLab's predefined variables (gitlab.md §3.12), as far as a server without registries and pages can know
them.

Called by the compiler. What is known at the trigger is literal (raw: a commit message must not expand); ids,
tokens and addresses of rows that do not exist yet are templates over the facts of the claim. CI_PROJECT_DIR
and its like are the runner's to add (`runner.voice`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from runyard.dialects.gitlab.config.parallel import Leg
from runyard.dialects.gitlab.config.spec import JobSpec
from runyard.model import protection
from runyard.model.plan import Variable
from runyard.model.trigger import ZERO_SHA, Trigger

DESCRIPTION_LIMIT = 2700  # characters of a merge request's description (GitLab)
MANUAL = Variable("CI_JOB_MANUAL", "true", raw=True)


def slug(text: str) -> str:
    """Lower case, anything else than letters and digits as `-`, at most 63 characters, no `-` at the ends."""
    made = "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())
    return made[:63].strip("-")


def pipeline_variables(trigger: Trigger, config_path: str) -> list[Variable]:
    """Known before any row exists: for rules, includes and jobs alike."""
    values = {**_server(trigger), **_project(trigger, config_path), **_commit(trigger)}
    values |= {
        "CI_PIPELINE_SOURCE": trigger.source,
        "CI_PIPELINE_CREATED_AT": _iso(trigger.now),
    }
    found = [named(key, value) for key, value in (values | _event(trigger)).items()]
    if (payload := _facts(trigger, "trigger").get("payload")) is not None:
        found.append(Variable("TRIGGER_PAYLOAD", str(payload).replace("\0", ""), file=True, raw=True))
    return found


def _facts(trigger: Trigger, name: str) -> Mapping[str, Any]:
    """What the door knows of a merge request, a schedule or a trigger token."""
    facts = trigger.options.get(name)
    return facts if isinstance(facts, Mapping) else {}


def _event(trigger: Trigger) -> dict[str, str]:
    """Of the trigger token, the schedule, the merge request that this pipeline is for."""
    values: dict[str, str] = {}
    if trigger.source == "trigger":
        values["CI_PIPELINE_TRIGGERED"] = "true"
        if token := _facts(trigger, "trigger").get("short_token"):
            values["CI_TRIGGER_SHORT_TOKEN"] = str(token)
    if (described := _facts(trigger, "schedule").get("description")) is not None:
        values["CI_PIPELINE_SCHEDULE_DESCRIPTION"] = str(described)
    if opened := trigger.options.get("open_merge_requests"):
        values["CI_OPEN_MERGE_REQUESTS"] = (
            ",".join(map(str, opened)) if isinstance(opened, list | tuple) else str(opened)
        )
    return values | _merge_request(trigger)


def _merge_request(trigger: Trigger) -> dict[str, str]:
    """CI_MERGE_REQUEST_*, for merge request pipelines and their children."""
    facts = _facts(trigger, "merge_request")
    if not facts and trigger.source == "merge_request_event":  # tried in a working copy, where there is none
        facts = {"id": 1, "iid": 1, "target_branch": trigger.project.default_branch}
    if not facts:
        return {}
    iid, description = facts.get("iid", ""), str(facts.get("description") or "")
    project = str(facts.get("project_path") or trigger.project.path)
    source_project = str(facts.get("source_project_path") or project)
    truncated = len(description) > DESCRIPTION_LIMIT
    listed = {key: ",".join(map(str, facts.get(key) or ())) for key in ("assignees", "labels")}
    values = {
        "ID": facts.get("id", ""),
        "IID": iid,
        "REF_PATH": f"refs/merge-requests/{iid}/head",
        "PROJECT_ID": facts.get("project_id", trigger.project.id),
        "PROJECT_PATH": project,
        "PROJECT_URL": f"{trigger.server.url}/{project}",
        "TARGET_BRANCH_NAME": facts.get("target_branch", ""),
        "TARGET_BRANCH_PROTECTED": _yes(
            protection.is_protected(trigger.project, str(facts.get("target_branch")))
        ),
        "TARGET_BRANCH_SHA": "",  # known in merged-result pipelines only
        "SOURCE_BRANCH_NAME": facts.get("source_branch", trigger.ref),
        "SOURCE_BRANCH_PROTECTED": _yes(
            protection.is_protected(trigger.project, str(facts.get("source_branch")))
        ),
        "SOURCE_BRANCH_SHA": "",
        "SOURCE_PROJECT_ID": facts.get("source_project_id", trigger.project.id),
        "SOURCE_PROJECT_PATH": source_project,
        "SOURCE_PROJECT_URL": f"{trigger.server.url}/{source_project}",
        "TITLE": facts.get("title", ""),
        "DESCRIPTION": description[:DESCRIPTION_LIMIT],
        "DESCRIPTION_IS_TRUNCATED": _yes(truncated),
        "DRAFT": _yes(facts.get("draft")),
        "SQUASH_ON_MERGE": _yes(facts.get("squash")),
        "EVENT_TYPE": facts.get("event_type") or "detached",
        "DIFF_ID": facts.get("diff_id") or facts.get("id", ""),
        "DIFF_BASE_SHA": facts.get("diff_base_sha", ""),
        "APPROVED": "true" if facts.get("approved") else "",
        "ASSIGNEES": listed["assignees"],
        "MILESTONE": facts.get("milestone") or "",
        "LABELS": listed["labels"],
    }
    absent = {"ASSIGNEES", "MILESTONE", "LABELS", "APPROVED"}  # not set at all when there are none
    kept = {key: str(value) for key, value in values.items() if value != "" or key not in absent}
    return {f"CI_MERGE_REQUEST_{key}": value for key, value in kept.items()}


def _yes(claim: object) -> str:
    return "true" if claim else "false"


def user_variables(trigger: Trigger) -> list[Variable]:
    """Who asked."""
    user = trigger.actor
    return [
        named("GITLAB_USER_ID", str(user.id)),
        named("GITLAB_USER_EMAIL", user.email),
        named("GITLAB_USER_LOGIN", user.username),
        named("GITLAB_USER_NAME", user.name or user.username),
    ]


def job_variables(job: JobSpec, leg: Leg) -> list[Variable]:
    """Known of a job from its text alone."""
    values = {
        "CI_JOB_NAME": leg.name,
        "CI_JOB_NAME_SLUG": slug(leg.name),
        "CI_JOB_GROUP_NAME": job.name,
        "CI_JOB_STAGE": job.stage,
        "CI_NODE_TOTAL": str(leg.total or 1),
    }
    if leg.index:
        values["CI_NODE_INDEX"] = str(leg.index)
    found = [named(key, value) for key, value in values.items()]
    return [*found, Variable("CI_JOB_IMAGE", job.image.name)] if job.image else found


def known_variables(job: JobSpec) -> list[Variable]:
    """What rules and names know of the job besides: its environment as written and whether it is manual by
    itself. A claimed job's own are final."""
    found = [MANUAL] if job.when == "manual" else []
    if (environment := job.environment) is not None:
        found += [
            Variable("CI_ENVIRONMENT_NAME", environment.name),
            named("CI_ENVIRONMENT_ACTION", environment.action),
        ]
        if environment.deployment_tier:
            found.append(named("CI_ENVIRONMENT_TIER", environment.deployment_tier))
        if environment.url:
            found.append(Variable("CI_ENVIRONMENT_URL", environment.url))
    return found


def late_variables(trigger: Trigger) -> list[Variable]:
    """Templates over the claim's facts."""
    parts = urlsplit(trigger.server.url)
    clone = f"{parts.scheme}://gitlab-ci-token:${{{{ attempt.token }}}}@{parts.netloc}{parts.path}/{trigger.project.path}.git"
    tags = "join(runner.tags, '\", \"')"
    values = {
        "CI_PIPELINE_ID": "${{ run.id }}",
        "CI_PIPELINE_IID": "${{ run.number }}",
        "CI_PIPELINE_URL": "${{ run.url }}",
        "CI_JOB_ID": "${{ attempt.id }}",
        "CI_JOB_URL": "${{ attempt.url }}",
        "CI_JOB_TOKEN": "${{ attempt.token }}",
        "CI_REPOSITORY_URL": clone,
        "CI_RUNNER_ID": "${{ runner.id }}",
        "CI_RUNNER_DESCRIPTION": "${{ runner.description }}",
        "CI_RUNNER_TAGS": f"${{{{ {tags} == '' && '[]' || format('[\"{{0}}\"]', {tags}) }}}}",
    }
    secret = {"CI_JOB_TOKEN"}
    return [
        Variable(key, value, masked=key in secret, raw=True, late=True, public=key not in secret)
        for key, value in values.items()
    ]


def is_protected(trigger: Trigger) -> bool:
    """As the project's rules say, unless the door knows better."""
    told = trigger.options.get("protected")
    if isinstance(told, bool):
        return told
    return protection.is_protected(trigger.project, trigger.ref, trigger.tag)


def namespace_id(trigger: Trigger) -> str:
    """The id that the API shows of the project's namespace; 0 without a server."""
    return str(trigger.options.get("namespace_id", 0))


def named(key: str, value: str) -> Variable:
    """A literal variable; no process could take a NUL."""
    return Variable(key, value.replace("\0", ""), raw=True)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _server(trigger: Trigger) -> dict[str, str]:
    server = trigger.server
    parts = urlsplit(server.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    version = [*server.version.split("-")[0].split("."), "0", "0", "0"]
    return {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER_FQDN": parts.netloc,
        "CI_SERVER_URL": server.url,
        "CI_SERVER_HOST": parts.hostname or "",
        "CI_SERVER_PORT": str(port),
        "CI_SERVER_PROTOCOL": parts.scheme,
        "CI_SERVER_NAME": server.name,
        "CI_SERVER_VERSION": server.version,
        "CI_SERVER_VERSION_MAJOR": version[0],
        "CI_SERVER_VERSION_MINOR": version[1],
        "CI_SERVER_VERSION_PATCH": version[2],
        "CI_SERVER_REVISION": "runyard",
        "CI_SERVER_SHELL_SSH_HOST": parts.hostname or "",
        "CI_SERVER_SHELL_SSH_PORT": "22",
        "CI_API_V4_URL": f"{server.url}/api/v4",
        "CI_API_GRAPHQL_URL": f"{server.url}/api/graphql",
        "GITLAB_FEATURES": "",
    }


def _project(trigger: Trigger, config_path: str) -> dict[str, str]:
    project = trigger.project
    namespace, _, name = project.path.rpartition("/")
    return {
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_NAME": name,
        "CI_PROJECT_TITLE": project.name or name,
        "CI_PROJECT_DESCRIPTION": str(project.extra.get("gitlab", {}).get("description") or ""),
        "CI_PROJECT_PATH": project.path,
        "CI_PROJECT_PATH_SLUG": slug(project.path),
        "CI_PROJECT_NAMESPACE": namespace,
        "CI_PROJECT_NAMESPACE_ID": namespace_id(trigger),
        "CI_PROJECT_NAMESPACE_SLUG": slug(namespace),
        "CI_PROJECT_ROOT_NAMESPACE": namespace.split("/")[0],
        "CI_PROJECT_URL": f"{trigger.server.url}/{project.path}",
        "CI_PROJECT_VISIBILITY": project.visibility,
        "CI_PROJECT_REPOSITORY_LANGUAGES": "",
        "CI_PROJECT_CLASSIFICATION_LABEL": "",
        "CI_PROJECT_TOPICS": "",
        "CI_DEFAULT_BRANCH": project.default_branch,
        "CI_DEFAULT_BRANCH_SLUG": slug(project.default_branch),
        "CI_CONFIG_PATH": config_path,
    }


def _commit(trigger: Trigger) -> dict[str, str]:
    commit = trigger.commit
    of_request = "merge_request" in trigger.options
    values = {
        "CI_COMMIT_SHA": trigger.sha,
        "CI_COMMIT_SHORT_SHA": trigger.sha[:8],
        "CI_COMMIT_BEFORE_SHA": ZERO_SHA if of_request else trigger.before_sha or ZERO_SHA,
        "CI_COMMIT_REF_NAME": trigger.ref,
        "CI_COMMIT_REF_SLUG": slug(trigger.ref),
        "CI_COMMIT_REF_PROTECTED": "true" if is_protected(trigger) else "false",
        "CI_COMMIT_MESSAGE": commit.message,
        "CI_COMMIT_TITLE": commit.title,
        "CI_COMMIT_DESCRIPTION": commit.message.partition("\n")[2].lstrip("\n"),
        "CI_COMMIT_AUTHOR": f"{commit.author_name} <{commit.author_email}>",
        "CI_COMMIT_TIMESTAMP": _iso(commit.committed_at),
    }
    if trigger.tag:
        values["CI_COMMIT_TAG"] = trigger.ref
        values["CI_COMMIT_TAG_MESSAGE"] = trigger.tag_message
    elif trigger.source != "merge_request_event" and not of_request:
        values["CI_COMMIT_BRANCH"] = trigger.ref
    return values
