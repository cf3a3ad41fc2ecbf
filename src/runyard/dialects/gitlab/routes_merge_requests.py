"""Merge requests as far as CI needs them: made, found, described, closed, with their pipelines. Reviews,
diffs and merging are refused.

contracts/gitlab.md §1.3; `merging` keeps them and starts their pipelines.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import merging, shapes
from runyard.dialects.gitlab.asking import TEXT_CHARS, Parameters
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors, answer_json, missing
from runyard.dialects.gitlab.routes_pipelines import NOTHING
from runyard.dialects.gitlab.words import CHILD
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.model.access import Role
from runyard.model.errors import Conflict, Invalid, NotFound, NothingToRun
from runyard.model.trigger import Commit
from runyard.model.work import Record, Run, User
from runyard.sources.names import check_ref

STATES = frozenset({"opened", "closed", "locked", "merged", "all"})
EVENTS = frozenset({"close", "reopen"})
TASK = re.compile(r"^[ \t>]*(?:[-*+]|[0-9]{1,9}[.)])[ \t]+\[([ xX])\][ \t]", re.MULTILINE)
NO_TIME = {
    "time_estimate": 0, "total_time_spent": 0, "human_time_estimate": None, "human_total_time_spent": None,
}  # fmt: skip
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MergeRequests:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        path, read = "/projects/{id}/merge_requests", Role.REPORTER
        one = f"{path}/{{merge_request_iid}}"
        commit = "/projects/{id}/repository/commits/{sha}/merge_requests"
        return [
            Line("GET", path, Door.READER, self.list, "List merge requests", role=read),
            Line("POST", path, Door.USER, self.create, "Create a merge request"),
            Line("GET", one, Door.READER, self.one, "Get a merge request", role=read),
            Line("PUT", one, Door.USER, self.change, "Describe, close or reopen a merge request"),
            Line("DELETE", one, Door.USER, self.delete, "Delete a merge request", role=Role.OWNER),
            Line("GET", f"{one}/pipelines", Door.READER, self.pipelines, "List a merge request's pipelines", role=read),
            Line("POST", f"{one}/pipelines", Door.USER, self.start, "Start a merge request's pipeline"),
            Line("GET", commit, Door.READER, self.of_commit, "List the merge requests of a commit", role=read),
        ]  # fmt: skip

    async def list(self, entry: Entry) -> Response:
        """`state`, `source_branch`, `target_branch`, `iids[]`, `author_username`, `search`, `labels`; newest
        first."""
        given = entry.parameters
        state = given.choice("state", STATES, "all")
        iids, search = set(given.texts("iids")), (given.text("search") or "").lower()
        labels = {label for text in given.texts("labels") for label in text.split(",")}
        author = given.text("author_username")

        def wanted(tx: Tx, row: Record) -> bool:
            data = row.data
            if author:
                user = tx.get(User, int(data["author_id"]))
                if user is None or user.username != author:
                    return False
            return (
                state in ("all", data["state"])
                and given.text("source_branch") in (None, data["source_branch"])
                and given.text("target_branch") in (None, data["target_branch"])
                and (not iids or str(data["iid"]) in iids)
                and search in f"{data['title']}\n{data['description']}".lower()
                and labels <= set(data["labels"])
            )

        def load(tx: Tx) -> list[Data]:
            rows = merging.of_project(tx, entry.project.id)
            return [self._shape(tx, entry, row) for row in rows if wanted(tx, row)]

        rows = await self.desk.services.db.read(load)
        if given.choice("sort", frozenset({"asc", "desc"}), "desc") == "asc":
            rows.reverse()
        return self.desk.sliced(entry, rows, lambda body: body)

    async def create(self, entry: Entry) -> Response:
        """`source_branch`, `target_branch`, `title`. Its pipeline starts with it where the configuration has
        one."""
        given, services = entry.parameters, self.desk.services
        source, target = given.required("source_branch"), given.required("target_branch")
        title, now, project = given.required("title", TEXT_CHARS), services.now(), entry.project
        if given.number("target_project_id") not in (None, project.id):
            raise Invalid("forks do not exist here: source and target are branches of this project")
        if source == target:
            raise FieldErrors("branch_conflict", ["You can't use same project/branch for source and target"])
        heads = [
            await self._head(entry, name, field)
            for name, field in ((source, "source_branch"), (target, "target_branch"))
        ]
        blank = merging.opened(source, target, heads[0].sha, entry.who.user.id)
        data = _described(blank, given, title)

        def add(tx: Tx) -> Record:
            for row in merging.of_project(tx, project.id):
                same = (row.data["source_branch"], row.data["target_branch"]) == (source, target)
                if same and row.data["state"] == "opened":
                    raise Conflict(
                        f"Another open merge request already exists for this source branch: !{row.data['iid']}"
                    )
            return merging.add(tx, project.id, data, now)

        row = await services.db.write(add)
        await merging.start_if_any(services, project, row, entry.who.user)
        return await self._answer(entry, row, 201)

    async def one(self, entry: Entry) -> Response:
        """With its head pipeline."""
        row = await self.desk.services.db.read(lambda tx: self._row(tx, entry))
        return await self._answer(entry, row)

    async def change(self, entry: Entry) -> Response:
        """`title`, `description`, `labels` (`add_labels`, `remove_labels`), `target_branch`, `squash`,
        `state_event`."""
        given, now, actor_id = entry.parameters, self.desk.services.now(), entry.who.user.id
        event, target = given.choice("state_event", EVENTS, ""), given.text("target_branch")
        if target:
            await self._head(entry, target, "target_branch")

        def save(tx: Tx) -> Record:
            row = self._row(tx, entry)
            data = _described(dict(row.data), given, given.limited("title") or row.data["title"])
            if event == "close" and row.data["state"] == "opened":
                merging.take_down(tx, entry.project.id, row.data["iid"], now, actor_id)
            if event:
                data["state"] = "closed" if event == "close" else "opened"
                data["closed_at"] = now if event == "close" else None
            row = replace(
                row, data={**data, "target_branch": target or data["target_branch"]}, updated_at=now
            )
            tx.save(row)
            tx.ring(merging.TOPIC)
            return row

        return await self._answer(entry, await self.desk.services.db.write(save))

    async def delete(self, entry: Entry) -> Response:
        """Its pipelines stay."""

        def remove(tx: Tx) -> None:
            row = self._row(tx, entry)
            entry.check_unmodified(row.updated_at)
            tx.remove(Record, row.id)

        await self.desk.services.db.write(remove)
        return Response(status_code=204)

    async def pipelines(self, entry: Entry) -> Response:
        """Newest first."""
        server = self.desk.services.server

        def load(tx: Tx) -> list[Data]:
            runs = (tx.get(Run, id) for id in self._row(tx, entry).data.get("runs", ()))
            return [shapes.pipeline_basic(run, entry.project, server) for run in runs if run is not None]

        return self.desk.sliced(entry, await self.desk.services.db.read(load), lambda body: body)

    async def start(self, entry: Entry) -> Response:
        """At the head of its source branch."""
        services = self.desk.services
        row = await services.db.read(lambda tx: self._row(tx, entry))
        try:
            run = await merging.start(services, entry.project, row, entry.who.user)
        except NothingToRun:
            raise FieldErrors("base", [NOTHING]) from None
        except NotFound:
            raise FieldErrors("base", ["Reference not found"]) from None
        except Invalid as error:
            raise FieldErrors("base", [str(p) for p in error.problems] or [error.message]) from None
        return answer_json(await self.bodies.pipeline(entry.project, run), 201)

    async def of_commit(self, entry: Entry) -> Response:
        """Those whose source branch ends at the commit."""
        sha = entry.part("sha")

        def load(tx: Tx) -> list[Data]:
            rows = merging.of_project(tx, entry.project.id)
            return [self._shape(tx, entry, row) for row in rows if row.data["sha"].startswith(sha)]

        return self.desk.sliced(entry, await self.desk.services.db.read(load), lambda body: body)

    async def _answer(self, entry: Entry, row: Record, status: int = 200) -> Response:
        head = await self._fresh_head(entry, row)
        own = RunFilter(
            project_id=entry.project.id,
            ref=row.data["source_branch"],
            sha_prefix=head,
            tag=False,
            not_source=CHILD,
        )

        def load(tx: Tx) -> tuple[Data, Sequence[Run]]:
            return self._shape(tx, entry, tx.get(Record, row.id) or row), tx.runs(own, Page(limit=1))

        body, runs = await self.desk.services.db.read(load)
        pipeline = await self.bodies.pipeline(entry.project, runs[0]) if runs else None
        began, ended = (pipeline["started_at"], pipeline["finished_at"]) if pipeline else (None, None)
        facts = {
            "sha": head, "head_pipeline": pipeline, "pipeline": pipeline, "latest_build_started_at": began,
            "latest_build_finished_at": ended, "first_deployed_to_production_at": None, "merge_error": None,
            "subscribed": False, "first_contribution": False, "user": {"can_merge": False},
            **await asyncio.to_thread(self._difference, entry.project.id, head, row.data["target_branch"]),
        }  # fmt: skip
        return answer_json({**body, **facts}, status)

    def _difference(self, project_id: int, head: str, target: str) -> Data:
        """What the request would change, counted in files as GitLab counts them (a text)."""
        source = self.desk.services.source
        try:
            start = source.resolve(project_id, merging.HEADS + target)[0].sha
            base = source.merge_base(project_id, start, head)
            changed = source.files(project_id, head).changed(start)
        except (NotFound, Invalid):
            return {"diff_refs": None, "changes_count": None}
        return {
            "diff_refs": {"base_sha": base, "head_sha": head, "start_sha": start},
            "changes_count": None if changed is None else str(len(changed)),
        }

    async def _fresh_head(self, entry: Entry, row: Record) -> str:
        try:
            name = merging.HEADS + row.data["source_branch"]
            commit, _, _ = await asyncio.to_thread(self.desk.services.source.resolve, entry.project.id, name)
        except (NotFound, Invalid):
            return str(row.data["sha"])
        return commit.sha

    async def _head(self, entry: Entry, branch: str, field: str) -> Commit:
        try:
            check_ref(branch)
            return (
                await asyncio.to_thread(
                    self.desk.services.source.resolve, entry.project.id, merging.HEADS + branch
                )
            )[0]
        except (NotFound, Invalid):
            raise FieldErrors(field, ["does not exist"]) from None

    def _row(self, tx: Tx, entry: Entry) -> Record:
        row = merging.by_number(tx, entry.project.id, entry.id("merge_request_iid", "Merge Request"))
        if row is None:
            raise missing("Merge Request")
        return row

    def _shape(self, tx: Tx, entry: Entry, row: Record) -> Data:
        data, server, project = row.data, self.desk.services.server, entry.project
        author = tx.get(User, int(data["author_id"]))
        return {
            "id": row.id, "iid": data["iid"], "project_id": project.id, "title": data["title"],
            "description": data["description"], "state": data["state"], "created_at": shapes.when(row.created_at),
            "updated_at": shapes.when(row.updated_at), "merged_by": None, "merged_at": None, "closed_by": None,
            "closed_at": shapes.when(data.get("closed_at")), "target_branch": data["target_branch"],
            "source_branch": data["source_branch"], "user_notes_count": 0, "upvotes": 0, "downvotes": 0,
            "author": shapes.user(author, server) if author else None, "assignees": [], "assignee": None,
            "reviewers": [], "source_project_id": project.id, "target_project_id": project.id,
            "labels": list(data["labels"]), "draft": data["draft"], "work_in_progress": data["draft"],
            "milestone": None, "merge_when_pipeline_succeeds": False, "merge_status": "unchecked",
            "detailed_merge_status": "draft_status" if data["draft"] else "unchecked", "sha": data["sha"],
            "merge_commit_sha": None, "squash_commit_sha": None, "squash": data["squash"],
            "should_remove_source_branch": None, "force_remove_source_branch": False,
            "reference": f"!{data['iid']}",
            "references": {"short": f"!{data['iid']}", "relative": f"!{data['iid']}", "full": f"{project.path}!{data['iid']}"},
            "web_url": f"{server.url}/{project.path}/-/merge_requests/{data['iid']}", "has_conflicts": False,
            "blocking_discussions_resolved": True, "merge_user": None, "merge_after": None,
            "prepared_at": shapes.when(row.created_at), "discussion_locked": None, "imported": False, "imported_from": "none",
            "time_stats": dict(NO_TIME), "task_completion_status": _tasks(data["description"]),
        }  # fmt: skip


def _tasks(description: str) -> dict[str, int]:
    """The boxes of a Markdown list, and how many are ticked."""
    boxes = TASK.findall(description)
    return {"count": len(boxes), "completed_count": sum(box in "xX" for box in boxes)}


def _described(data: Data, given: Parameters, title: str) -> Data:
    """Title (which makes it a draft), description, labels and squash, as given."""
    fresh = {
        **data,
        "title": title,
        "draft": title.lower().startswith(("draft:", "[draft]", "(draft)")),
    }
    if (description := given.text("description")) is not None:
        if len(description) > 1_048_576:
            raise BadParameter("description is too long")
        fresh["description"] = description
    labels = data["labels"] if given.values.get("labels") is None else _words(given, "labels")
    gone = set(_words(given, "remove_labels"))
    kept = [label for label in [*labels, *_words(given, "add_labels")] if label not in gone]
    fresh["labels"] = list(dict.fromkeys(kept))[:100]
    if (squash := given.flag("squash")) is not None:
        fresh["squash"] = squash
    return fresh


def _words(given: Parameters, name: str) -> list[str]:
    """A comma list, or a list of them."""
    words = [word.strip() for text in given.texts(name) for word in text.split(",")]
    return [word[:255] for word in words if word]
