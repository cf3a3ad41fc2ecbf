"""CI lint: 200 even when the configuration is invalid. contracts/gitlab.md §1.3."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab.config import Lint as Found
from runyard.dialects.gitlab.config import config_path, dry_run, lint
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import answer_json, missing
from runyard.http.services import RunRequest
from runyard.model.access import Role
from runyard.model.errors import Invalid, NotFound, TooLarge
from runyard.model.trigger import ZERO_SHA, Files, Trigger


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
        """The file as it is at `content_ref` (or `sha`); `dry_run_ref` is where a dry run pretends to be."""
        given = entry.parameters
        ref = given.text("content_ref") or given.text("sha") or entry.project.default_branch
        if given.text("content_ref") or given.text("sha"):
            await self._must_exist(entry, ref)
        return await self._judged(entry, ref, given.text("dry_run_ref") or given.text("ref") or ref, None)

    async def of_text(self, entry: Entry) -> Response:
        """`content`; local includes are taken from `ref`."""
        content = entry.parameters.required("content")
        ref = entry.parameters.text("ref") or entry.project.default_branch
        return await self._judged(entry, ref, ref, content)

    async def _judged(self, entry: Entry, ref: str, run_ref: str, content: str | None) -> Response:
        dry = entry.parameters.flag("dry_run") or False
        try:
            trigger, files = await self._draft(entry, run_ref if dry else ref)
            if dry and trigger.sha == ZERO_SHA:
                return answer_json(_body(["Reference not found"]))
            if dry and run_ref != ref:
                _, files = await self._draft(entry, ref)
            work = dry_run if dry else _lint
            found = await asyncio.to_thread(work, trigger, files, content)
        except (Invalid, TooLarge) as error:
            return answer_json(_body([str(p) for p in getattr(error, "problems", ())] or [error.message]))
        includes = [_include(entry, self.desk, about, trigger.sha) for about in found.includes]
        body = _body(
            list(map(str, found.errors)), list(map(str, found.warnings)), found.merged_yaml, includes
        )
        if entry.parameters.flag("include_jobs") or dry:
            body["jobs"] = list(found.jobs)
        return answer_json(body)

    async def _must_exist(self, entry: Entry, ref: str) -> None:
        try:
            await asyncio.to_thread(self.desk.services.source.resolve, entry.project.id, ref)
        except (NotFound, Invalid):
            raise missing("Commit") from None

    async def _draft(self, entry: Entry, ref: str) -> tuple[Trigger, Files]:
        """The trigger of a pipeline on that ref; an empty tree where there is no such ref."""
        asked = RunRequest(entry.project, "gitlab", "push", entry.who.user, ref=ref)
        draft = self.desk.services.draft
        try:
            return await draft(asked)
        except (NotFound, Invalid):
            return await draft(replace(asked, sha=ZERO_SHA, files=_NoFiles()))


def _lint(trigger: Trigger, files: Files, content: str | None) -> Found:
    return lint(files, config_path(trigger.project), content, trigger)


def _include(entry: Entry, desk: Desk, about: Mapping[str, Any], sha: str) -> dict[str, Any]:
    """GitLab's object of an include, with addresses on this server for what lies here. `sha`: of this
    project's tree."""
    elsewhere = about.get("context_project")
    project = elsewhere or entry.project.path
    at = about.get("context_sha") or (None if elsewhere or sha == ZERO_SHA else sha)
    url, location = desk.services.server.url, about["location"]
    here = about["type"] in ("local", "file") and at is not None
    place = f"{url}/{project}/-"
    return {
        **about,
        "context_project": project,
        "context_sha": at,
        "blob": f"{place}/blob/{at}/{location}" if here else None,
        "raw": f"{place}/raw/{at}/{location}" if here else location if about["type"] == "remote" else None,
    }


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
