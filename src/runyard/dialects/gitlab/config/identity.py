"""What a job's `id_tokens` say of it: GitLab's claims, as templates over the facts of claim. Called by
jobplan.

Names and forms are those of GitLab's documentation "OpenID Connect (OIDC) authentication using ID tokens";
every value is a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from runyard.dialects.gitlab.config.predefined import is_protected, namespace_id
from runyard.model.plan import IdentityToken
from runyard.model.trigger import Trigger


def identity_tokens(
    wanted: Mapping[str, Sequence[str]],
    trigger: Trigger,
    environment: Mapping[str, Any] | None,
    config_path: str,
) -> tuple[IdentityToken, ...]:
    """`wanted`: variable name → audiences."""
    if not wanted:
        return ()
    claims = {
        **{key: _literal(value) for key, value in _known(trigger, environment, config_path).items()},
        "pipeline_id": "${{ run.id }}",
        "job_id": "${{ attempt.id }}",
        "runner_id": "${{ runner.id }}",
    }
    return tuple(IdentityToken(key, tuple(audience), claims) for key, audience in wanted.items())


def _known(trigger: Trigger, environment: Mapping[str, Any] | None, config_path: str) -> dict[str, str]:
    project, user = trigger.project, trigger.actor
    namespace = project.path.rpartition("/")[0]
    kind = "tag" if trigger.tag else "branch"
    ref_path = f"refs/{'tags' if trigger.tag else 'heads'}/{trigger.ref}"
    host = urlsplit(trigger.server.url).netloc
    known = {
        "sub": f"project_path:{project.path}:ref_type:{kind}:ref:{trigger.ref}",
        "namespace_id": namespace_id(trigger),
        "namespace_path": namespace,
        "project_id": str(project.id),
        "project_path": project.path,
        "project_visibility": project.visibility,
        "user_id": str(user.id),
        "user_login": user.username,
        "user_email": user.email,
        "user_access_level": str(trigger.options.get("actor_role", "none")),
        "pipeline_source": trigger.source,
        "ref": trigger.ref,
        "ref_type": kind,
        "ref_path": ref_path,
        "ref_protected": "true" if is_protected(trigger) else "false",
        "runner_environment": "self-hosted",
        "sha": trigger.sha,
        "ci_config_ref_uri": f"{host}/{project.path}//{config_path}@{ref_path}",
        "ci_config_sha": trigger.sha,
    }
    if environment is not None:
        known |= {
            "environment": str(environment["name"]),
            "environment_protected": "false",
            "deployment_tier": str(environment["deployment_tier"]),
            "environment_action": str(environment["action"]),
        }
    return known


def _literal(text: str) -> str:
    """A branch may be called `${{ x }}`; in a template that is a text."""
    return text.replace("${{", "${{ '${{' }}")
