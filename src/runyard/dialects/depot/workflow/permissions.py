"""What `permissions` leave of a job's token: of the job, else of the file, at most what every caller has.
Called by `build` and `calls`.

Facts: GitHub's "Workflow syntax" (naming a scope sets the unnamed to none; a called workflow's can only be
kept or reduced) and "Use GITHUB_TOKEN" (the restricted default: contents, packages and metadata may be read).
"""

from __future__ import annotations

from collections.abc import Mapping

from runyard.dialects.depot.workflow.document import JobDoc, Permissions, WorkflowDoc

LEVELS = ("none", "read", "write")
DEFAULT: Permissions = {"*": "none", "contents": "read", "packages": "read", "metadata": "read"}


def level(permissions: Mapping[str, str], scope: str) -> str:
    """none, read or write."""
    return permissions.get(scope, permissions.get("*", "none"))


def of_job(limit: Permissions | None, doc: WorkflowDoc, job: JobDoc) -> Permissions:
    """`limit` is what the calling job has; None for a workflow that nobody called."""
    own = job.permissions if job.permissions is not None else doc.permissions
    if limit is None:
        return DEFAULT if own is None else own
    return limit if own is None else narrowed(limit, own)


def narrowed(limit: Permissions, own: Permissions) -> Permissions:
    """The less of both, scope by scope."""
    scopes = ("*", *dict.fromkeys(scope for scope in (*limit, *own) if scope != "*"))
    return {scope: min(level(limit, scope), level(own, scope), key=LEVELS.index) for scope in scopes}


def beyond(limit: Permissions, own: Permissions) -> list[str]:
    """The scopes of which `own` wants more than there is, as `scope: level`."""
    wanted = [scope for scope in own if LEVELS.index(level(own, scope)) > LEVELS.index(level(limit, scope))]
    return [f"{scope}: {own[scope]}" for scope in wanted]
