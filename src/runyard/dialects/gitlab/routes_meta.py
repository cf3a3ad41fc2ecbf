"""Who am I, what are you: user, version, metadata, personal token. contracts/gitlab.md §1.3."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.refusals import answer_json

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
