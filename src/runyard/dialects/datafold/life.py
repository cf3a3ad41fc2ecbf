"""The life of a CI run between its calls: made, given what the repository knows of the change, given tables,
superseded. Called by routes and rounds.

Every act is safe to repeat: a commit's open run is found again, the same pair is one job, and what was
compared is not compared twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runyard.dialects.datafold import modified, pairs, renames, runs, sources, uploads
from runyard.dialects.datafold.compile import NoFiles
from runyard.dialects.datafold.history import Change, History
from runyard.dialects.datafold.shapes import CiConfig, CiDiff, PrDetails
from runyard.engine.control import conclude
from runyard.engine.ports import Tx
from runyard.http.services import RunRequest, Services
from runyard.model.state import State
from runyard.model.work import Connection, Project, Record, Run, User
from runyard.syntax.ignores import Ignores

ALL_DOWNSTREAM = "datafold:diff-all-downstream"
REQUIRED = "datafold"
MOST_DEPENDENTS = 200


@dataclass(frozen=True, slots=True)
class Life:
    """Acts on runs."""

    services: Services

    async def trigger(self, owner: Record, actor: User, pr: PrDetails, source: str = "api") -> Run | None:
        """The commit's run, new or found; None when the configuration is not for this base branch."""
        config = runs.options(owner)
        if config.custom_base_branch and pr.base_branch != config.custom_base_branch:
            return None
        if config.require_label and source != "api" and REQUIRED not in pr.labels:
            return None
        project = await self.services.db.read(lambda tx: runs.repository(tx, owner))
        told = await self._told(owner, project, pr, source)
        run = await self._run(owner, project, actor, told)
        now = self.services.now()
        await self.services.db.write(lambda tx: runs.cancel_older(tx, owner, run, now))
        if told["ignored"]:
            await self.services.db.write(lambda tx: conclude(tx, run.id, now))
        else:
            await self.compare(owner, run.id)
        return run

    async def _told(self, owner: Record, project: Project, pr: PrDetails, source: str) -> dict[str, Any]:
        """What a run knows of itself: the request, and what the repository says about the change."""
        config = runs.options(owner)
        change = await self.change(project, pr.pr_sha, pr.base_sha, pr.base_branch)
        files = sorted(change.files or ())
        ignored = Ignores(config.files_to_ignore).ignores_all(files)
        wishes = renames.collect(change.messages, pr.comments)
        return {
            "ci_config_id": owner.id,
            "pr_num": pr.pr_number,
            "pr_branch": pr.pr_branch,
            "base_branch": pr.base_branch,
            "pr_sha": pr.pr_sha,
            "base_sha": pr.base_sha,
            "source": source,
            "labels": pr.labels,
            "merge_base": change.base,
            "renames": [[r.old, r.new, r.models] for r in wishes],
            "ignored": ignored,
            "notes": ["Every changed file is on the list of files to ignore; nothing was compared."]
            if ignored
            else [],
        }

    async def change(self, project: Project, head: str, base: str, branch: str) -> Change:
        """What the repository knows of a change; empty when it does not have the commits."""

        def look() -> Change:
            history = History(self.services.source, project.id)
            start = base if base and history.commit(base) else history.tip(branch)
            return history.change(head, start) if start else Change()

        return await asyncio.to_thread(look)

    async def _run(self, owner: Record, project: Project, actor: User, told: Mapping[str, Any]) -> Run:
        number, sha = str(told["pr_num"]), str(told["pr_sha"])

        def look(tx: Tx) -> tuple[Run | None, int]:
            return runs.nameless(tx, owner, sha), runs.occurrence(tx, owner, number, sha)

        adopted, nth = await self.services.db.read(look)
        if adopted is None:
            adopted = await self.services.start(
                RunRequest(
                    project=project,
                    dialect=runs.DIALECT,
                    source="api",
                    actor=actor,
                    ref=told["pr_branch"] or project.default_branch,
                    sha=sha,
                    before_sha=told["base_sha"] or None,
                    options={"ci": told, "name": f"#{number} {owner.data['name']}"},
                    idempotency_key=f"datafold:{owner.id}:{number}:{sha}:{nth}",
                    files=NoFiles(),
                )
            )
        found = adopted

        def tell(tx: Tx) -> Run:
            """What a repeated call says of labels and comments counts; what was noted meanwhile stays."""
            run = tx.get(Run, found.id) or found
            if run.state is State.DONE:
                return run
            kept = list(runs.about(run).get("notes", []))
            return runs.tell(tx, run, **{**told, "notes": kept or told["notes"]})

        return await self.services.db.write(tell)

    async def uploaded(self, owner: Record, actor: User, sha: str) -> None:
        """A pull request's manifest came: into the commit's open run, or a new one."""

        def look(tx: Tx) -> Run | None:
            return next(runs.runs(tx, owner, sha=sha, open_only=True), None)

        run = await self.services.db.read(look)
        if run is None:
            project = await self.services.db.read(lambda tx: runs.repository(tx, owner))
            base = runs.options(owner).custom_base_branch or project.default_branch
            pr = PrDetails(pr_number=0, pr_branch="", base_branch=base, pr_sha=sha, base_sha="")
            await self.trigger(owner, actor, pr)  # it compares
        else:
            await self.compare(owner, run.id)

    async def compare_waiting(self, owner: Record) -> None:
        """Production's manifest came later than the pull requests that need it."""

        def waiting(tx: Tx) -> list[int]:
            return [run.id for run in runs.runs(tx, owner, open_only=True) if not tx.graph(run.id)]

        for run_id in await self.services.db.read(waiting):
            await self.compare(owner, run_id)

    async def compare(self, owner: Record, run_id: int) -> None:
        """Gives the run one diff per changed model, once both manifests are there; until then it waits."""
        run = await self.services.db.read(lambda tx: tx.get(Run, run_id))
        if run is None or run.state is State.DONE:
            return
        config, told = runs.options(owner), runs.about(run)
        commits = await self._commits(config, run)

        def look(tx: Tx) -> tuple[Mapping[str, Any], tuple[str, Mapping[str, Any]], Connection] | None:
            for shared in uploads.shared_ids(tx, owner, uploads.PULL_REQUEST, run.sha):
                proposed = uploads.exact(tx, owner, uploads.PULL_REQUEST, run.sha, shared)
                production = uploads.production(tx, owner, shared, commits)
                if proposed is not None and production is not None:
                    return proposed, production, sources.find(tx, config.data_source_id)
            return None

        found = await self.services.db.read(look)
        if found is None:
            return
        proposed, (sha, production), connection = found
        slim = config.slim_diff and ALL_DOWNSTREAM not in told.get("labels", ())
        chosen = await asyncio.to_thread(modified.select, production, proposed, slim=slim)
        models = await asyncio.to_thread(models_of, chosen, production, proposed)
        jobs = pairs.from_models(models, config, connection, told)
        notes, why = notes_of(chosen), reasons_of(chosen, proposed)
        now, terms = self.services.now(), self.services.terms
        await self.services.db.write(
            lambda tx: runs.give(tx, run_id, jobs, now, terms, production_sha=sha, notes=notes, reasons=why)
        )

    async def _commits(self, config: CiConfig, run: Run) -> Sequence[str] | None:
        """Whose production manifest may be compared, best first; None: the newest of all. With `merge_base`
        the fork's, else the nearest before it."""
        told = runs.about(run)
        if config.branch_commit_selection_strategy == "latest":
            return None
        fork = str(told.get("merge_base") or told.get("base_sha") or "")
        if not fork:
            return None
        history = History(self.services.source, run.project_id)
        before = await asyncio.to_thread(lambda: [commit.sha for commit in history.ancestors(fork)])
        return before or [fork]


def models_of(
    chosen: modified.Selection, production: modified.Digest, proposed: modified.Digest
) -> list[tuple[CiDiff, Mapping[str, Any]]]:
    """The chosen models' tables, each with its node and the tables that depend on it."""
    after = modified.dependents(proposed, chosen.reasons, MOST_DEPENDENTS)

    def node_of(id: str) -> Mapping[str, Any]:
        found = [{"uid": i, "name": proposed[i]["name"], "path": proposed[i]["table"]} for i in after[id]]
        return {**proposed[id], "dependents": found}

    return [(pair_of(production[i], proposed[i]), node_of(i)) for i in chosen.reasons]


def reasons_of(chosen: modified.Selection, proposed: modified.Digest) -> dict[str, list[str]]:
    """Why each model is compared, by its name."""
    return {str(proposed[i]["name"]): list(parts) for i, parts in chosen.reasons.items()}


def pair_of(production: Mapping[str, Any], proposed: Mapping[str, Any]) -> CiDiff:
    """One model's two tables."""
    options = proposed["options"]
    return CiDiff(
        prod=pairs.dotted(production["table"]),
        pr=pairs.dotted(proposed["table"]),
        pk=proposed["key"] or None,
        include_columns=options["include_columns"],
        exclude_columns=options["exclude_columns"],
        filter=options["filter"] or None,
    )


def notes_of(chosen: modified.Selection) -> list[str]:
    """What the report says about models that were not compared."""
    found = (
        ("New, so there is nothing to compare with", chosen.new),
        ("Removed by this change", chosen.removed),
        ("Changed, but never compared (never_diff)", chosen.left_out),
    )
    return [
        f"{words}: {', '.join(names[:50])}{' …' if len(names) > 50 else ''}."
        for words, names in found
        if names
    ]
