"""OpenID Connect discovery and public keys, so that others can check the `id_tokens` of jobs. Mounted beside
/api/v4 by routes; open to everyone.

The paths are GitLab's: `/.well-known/openid-configuration` and `/oauth/discovery/keys`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runyard.http.identity import Identity
from runyard.http.services import Services

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/oauth/discovery/keys"
CLAIMS = [
    "sub",
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "namespace_id",
    "namespace_path",
    "project_id",
    "project_path",
    "user_id",
    "user_login",
    "user_email",
    "user_access_level",
    "pipeline_id",
    "pipeline_source",
    "job_id",
    "ref",
    "ref_type",
    "ref_path",
    "ref_protected",
    "runner_id",
    "runner_environment",
    "sha",
    "project_visibility",
    "ci_config_ref_uri",
    "ci_config_sha",
    "environment",
    "environment_protected",
    "deployment_tier",
    "environment_action",
]


@dataclass(frozen=True, slots=True)
class Discovery:
    """Handlers."""

    services: Services
    identity: Identity

    def routes(self) -> dict[str, Callable[[Request], Any]]:
        """Path → handler, GET only."""
        return {DISCOVERY: self.about, KEYS: self.keys}

    async def about(self, request: Request) -> Response:
        """Only what verifiers of ID tokens read: there is no login flow here."""
        url = self.services.server.url
        body = {
            "issuer": url,
            "jwks_uri": f"{url}{KEYS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid"],
            "claim_types_supported": ["normal"],
            "claims_supported": CLAIMS,
        }
        return _cached(body)

    async def keys(self, request: Request) -> Response:
        """The key set; the first caller makes the key."""
        return _cached({"keys": await self.services.db.write(self.identity.keys)})


def _cached(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers={"Cache-Control": "public, max-age=3600"})
