"""`MigrationService` v1 and v2: what `depot ci migrate` asks. Called by routes. docs/dialects/depot.md tells
what is decided here.

A repository is a project of this server. An analysis is our own check of each workflow; a migration copies
workflows from `.github/workflows` to `.depot/workflows` on a branch of their own, as the CLI does in a
working copy. Secrets cannot be read out of GitHub from here: a workflow that runs there sends them, and only
the intent to do so is noted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from protobuf import Oneof
from protobuf.wkt import Timestamp

from runyard.dialects.depot import ids
from runyard.dialects.depot.access import (
    asker,
    project_named,
    require_developer,
    require_person,
)
from runyard.dialects.depot.compile import check
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as v1
from runyard.dialects.depot.gen.depot.ci.v1.ci_connect import MigrationService as MigrationV1
from runyard.dialects.depot.gen.depot.ci.v2 import migration_pb as pb
from runyard.dialects.depot.gen.depot.ci.v2.migration_connect import MigrationService
from runyard.engine.ports import Edit, Page, Tx
from runyard.http.services import Principal, Services
from runyard.model.errors import Conflict, Invalid, NotFound, Problem, RunyardError, TooLarge
from runyard.model.trigger import Files
from runyard.model.work import Project, Record

MIGRATION, INTENT = "depot.migration", "depot.migration.intent"
INTENT_S = 3600
MOST_FILES, MOST_BYTES = 200, 2 << 20
FROM, TO = ".github/workflows/", ".depot/workflows/"
_SHA = re.compile(r"[0-9a-f]{40}\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")
_Ctx = RequestContext[Any, Any]
_Ready, _Status, _Done = pb.MigrationReadiness, pb.MigrationStatus, pb.WorkflowMigrationStatus

ONE_SHOT = """\
# Sends these secrets and variables from GitHub to {url}. Needs a secret DEPOT_TOKEN of that server; push the branch {branch}, then delete it.
name: {name}
on:
  push:
    branches: [{branch}]
jobs:
  import:
    runs-on: ubuntu-latest
    env:
      DEPOT_API_URL: {url}
      DEPOT_TOKEN: ${{{{ secrets.DEPOT_TOKEN }}}}
    steps:
{steps}"""
STEP = """\
      - env: {{VALUE: "${{{{ {context}.{name} }}}}"}}
        run: printf '%s' "$VALUE" | npx --yes @depot/cli ci {noun} set {name} --from-stdin --repo {repo}
"""


@dataclass(frozen=True, slots=True)
class Given(Files):
    """Workflow files as a client sent them."""

    texts: Mapping[str, bytes]

    def read(self, path: str) -> bytes | None:
        return self.texts.get(path)

    def paths(self) -> Sequence[str]:
        return sorted(self.texts)

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


@dataclass(frozen=True, slots=True)
class MigrationOne(MigrationV1):
    """`depot.ci.v1.MigrationService`."""

    services: Services

    async def get_installation(
        self, request: v1.GetInstallationRequest, ctx: _Ctx, /
    ) -> v1.GetInstallationResponse:
        """One installation per owner: this server itself. `repo_accessible` is false until the repository was
        pushed here."""
        who, owner = asker(), request.repo.rpartition("/")[0]
        if not owner:
            raise Invalid("repo must be owner/name")

        def is_here(tx: Tx) -> bool:
            project = tx.project_by_path(request.repo)
            return project is not None and who.may_see(project)

        here = await self.services.db.read(is_here)
        url = self.services.server.url
        one = v1.Installation(installation_id=ids.ORG, settings_url=url, owner=owner, repo_accessible=here)
        return v1.GetInstallationResponse(installations=[one])

    async def import_secrets_and_vars(
        self, request: v1.ImportSecretsAndVarsRequest, ctx: _Ctx, /
    ) -> v1.ImportSecretsAndVarsResponse:
        """With `dry_run` the workflow that GitHub must run; without, failed_precondition: nobody here can
        push to GitHub."""
        who = asker()
        require_person(who)
        project = await self.services.db.read(lambda tx: project_named(tx, who, request.repo))
        require_developer(who, project)
        names = [*request.include_secrets, *request.include_vars]
        branch = request.branch_name or "depot-migrate-secrets"
        if (
            not names
            or len(names) > MOST_FILES
            or not all(map(_NAME.match, names))
            or not _BRANCH.match(branch)
        ):
            raise Invalid(
                "include_secrets and include_vars name 1 to 200 secrets and variables, branch_name a branch"
            )
        if not request.dry_run:
            raise Conflict(
                "this server cannot start workflows at GitHub: ask with dry_run, push the workflow there yourself, or use `depot ci secrets add`"
            )
        repo = project.path
        steps = [
            STEP.format(context="secrets", noun="secrets", name=n, repo=repo) for n in request.include_secrets
        ]
        steps += [STEP.format(context="vars", noun="vars", name=n, repo=repo) for n in request.include_vars]
        name = "depot-import-secrets-and-vars"
        content = ONE_SHOT.format(
            url=self.services.server.url, branch=branch, name=name, steps="".join(steps)
        )
        found = v1.DryRunResult(branch_name=branch, workflow_name=f"{name}.yml", workflow_content=content)
        result: Oneof[Literal["dry_run_result"], v1.DryRunResult] = Oneof("dry_run_result", found)
        return v1.ImportSecretsAndVarsResponse(result=result)


@dataclass(frozen=True, slots=True)
class Migrations(MigrationService):
    """`depot.ci.v2.MigrationService`."""

    services: Services

    async def list_repositories(
        self, request: pb.ListMigrationRepositoriesRequest, ctx: _Ctx, /
    ) -> pb.ListMigrationRepositoriesResponse:
        """What the caller may see, by id; whatever the forge and installation."""
        who, now = asker(), self.services.now()
        size = min(request.page_size or 50, 100)
        after = _number(request.page_token) if request.page_token else None
        page = Page(limit=size + 1, after_id=after, descending=False)

        def find(tx: Tx) -> list[Project]:
            return [p for p in tx.projects("", page, who.user, now) if who.may_see(p)]

        rows = await self.services.db.read(find)
        more = str(rows[size - 1].id) if len(rows) > size else ""
        return pb.ListMigrationRepositoriesResponse(
            repositories=[_repository(row) for row in rows[:size]], next_page_token=more
        )

    async def get_repository_analysis(
        self, request: pb.GetRepositoryMigrationAnalysisRequest, ctx: _Ctx, /
    ) -> pb.GetRepositoryMigrationAnalysisResponse:
        """Every workflow of the repository, or those that were sent along, judged by `runyard check`."""
        who = asker()
        project = await self._project(
            who, request.workflow_repo_id, request.repository_url, is_sent=bool(request.workflow_files)
        )
        if request.workflow_files:
            files: Files = _given(request.workflow_files.workflows)
            paths = list(files.paths())
        elif project is None:
            raise NotFound("repository not found")
        else:
            files = await self._head(project)
            paths = _workflows(files)
        done = await self.services.db.read(lambda tx: _of_project(tx, project.id)) if project else []
        known = await self._migrated(project)

        def analysed(path: str) -> pb.RepositoryWorkflowMigration:
            last = next((row for row in reversed(done) if path in row.data["paths"]), None)
            return pb.RepositoryWorkflowMigration(
                path=path,
                analysis=_analysis(check(files, path)),
                migration_status=_status_of(path, known, last),
                latest_migration_id=_id(last) if last else None,
            )

        workflows = await asyncio.to_thread(lambda: [analysed(path) for path in paths])
        return pb.GetRepositoryMigrationAnalysisResponse(
            repository=_repository(project) if project else None,
            workflows=workflows,
            migrations=[_migration(row) for row in done],
        )

    async def start_migration(
        self, request: pb.StartWorkflowMigrationRequest, ctx: _Ctx, /
    ) -> pb.StartWorkflowMigrationResponse:
        """Copies the named workflows, on a branch `depot-migrate-<id>`. A conflict when one of them is in
        `.depot/workflows` already."""
        who = asker()
        project = await self._writable(who, request.workflow_repo_id)
        files = await self._head(project)
        paths = list(dict.fromkeys(request.workflow_paths)) or _workflows(files)
        if not paths or len(paths) > MOST_FILES:
            raise Invalid(f"1 to {MOST_FILES} workflow_paths are required")
        for path in paths:
            if not path.startswith(FROM) or files.read(path) is None:
                raise NotFound(f"workflow '{path[:200]}' not found")
            if files.read(_target(path)) is not None:
                _refuse_twice(path)
        now = self.services.now()
        data = {"status": _Status.PENDING.name, "paths": paths, "user_id": who.user.id}
        row = await self.services.db.write(
            lambda tx: tx.add(Record(0, MIGRATION, project.id, "", data, now, now))
        )
        return pb.StartWorkflowMigrationResponse(
            migration=_migration(await self._migrate(who, project, files, row))
        )

    async def retry_migration(
        self, request: pb.RetryWorkflowMigrationRequest, ctx: _Ctx, /
    ) -> pb.RetryWorkflowMigrationResponse:
        """Once more, from what the repository is now; only of one that failed."""
        who = asker()
        project = await self._writable(who, request.workflow_repo_id)
        _, number = ids.hear(request.migration_id, ids.Kind.MIGRATION)
        row = await self.services.db.read(lambda tx: tx.get(Record, number))
        if row is None or row.kind != MIGRATION or row.project_id != project.id:
            raise NotFound("migration not found")
        if row.data["status"] != _Status.WORKFLOW_MIGRATION_FAILED.name:
            raise Conflict("only a migration that failed can be retried")
        done = await self._migrate(who, project, await self._head(project), row)
        return pb.RetryWorkflowMigrationResponse(migration=_migration(done))

    async def register_secret_migration_intent(
        self, request: pb.SecretMigrationIntent, ctx: _Ctx, /
    ) -> pb.RegisterSecretMigrationIntentResponse:
        """Notes that a workflow at the forge will send secrets; the id names its branch."""
        who = asker()
        require_person(who)
        if not _SHA.match(request.sha) or not 0 < len(request.repository_url) <= 500:
            raise Invalid("sha must be a full commit id and repository_url the repository's address")
        now = self.services.now()
        data = {"sha": request.sha, "url": request.repository_url, "user_id": who.user.id}
        key = f"{who.user.id}/{now}/{request.sha}"
        row = await self.services.db.write(lambda tx: tx.add(Record(0, INTENT, None, key, data, now, now)))
        return pb.RegisterSecretMigrationIntentResponse(id=_id(row), expires_at=_time(now + INTENT_S * 1000))

    async def report_secret_import(
        self, request: pb.ReportSecretImportRequest, ctx: _Ctx, /
    ) -> pb.ReportSecretImportResponse:
        """How the caller's newest intent ended."""
        who, now = asker(), self.services.now()
        require_person(who)
        jobs = [[one.name[:255], one.conclusion[:64], one.message[:2000]] for one in request.jobs[:100]]

        def note(tx: Tx) -> None:
            rows = tx.records(INTENT, None, None, Page(limit=1000))
            mine = (r for r in rows if r.data["user_id"] == who.user.id and "succeeded" not in r.data)
            row = next((r for r in mine if r.created_at > now - INTENT_S * 1000), None)
            if row is None:
                raise Conflict("no secret migration of yours is open")
            tx.save(
                replace(row, data={**row.data, "succeeded": request.succeeded, "jobs": jobs}, updated_at=now)
            )

        await self.services.db.write(note)
        return pb.ReportSecretImportResponse()

    async def _project(self, who: Principal, repo_id: str, url: str, *, is_sent: bool) -> Project | None:
        """By id, path or the last two parts of an address. With files sent along a repository need not be
        here."""
        path = "/".join(re.split(r"[:/]", url.removesuffix(".git"))[-2:]) if url else ""

        def find(tx: Tx) -> Project | None:
            try:
                project = project_named(tx, who, repo_id or path)
                if not who.may_see(project):  # its files are read
                    raise NotFound(f"repository '{project.path}' not found")
                return project
            except NotFound:
                if is_sent and not repo_id:
                    return None
                raise

        return await self.services.db.read(find)

    async def _writable(self, who: Principal, repo_id: str) -> Project:
        require_person(who)
        project = await self.services.db.read(lambda tx: project_named(tx, who, repo_id))
        require_developer(who, project)
        return project

    async def _head(self, project: Project) -> Files:
        """The tip of the default branch."""
        source = self.services.source

        def at_head() -> Files:
            return source.files(project.id, source.resolve(project.id, "HEAD")[0].sha)

        return await asyncio.to_thread(at_head)

    async def _migrated(self, project: Project | None) -> frozenset[str]:
        if project is None:
            return frozenset()
        try:
            return frozenset((await self._head(project)).paths())
        except NotFound:
            return frozenset()

    async def _migrate(self, who: Principal, project: Project, files: Files, row: Record) -> Record:
        """The commit, then the record; trouble is the migration's end and never an exception."""
        services, now = self.services, self.services.now()
        branch = f"depot-migrate-{_id(row)}"
        user = who.user
        try:
            edits = [
                Edit("create", _target(path), moved(files.read(path) or b"")) for path in row.data["paths"]
            ]
            await asyncio.to_thread(
                services.source.commit_edits, project.id, branch, "HEAD", edits,
                "Workflows of .github for Depot CI [skip ci]", user.name or user.username, user.email, now,
            )  # fmt: skip
            status, said = _Status.SUCCEEDED, ""
        except RunyardError as error:
            status, said = _Status.WORKFLOW_MIGRATION_FAILED, error.message
        data = {**row.data, "status": status.name, "branch": branch, "message": said}
        done = replace(row, data=data, updated_at=now)
        await services.db.write(lambda tx: tx.save(done))
        return done


def moved(text: bytes) -> bytes:
    """A workflow that names files of `.github` finds them in `.depot`."""
    return text.replace(b".github/workflows/", b".depot/workflows/").replace(
        b".github/actions/", b".depot/actions/"
    )


def _given(sent: Sequence[pb.MigrationWorkflowFile]) -> Given:
    if len(sent) > MOST_FILES or sum(len(one.content) for one in sent) > MOST_BYTES:
        raise TooLarge(f"at most {MOST_FILES} workflows of {MOST_BYTES} bytes together")
    return Given({one.path: one.content.encode() for one in sent})


def _workflows(files: Files) -> list[str]:
    return [
        path
        for path in files.paths()
        if path.startswith(FROM) and "/" not in path.removeprefix(FROM) and path.endswith((".yml", ".yaml"))
    ]


def _target(path: str) -> str:
    return TO + PurePosixPath(path).name


def _refuse_twice(path: str) -> None:
    detail = pb.MigrationErrorDetail(reason=pb.MigrationErrorReason.WORKFLOW_MIGRATION_CONFLICT)
    raise ConnectError(Code.ALREADY_EXISTS, f"'{_target(path)[:200]}' is there already", details=[detail])


def _of_project(tx: Tx, project_id: int) -> list[Record]:
    return tx.records(MIGRATION, project_id, None, Page(limit=100, descending=False))


def _analysis(problems: Sequence[Problem]) -> pb.WorkflowAnalysis:
    blockers = [_diagnostic(one) for one in problems if one.severity == "error"]
    caveats = [_diagnostic(one) for one in problems if one.severity != "error"]
    ready = _Ready.NOT_READY if blockers else _Ready.READY_WITH_CAVEATS if caveats else _Ready.READY
    return pb.WorkflowAnalysis(migration_readiness=ready, caveats=caveats, blockers=blockers)


def _diagnostic(one: Problem) -> pb.MigrationDiagnostic:
    severities = pb.MigrationDiagnosticSeverity
    is_error = one.severity == "error"
    return pb.MigrationDiagnostic(
        code="workflow_error" if is_error else "workflow_warning",
        message=str(one),
        action=one.suggestion,
        severity=severities.FAILS if is_error else severities.CONDITIONALLY_UNSUPPORTED,
    )


def _status_of(path: str, there: frozenset[str], last: Record | None) -> pb.WorkflowMigrationStatus:
    if _target(path) in there:
        return _Done.SUCCEEDED
    if last is None:
        return _Done.NOT_STARTED
    if last.data["status"] == _Status.WORKFLOW_MIGRATION_FAILED.name:
        return _Done.FAILED
    return _Done.IN_PROGRESS  # on its branch, not yet merged


def _repository(project: Project) -> pb.MigrationRepository:
    return pb.MigrationRepository(
        id=str(project.id), name=project.path.rpartition("/")[2], full_name=project.path
    )


def _migration(row: Record) -> pb.WorkflowMigration:
    status = _Status[row.data["status"]]
    is_over = status in (_Status.SUCCEEDED, _Status.WORKFLOW_MIGRATION_FAILED)
    return pb.WorkflowMigration(
        id=_id(row),
        status=status,
        retryable=status is _Status.WORKFLOW_MIGRATION_FAILED,
        created_at=_time(row.created_at),
        updated_at=_time(row.updated_at),
        finished_at=_time(row.updated_at) if is_over else None,
    )


def _id(row: Record) -> str:
    return ids.say(ids.Kind.MIGRATION, row.id)


def _number(token: str) -> int:
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise Invalid("The page token is not one of this server's.")
    return int(token)


def _time(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)
