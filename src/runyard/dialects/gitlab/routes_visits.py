"""The runner's two calls for terminals in its jobs (ours; `http/visiting.py`): what is typed, and what is
shown."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import answer_json
from runyard.dialects.gitlab.routes_transfer import running
from runyard.http.visiting import CalledVisit
from runyard.model.errors import Invalid, NotFound
from runyard.runner.calling import Shown


@dataclass(frozen=True, slots=True)
class Visitors:
    """Handlers. Open doors with a job's token inside."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        path = "/jobs/{job_id}/visits/{visit}"
        return [
            Line("GET", path, Door.OPEN, self.said, "Hear what a visitor of a job types (ours)"),
            Line("PUT", path, Door.OPEN, self.show, "Show a visitor of a job something (ours)"),
        ]

    async def said(self, entry: Entry) -> Response:
        """Held while nothing is typed."""
        visit = await self._visit(entry)
        return answer_json(await visit.said())

    async def show(self, entry: Entry) -> Response:
        """Body: stdout or stderr (base64), exit_code, or problem; answers how many bytes found room."""
        visit = await self._visit(entry)
        try:
            shown = msgspec.convert(entry.parameters.values, Shown)
        except msgspec.ValidationError as error:
            raise Invalid(f"the body is invalid: {error}") from None
        return answer_json({"taken": await visit.show(shown)})

    async def _visit(self, entry: Entry) -> CalledVisit:
        attempt, _ = await running(self.desk, entry)
        if (visits := self.desk.services.visits) is None:
            raise NotFound
        return visits.visit(attempt.id, entry.part("visit"))
