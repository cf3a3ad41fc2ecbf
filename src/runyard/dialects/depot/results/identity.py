"""Identity tokens on request: what `ACTIONS_ID_TOKEN_REQUEST_URL` answers to jobs with `permissions:
id-token: write`. Called by `door`.

An OpenID Connect ID token under this server's own key; claims as GitHub names them, the subject as GitHub's
default (`repo:OWNER/NAME:ref:REF`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runyard.dialects.depot.results.callers import Caller
from runyard.engine.ports import Tx
from runyard.http.identity import Identity
from runyard.http.services import Services
from runyard.model.errors import Forbidden, Invalid
from runyard.model.work import Job, Run

LIFE_S = 300
MAX_AUDIENCE = 512
_CLAIMS = (
    "actor", "actor_id", "base_ref", "event_name", "head_ref", "ref", "ref_protected", "ref_type", "repository", "repository_id", "repository_owner",
    "repository_owner_id", "sha", "workflow", "workflow_ref", "workflow_sha",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Identities:
    """`token` for one audience."""

    services: Services
    identity: Identity

    async def token(self, who: Caller, audience: str) -> dict[str, str]:
        """{"value": JWT}. Forbidden without the permission."""
        services, now = self.services, self.services.now()
        if len(audience) > MAX_AUDIENCE or not audience.isprintable():
            raise Invalid(f"an audience has at most {MAX_AUDIENCE} printable characters")

        def sign(tx: Tx) -> str:
            job, run = tx.get(Job, who.attempt.job_id), tx.get(Run, who.attempt.run_id)
            if job is None or run is None or not job.plan.identity:
                raise Forbidden(
                    "this job may not have an identity token; give it `permissions: id-token: write`"
                )
            return self.identity.sign(tx, self._claims(job, run, who, audience, now // 1000))

        return {"value": await services.db.write(sign)}

    def _claims(self, job: Job, run: Run, who: Caller, audience: str, at: int) -> dict[str, Any]:
        github = job.plan.context.get("github") or {}
        url = self.services.server.url
        said = {
            name: str(github.get(name, "")).lower()
            if name == "ref_protected"
            else str(github.get(name) or "")
            for name in _CLAIMS
        }
        scope = f"environment:{job.plan.environment.name}" if job.plan.environment else f"ref:{said['ref']}"
        return {
            **said,
            "iss": url,
            "sub": f"repo:{said['repository']}:{scope}",
            "aud": audience or f"{url}/{said['repository_owner']}",
            "iat": at,
            "nbf": at - 5,
            "exp": at + LIFE_S,
            "jti": f"{who.attempt.id}-{self.services.new_token('')}",
            "run_id": str(run.id),
            "run_number": str(run.number),
            "run_attempt": str(who.attempt.number),
            "job_workflow_ref": said["workflow_ref"],
            "job_workflow_sha": said["workflow_sha"],
            "runner_environment": "self-hosted",
        }
