"""CI lint: 200 even when the configuration is invalid. contracts/gitlab.md §1.3."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab.config import config_path, lint
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import answer_json
from runyard.model.access import Role
from runyard.model.errors import Invalid, NotFound, TooLarge
from runyard.model.trigger import Files

MISSING = "Please provide content of .gitlab-ci.yml"


@dataclass(frozen=True, slots=True)
class Lint:
    """Handlers."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        path = "/projects/{id}/ci/lint"
        return [
            Line("GET", path, Door.USER, self.of_ref, "Check a ref's configuration", role=Role.DEVELOPER),
            Line("POST", path, Door.USER, self.of_text, "Check a given configuration"),
        ]

    async def of_ref(self, entry: Entry) -> Response:
        """The file as it is at `content_ref` (or `sha`)."""
        given = entry.parameters
        ref = given.text("content_ref") or given.text("sha") or entry.project.default_branch
        files = await self._files(entry, ref)
        path = config_path(entry.project)
        data = await asyncio.to_thread(files.read, path) if files else None
        if files is None or data is None:
            return answer_json(_body([MISSING]))
        return await self._judged(entry, files, data.decode("utf-8", "replace"))

    async def of_text(self, entry: Entry) -> Response:
        """`content`; local includes are taken from `ref`."""
        content = entry.parameters.required("content")
        files = await self._files(entry, entry.parameters.text("ref") or entry.project.default_branch)
        return await self._judged(entry, files or _NoFiles(), content)

    async def _files(self, entry: Entry, ref: str) -> Files | None:
        source = self.desk.services.source
        try:
            commit, _, _ = await asyncio.to_thread(source.resolve, entry.project.id, ref)
            return await asyncio.to_thread(source.files, entry.project.id, commit.sha)
        except (NotFound, Invalid):
            return None

    async def _judged(self, entry: Entry, files: Files, content: str) -> Response:
        try:
            found = await asyncio.to_thread(lint, files, config_path(entry.project), content)
        except (Invalid, TooLarge) as error:
            return answer_json(_body([str(p) for p in getattr(error, "problems", ())] or [error.message]))
        body = _body(
            list(map(str, found.errors)),
            list(map(str, found.warnings)),
            found.merged_yaml,
            list(found.includes),
        )
        if entry.parameters.flag("include_jobs") or entry.parameters.flag("dry_run"):
            body["jobs"] = list(found.jobs)
        return answer_json(body)


class _NoFiles:
    """An empty tree: linting a text for a project without commits."""

    def read(self, path: str) -> bytes | None:
        """Nothing."""
        return None

    def paths(self) -> list[str]:
        """Nothing."""
        return []

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        """Unknown."""
        return None


def _body(
    errors: list[str],
    warnings: list[str] | None = None,
    merged: str | None = None,
    includes: list[Any] | None = None,
) -> dict[str, Any]:
    return {
        "valid": not errors,
        "errors": errors,
        "warnings": warnings or [],
        "merged_yaml": merged,
        "includes": includes or [],
    }
