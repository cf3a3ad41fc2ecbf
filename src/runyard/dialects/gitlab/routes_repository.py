"""The repository as far as CI clients ask: commits with their last pipeline, branches, tags, files.
contracts/gitlab.md §1.3."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import Window, window_of
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.refusals import BadParameter, answer_json, missing
from runyard.dialects.gitlab.words import CHILD, say
from runyard.engine.ports import Page, RunFilter
from runyard.model import protection
from runyard.model.access import Role
from runyard.model.errors import Invalid, NotFound
from runyard.model.trigger import Commit, ServerFacts
from runyard.model.work import Project
from runyard.syntax import patterns


@dataclass(frozen=True, slots=True)
class Repository:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        r = "/projects/{id}/repository"
        return [
            Line(
                "GET",
                f"{r}/commits/{{ref:path}}",
                Door.READER,
                self.commit,
                "Get a commit with its last pipeline",
                role=Role.REPORTER,
            ),
            Line("GET", f"{r}/commits", Door.READER, self.commits, "List commits", role=Role.REPORTER),
            Line("GET", f"{r}/branches", Door.READER, self.branches, "List branches", role=Role.REPORTER),
            Line(
                "GET",
                f"{r}/branches/{{name:path}}",
                Door.READER,
                self.branch,
                "Get a branch",
                role=Role.REPORTER,
            ),
            Line("GET", f"{r}/tags", Door.READER, self.tags, "List tags", role=Role.REPORTER),
            Line("GET", f"{r}/tags/{{name:path}}", Door.READER, self.tag, "Get a tag", role=Role.REPORTER),
            Line("GET", f"{r}/files/{{path:path}}", Door.READER, self.file, "Get a file", role=Role.REPORTER),
        ]

    async def commit(self, entry: Entry) -> Response:
        """A commit by ref or sha (branch names may hold slashes); `last_pipeline`, never a child, is what
        `glab ci status` follows."""
        commit, _, _ = await self._resolve(entry, entry.part("ref"), "Commit")
        project, server = entry.project, self.desk.services.server
        own = RunFilter(project_id=project.id, sha_prefix=commit.sha, not_source=CHILD)
        found = await self.desk.services.db.read(lambda tx: tx.runs(own, Page(limit=1)))
        last = found[0] if found else None
        wanted = entry.parameters.flag("stats") is not False
        stats = {"stats": await asyncio.to_thread(self._stats, project.id, commit.sha)} if wanted else {}
        body = shapes.commit(commit, project, server) | {
            **stats,
            "status": say(last.state, last.outcome, last.hold) if last else None,
            "project_id": project.id,
            "last_pipeline": shapes.pipeline_basic(last, project, server) if last else None,
        }
        return answer_json(body)

    def _stats(self, project_id: int, sha: str) -> dict[str, int] | None:
        counted = self.desk.services.source.stats(project_id, sha)
        return counted and {"additions": counted[0], "deletions": counted[1], "total": sum(counted)}

    async def commits(self, entry: Entry) -> Response:
        """History of `ref_name`, newest first; never counted."""
        window, source = window_of(entry.parameters), self.desk.services.source
        ref = entry.parameters.text("ref_name") or entry.project.default_branch
        skip = (window.page - 1) * window.per_page
        try:
            found = await asyncio.to_thread(source.commits, entry.project.id, ref, window.per_page + 1, skip)
        except (NotFound, Invalid):
            found = []
        server = self.desk.services.server
        bodies = [shapes.commit(row, entry.project, server) for row in found[: window.per_page]]
        return self.desk.listed(entry, replace(window, by_key=False), bodies, 0, len(found) > window.per_page)

    async def branches(self, entry: Entry) -> Response:
        """By name; `search` keeps those that contain it."""
        found = await asyncio.to_thread(self.desk.services.source.branches, entry.project.id)
        rows = _searched(found, entry)
        server = self.desk.services.server
        shown = [branch_body(entry, server, name, commit) for name, commit in rows[0]]
        return self._page(entry, shown, rows)

    async def branch(self, entry: Entry) -> Response:
        """One branch."""
        name = entry.part("name")
        commit, short, _ = await self._resolve(entry, f"refs/heads/{name}", "Branch")
        return answer_json(branch_body(entry, self.desk.services.server, short, commit))

    async def tags(self, entry: Entry) -> Response:
        """By name."""
        found = await asyncio.to_thread(self.desk.services.source.tags, entry.project.id)
        rows = _searched(found, entry)
        shown = await asyncio.to_thread(lambda: [self._tag(entry, *row) for row in rows[0]])
        return self._page(entry, shown, rows)

    async def tag(self, entry: Entry) -> Response:
        """One tag."""
        commit, short, _ = await self._resolve(entry, f"refs/tags/{entry.part('name')}", "Tag")
        return answer_json(await asyncio.to_thread(self._tag, entry, short, commit))

    def _tag(self, entry: Entry, name: str, commit: Commit) -> dict[str, Any]:
        note = self.desk.services.source.annotation(entry.project.id, name)
        return tag_body(entry.project, self.desk.services.server, name, commit, note)

    async def file(self, entry: Entry) -> Response:
        """One file, as JSON with base64, or `…/raw` as it is."""
        path = entry.part("path")
        raw = path.endswith("/raw")
        path = path.removesuffix("/raw")
        ref = entry.parameters.text("ref") or entry.project.default_branch
        commit, _, _ = await self._resolve(entry, ref, "Commit")
        files = await asyncio.to_thread(self.desk.services.source.files, entry.project.id, commit.sha)
        data = await asyncio.to_thread(files.read, path)
        if data is None:
            raise missing("File")
        if raw:
            headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
            return Response(data, headers=headers, media_type="text/plain")
        body = {
            "file_name": path.rsplit("/", 1)[-1], "file_path": path, "size": len(data), "encoding": "base64",
            "content": base64.b64encode(data).decode(), "content_sha256": hashlib.sha256(data).hexdigest(),
            "ref": ref, "commit_id": commit.sha, "last_commit_id": commit.sha, "execute_filemode": False,
        }  # fmt: skip
        return answer_json(body)

    async def _resolve(self, entry: Entry, ref: str, thing: str) -> tuple[Commit, str, bool]:
        try:
            return await asyncio.to_thread(self.desk.services.source.resolve, entry.project.id, ref)
        except (NotFound, Invalid):
            raise missing(thing) from None

    def _page(self, entry: Entry, shown: list[dict[str, Any]], rows: _Rows) -> Response:
        _, window, more, total = rows
        return self.desk.listed(entry, window, shown, 0, more, total)


def branch_body(entry: Entry, server: ServerFacts, name: str, commit: Commit) -> dict[str, Any]:
    """Branch, as the asker may use it."""
    project, who = entry.project, entry.who
    role = who.role_in(project) or Role.NONE
    is_theirs = role >= Role.DEVELOPER and protection.may_push(project, name, False, role, who.user.is_admin)
    is_default = name == project.default_branch
    rules = protection.fitting(project, name, False)
    can_push = any(0 < rule.push <= Role.DEVELOPER for rule in rules)
    can_merge = any(0 < rule.merge <= Role.DEVELOPER for rule in rules)
    return {
        "name": name, "commit": shapes.commit(commit, project, server), "merged": False,
        "protected": bool(rules), "developers_can_push": can_push, "developers_can_merge": can_merge, "can_push": is_theirs,
        "default": is_default, "web_url": f"{server.url}/{project.path}/-/tree/{name}",
    }  # fmt: skip


def tag_body(
    project: Project, server: ServerFacts, name: str, commit: Commit, note: tuple[str, int | None, str]
) -> dict[str, Any]:
    """Tag. `note`: of an annotated one what it says, when it was made and its own id, which is its target."""
    message, made_at, own_id = note
    return {
        "name": name, "message": message if own_id else None, "target": own_id or commit.sha, "release": None,
        "protected": protection.is_protected(project, name, tag=True),
        "commit": shapes.commit(commit, project, server), "created_at": shapes.when(made_at),
    }  # fmt: skip


def _has(name: str, search: str, bare: str) -> bool:
    """GitLab's search of refs: `^x` begins with it, `x$` ends with it, `x` holds it."""
    if search.startswith("^") and not name.startswith(bare):
        return False
    return name.endswith(bare) if search.endswith("$") else bare in name


_Rows = tuple[list[tuple[str, Commit]], Window, bool, int]


def _searched(found: list[tuple[str, Commit]], entry: Entry) -> _Rows:
    window, given = window_of(entry.parameters), entry.parameters
    search = (given.text("search") or "").lower()
    bare = search.removeprefix("^").removesuffix("$")
    kept = [row for row in found if _has(row[0].lower(), search, bare)]
    if regex := given.text("regex"):
        try:
            wanted = patterns.compile(regex)
        except patterns.PatternError:
            raise BadParameter("regex is invalid") from None
        kept = [row for row in kept if wanted.found_in(row[0])]
    start = (window.page - 1) * window.per_page
    end = start + window.per_page
    return kept[start:end], window, len(kept) > end, len(kept)
