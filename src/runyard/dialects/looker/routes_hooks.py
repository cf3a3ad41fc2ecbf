"""Calls that start suites from elsewhere: a suite's hook for GitHub, GitLab and dbt Cloud, and the same facts
in our own words. These paths are ours.

`POST …/suites/{suite_id}/hook` proves itself by the suite's `webhook_secret` as each sender does (HMAC of the
body, or the secret itself) or by a developer's token. GitHub: `X-Hub-Signature-256`. GitLab:
`X-Gitlab-Token`. dbt Cloud: `Authorization`, the hex HMAC of the body.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker import suites, triggers
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.naming import find_project
from runyard.dialects.looker.refusals import invalid, missing_field
from runyard.dialects.looker.routes_suites import suite_in
from runyard.engine.ports import Page, Tx
from runyard.model.errors import NotFound, Unauthenticated
from runyard.model.work import Project, Record, Run

Json = Mapping[str, Any]
MAX_TEXT = 1024
MOVED = frozenset({"opened", "reopened", "synchronize", "ready_for_review", "open", "reopen", "update"})
_ONE = Page(limit=1)


async def hook(ask: Ask) -> Response:
    """POST …/suites/{suite_id}/hook: answers which runs it started."""
    project, suite = await _suite(ask)
    if not await _is_proven(ask, project, suite):
        raise Unauthenticated
    if ask.body.get("eventType") or ask.body.get("dbt"):
        return _started(ask, [await _dbt(ask, suite)])
    change = _github(ask.body) or _gitlab(ask.body)
    if change is None:
        return _started(ask, [])  # a ping, or an event that means nothing here
    return _started(ask, await _change(ask, project, change))


async def change_request(ask: Ask) -> Response:
    """POST …/change_requests: a pull request in our own words, by a developer's token."""
    ask.writer()
    project = await ask.project()
    number = ask.body.get("number")
    if type(number) is not int or not 0 < number < 10**9:
        raise invalid("number", "number must be the pull request's number.")
    for name in ("branch", "target_branch"):
        if not _text(ask.body, name):
            raise missing_field(name)
    change = {
        "open": ask.body.get("state", "open") == "open",
        "branch": _text(ask.body, "branch"),
        "commit": _text(ask.body, "commit"),
        "target_branch": _text(ask.body, "target_branch"),
        "change_request_number": number,
        "change_request_url": _text(ask.body, "url") or None,
        "change_request_name": _text(ask.body, "name") or None,
        "change_request_commits_url": _text(ask.body, "commits_url") or None,
    }
    return _started(ask, await _change(ask, project, change))


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        raise invalid(name, f"{name} must be a text.")
    return value


async def _suite(ask: Ask) -> tuple[Project, Record]:
    """The suite of the path. A caller without a token may know of it only if it has a secret to prove itself
    by."""
    wanted, suite_id = ask.params["project_id"], ask.params["suite_id"]

    def work(tx: Tx) -> tuple[Project | None, Record | None]:
        project = find_project(tx, wanted)
        return project, suite_in(tx, project, suite_id) if project else None

    project, suite = await ask.services.db.read(work)
    if project is None or suite is None or not (ask.principal or suite.data.get(suites.SEALED)):
        raise NotFound
    return project, suite


async def _is_proven(ask: Ask, project: Project, suite: Record) -> bool:
    if ask.principal is not None:
        if not ask.principal.may_see(project):
            raise NotFound
        return ask.principal.may_run(project)
    secret = ask.services.vault.open(str(suite.data[suites.SEALED])).encode()
    right = hmac.new(secret, ask.raw, hashlib.sha256).hexdigest()
    headers = ask.request.headers
    said = headers.get("x-hub-signature-256", "").removeprefix("sha256=") or headers.get("authorization", "")
    token = headers.get("x-gitlab-token", "").encode()
    return hmac.compare_digest(said.encode(), right.encode()) or (
        bool(token) and hmac.compare_digest(token, secret)
    )


def _started(ask: Ask, runs: list[Run | None]) -> Response:
    return ask.answer({"run_ids": [str(run.id) for run in runs if run is not None]})


async def _dbt(ask: Ask, suite: Record) -> Run | None:
    """dbt Cloud's `job.run.completed`, with the schema that the job built: dbt's own message does not name
    it, so the caller adds `schema`."""
    body, data = ask.body, ask.body.get("data")
    data = data if isinstance(data, dict) else {}
    wanted = suite.data.get("dbt_cloud_trigger_job_id")
    if not suite.data.get("dbt_cloud_trigger_is_enabled"):
        return None
    if wanted and str(data.get("jobId") or body.get("job_id") or "") != str(wanted):
        return None
    if str(data.get("runStatus") or "Success").lower() != "success":
        return None
    if body.get("eventType") not in (None, "job.run.completed"):
        return None
    facts = {
        name: _text(body, name) for name in ("schema", "branch", "git_branch", "git_sha", "git_repository")
    }
    if suite.data.get("dbt_cloud_trigger_user_attribute_id") and not facts["schema"]:
        raise missing_field("schema")
    run_id = data.get("runId") or body.get("run_id") or ""
    return await triggers.dbt_finished(ask.services, suite, {**facts, "run_id": str(run_id)[:100]})


def _github(body: Json) -> dict[str, Any] | None:
    """GitHub's `pull_request` event."""
    change, number = body.get("pull_request"), body.get("number")
    if not isinstance(change, dict) or type(number) is not int:
        return None
    head, base = change.get("head"), change.get("base")
    if not isinstance(head, dict) or not isinstance(base, dict):
        return None
    url = _text(change, "html_url")
    return {
        "open": change.get("state", "open") == "open",
        "is_moved": body.get("action") in MOVED,
        "branch": _text(head, "ref"),
        "commit": _text(head, "sha"),
        "target_branch": _text(base, "ref"),
        "change_request_number": number,
        "change_request_url": url or None,
        "change_request_name": _text(change, "title") or None,
        "change_request_commits_url": f"{url}/commits" if url else None,
    }


def _gitlab(body: Json) -> dict[str, Any] | None:
    """GitLab's `Merge Request Hook`."""
    change = body.get("object_attributes")
    if body.get("object_kind") != "merge_request" or not isinstance(change, dict):
        return None
    commit, url = change.get("last_commit"), _text(change, "url")
    number = change.get("iid")
    return {
        "open": change.get("state") in ("opened", "locked"),
        "is_moved": change.get("action") in MOVED,
        "branch": _text(change, "source_branch"),
        "commit": _text(commit, "id") if isinstance(commit, dict) else "",
        "target_branch": _text(change, "target_branch"),
        "change_request_number": number if type(number) is int else None,
        "change_request_url": url or None,
        "change_request_name": _text(change, "title") or None,
        "change_request_commits_url": f"{url}/commits" if url else None,
    }


async def _change(ask: Ask, project: Project, change: dict[str, Any]) -> list[Run | None]:
    """Remembers the pull request, so that pushes to its branch start its suites too, and starts them now."""
    is_moved = bool(change.pop("is_moved", True))
    now, key = ask.services.now(), f"{project.id}:{change['change_request_number']}"

    def work(tx: Tx) -> bool:
        """Whether this commit is new to us."""
        found = tx.records(triggers.CHANGE, project.id, key, _ONE)
        if not found:
            tx.add(Record(0, triggers.CHANGE, project.id, key, change, now, now))
            return True
        tx.save(replace(found[0], data=change, updated_at=now))
        return bool(change["commit"] != found[0].data.get("commit")) or not found[0].data.get("open")

    is_new = await ask.services.db.write(work)
    if not (change["open"] and is_moved and (is_new or not change["commit"])):
        return []
    return list(await triggers.changed(ask.services, project, change))


_HERE = "/projects/{project_id}/continuous_integration"
LINES = [
    Line("POST", _HERE + "/suites/{suite_id}/hook", hook, public=True),
    Line("POST", _HERE + "/change_requests", change_request),
]
