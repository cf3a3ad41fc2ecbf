"""Who am I, what are you: user, version, metadata, personal token. contracts/gitlab.md §1.3."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.refusals import answer_json, missing

REVISION = "runyard"


@dataclass(frozen=True, slots=True)
class Meta:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        return [
            Line("GET", "/user", Door.USER, self.user, "Get the current user"),
            Line("GET", "/version", Door.USER, self.version, "Get the version"),
            Line("GET", "/metadata", Door.USER, self.metadata, "Get the version and features"),
            Line("GET", "/personal_access_tokens/self", Door.USER, self.token, "Get the current token"),
        ]

    async def user(self, entry: Entry) -> Response:
        """The token's owner."""
        return answer_json(shapes.me(entry.who.user, self.desk.services.server))

    async def version(self, entry: Entry) -> Response:
        """A real GitLab number: clients gate features on it."""
        return answer_json({"version": self.desk.services.server.version, "revision": REVISION})

    async def metadata(self, entry: Entry) -> Response:
        """The same, with what newer clients look for."""
        body = {
            "version": self.desk.services.server.version,
            "revision": REVISION,
            "kas": {"enabled": False, "externalUrl": None, "externalK8sProxyUrl": None, "version": None},
            "enterprise": False,
        }
        return answer_json(body)

    async def token(self, entry: Entry) -> Response:
        """The token that asks, never its text."""
        token = entry.who.token
        if token is None:
            raise missing("Token")
        body = {
            "id": token.id, "name": token.name, "revoked": False, "created_at": shapes.when(token.created_at),
            "scopes": list(token.scopes), "user_id": token.user_id, "active": True, "last_used_at": None,
            "expires_at": (shapes.when(token.expires_at) or "")[:10] or None,
        }  # fmt: skip
        return answer_json(body)
