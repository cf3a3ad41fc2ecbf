"""The contexts of a run as the trigger knows them, and the environment that every step gets (actions.md §4,
§6.2).

Called by `build`. What only claim or runner know is in `LATE` and in templates of the step environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runyard.model.plan import Variable
from runyard.model.protection import is_protected
from runyard.model.trigger import ZERO_SHA, Trigger
from runyard.syntax.expressions.values import to_string

LATE: Mapping[str, str] = {
    "github.run_id": "${{ format('{0}', run.id) }}",
    "github.run_number": "${{ format('{0}', run.number) }}",
    "github.run_attempt": "${{ format('{0}', attempt.number) }}",
    "github.token": "${{ attempt.token }}",
    "secrets.GITHUB_TOKEN": "${{ attempt.token }}",
    "github.workspace": "${{ runner.workspace }}",
    "github.event_path": "${{ env.GITHUB_EVENT_PATH }}",
    "github.env": "${{ env.GITHUB_ENV }}",
    "github.output": "${{ env.GITHUB_OUTPUT }}",
    "github.path": "${{ env.GITHUB_PATH }}",
    "github.step_summary": "${{ env.GITHUB_STEP_SUMMARY }}",
}
"""Places of the `github` context that are filled at claim or by the runner (JobPlan.late)."""

OWNER_ID = "owner_id"
"""In a trigger's options: the id of the project's namespace, a person's own one included. Never a person's
id: the two are counted apart, and an identity token's `repository_owner_id` must mean one owner."""

STEP_ENVIRONMENT: Mapping[str, str] = {
    "GITHUB_WORKSPACE": "${{ github.workspace }}",
    "RUNNER_TEMP": "${{ runner.temp }}",
    "RUNNER_TOOL_CACHE": "${{ runner.tool_cache || format('{0}/_tool', runner.temp) }}",
    "AGENT_TOOLSDIRECTORY": "${{ runner.tool_cache || format('{0}/_tool', runner.temp) }}",
    "RUNNER_OS": "${{ runner.os || 'Linux' }}",
    "RUNNER_ARCH": "${{ runner.arch || 'X64' }}",
    "RUNNER_NAME": "${{ runner.name || runner.description || 'runyard' }}",
    "RUNNER_ENVIRONMENT": "self-hosted",
}


def github(
    trigger: Trigger,
    event_name: str,
    workflow: str,
    path: str,
) -> dict[str, Any]:
    """The `github` context without its late places."""
    url = trigger.server.url
    project = trigger.project
    owner, _, _ = project.path.rpartition("/")
    ref = f"refs/tags/{trigger.ref}" if trigger.tag else f"refs/heads/{trigger.ref}"
    if trigger.ref.startswith("refs/"):  # of a pull request
        ref = trigger.ref
    actor = trigger.actor
    payload = event(trigger, event_name, ref)
    return {
        "actor": actor.username,
        "actor_id": str(actor.id),
        "api_url": f"{url}/api/v3",
        "base_ref": _of_pull_request(payload, "base"),
        "event": payload,
        "event_name": event_name,
        "graphql_url": f"{url}/api/graphql",
        "head_ref": _of_pull_request(payload, "head"),
        "ref": ref,
        "ref_name": trigger.ref.removeprefix("refs/pull/"),
        "ref_protected": is_protected(project, trigger.ref, trigger.tag),
        "ref_type": "tag" if trigger.tag else "branch",
        "repository": project.path,
        "repository_id": str(project.id),
        "repository_owner": owner,
        "repository_owner_id": _owner_id(trigger),
        "repositoryUrl": f"{url}/{project.path}.git",
        "retention_days": "30",
        "secret_source": "Actions",
        "server_url": url,
        "sha": trigger.sha,
        "triggering_actor": actor.username,
        "workflow": workflow,
        "workflow_ref": f"{project.path}/{path}@{ref}",
        "workflow_sha": trigger.sha,
    }


def _owner_id(trigger: Trigger) -> str:
    """Of the repository's namespace; empty without a server."""
    return str(trigger.options.get(OWNER_ID, ""))


def event(trigger: Trigger, event_name: str, ref: str) -> dict[str, Any]:
    """`github.event`: what the vendor's payload has and we know."""
    owner, _, name = trigger.project.path.rpartition("/")
    sender = {"login": trigger.actor.username, "id": trigger.actor.id}
    found: dict[str, Any] = {
        "repository": {
            "id": trigger.project.id,
            "name": name,
            "full_name": trigger.project.path,
            "default_branch": trigger.project.default_branch,
            "private": trigger.project.visibility != "public",
            "owner": {"login": owner, "name": owner, "id": trigger.options.get(OWNER_ID)},
            "html_url": f"{trigger.server.url}/{trigger.project.path}",
            "clone_url": f"{trigger.server.url}/{trigger.project.path}.git",
            "git_url": f"{trigger.server.url}/{trigger.project.path}.git",
            "visibility": trigger.project.visibility,
        },
        "sender": sender,
        "ref": ref,
    }
    if event_name == "push":
        found |= {
            "before": trigger.before_sha,
            "after": trigger.sha,
            "created": trigger.before_sha == ZERO_SHA,
            "deleted": False,
            "forced": False,
            "base_ref": None,
            "compare": f"{trigger.server.url}/{trigger.project.path}/-/compare/{trigger.before_sha[:12]}...{trigger.sha[:12]}",
            "head_commit": _commit(trigger),
            # Of the pushed commits the newest: the others are in the repository, not in the trigger.
            "commits": [_commit(trigger)],
            "pusher": {"name": trigger.actor.username, "email": trigger.actor.email},
        }
    elif event_name in ("workflow_dispatch", ""):
        # github.event.inputs are always strings, `inputs` keep their types.
        found["inputs"] = {key: to_string(value) for key, value in trigger.inputs.items()}
    return found | dict(trigger.options.get("payload") or {})


def _commit(trigger: Trigger) -> dict[str, Any]:
    """A commit as GitHub's events show it."""
    commit = trigger.commit
    when = datetime.fromtimestamp(commit.committed_at / 1000, UTC).isoformat(timespec="seconds")
    return {
        "id": trigger.sha,
        "distinct": True,
        "message": commit.message,
        "timestamp": when,
        "url": f"{trigger.server.url}/{trigger.project.path}/-/commit/{trigger.sha}",
        "author": {"name": commit.author_name, "email": commit.author_email},
        "committer": {"name": commit.committer_name, "email": commit.committer_email},
    }


def _of_pull_request(payload: Mapping[str, Any], side: str) -> str:
    """The branch on one side of a pull request's event; empty for any other event."""
    request = payload.get("pull_request")
    found = request.get(side) if isinstance(request, Mapping) else None
    return str(found.get("ref") or "") if isinstance(found, Mapping) else ""


def variables(context: Mapping[str, Any]) -> tuple[Variable, ...]:
    """The GITHUB_* environment of all jobs; GITHUB_JOB is each one's own. Values are literal: a `$` or `${{`
    in a commit's text stays one."""
    known = context["github"]
    plain = {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_REF_PROTECTED": "true" if known["ref_protected"] else "false",
        **{f"GITHUB_{name.upper()}": str(known[name]) for name in _EXPORTED},
    }
    late = {name: "${{ " + f"github.{name[7:].lower()}" + " }}" for name in _EXPORTED_LATE}
    event_file = Variable("GITHUB_EVENT_PATH", json.dumps(known["event"]), file=True, raw=True)
    return (
        *(Variable(key, value, raw=True) for key, value in plain.items()),
        *(Variable(key, value, raw=True, late=True) for key, value in late.items()),
        event_file,
    )


_EXPORTED = (
    "actor",
    "actor_id",
    "api_url",
    "base_ref",
    "event_name",
    "graphql_url",
    "head_ref",
    "ref",
    "ref_name",
    "ref_type",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "retention_days",
    "server_url",
    "sha",
    "triggering_actor",
    "workflow",
    "workflow_ref",
    "workflow_sha",
)
_EXPORTED_LATE = ("GITHUB_RUN_ID", "GITHUB_RUN_NUMBER", "GITHUB_RUN_ATTEMPT")
