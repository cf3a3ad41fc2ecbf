"""What every dialect and page gets from app: the ports, the settings, the clock, and the two joint acts (who
are you, start a run)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runyard.engine.ports import Actions, Bell, Blobs, Clock, Database, RefUpdate, Source, Vault
from runyard.engine.terms import Terms
from runyard.model import protection
from runyard.model.access import Role, Standing
from runyard.model.plan import JobPlan, Variable
from runyard.model.trigger import Files, ServerFacts, Trigger
from runyard.model.work import Attempt, Project, Run, Token, User

if TYPE_CHECKING:
    from runyard.http.visiting import Switchboard
    from runyard.settings import Settings

# in Project.extra: {"open": bool, "projects": [ids], "groups": [paths]}: whose jobs may read this project
JOB_SCOPE = "job_token"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a user by personal or session token, or a job by its job token (`attempt` set; reads its own
    project and those that let it in).

    `standing` are the user's memberships, `home` the path of the job's project.
    """

    user: User
    token: Token | None = None
    attempt: Attempt | None = None
    standing: Standing | None = None
    home: str = ""
    reads: bool = True  # a job whose plan gives its token no rights reads public projects only
    pushes: bool = False  # a job whose plan lets it push to its own project
    steers: bool = False  # a job whose plan lets it start, stop and retry runs there

    @property
    def is_job(self) -> bool:
        """Whether a running job asks."""
        return self.attempt is not None

    def role_in(self, project: Project) -> Role | None:
        """What the person may do there; None: it does not exist for this person. A job's own rights are
        `may_see` and no more."""
        return self.rights.role_in(project)

    @property
    def rights(self) -> Standing:
        """The person's memberships; of one that was made without a look at the store none."""
        return self.standing or Standing(self.user)

    def may_see(self, project: Project) -> bool:
        """Public projects are for everyone, internal ones for everyone with a token, private ones for
        members. A job sees its own project, and others of its user that let jobs of this project in. The one
        place that decides; every door asks here."""
        if project.visibility == "public":
            return True
        if self.attempt is None:
            return self.role_in(project) is not None
        if not self.reads:
            return False
        return self.attempt.project_id == project.id or (
            self.is_let_in(project) and self.role_in(project) is not None
        )

    def may_run(self, project: Project) -> bool:
        """Whether this person may start, stop and retry there: developers and above. Jobs never."""
        role = self.role_in(project)
        return self.attempt is None and role is not None and role >= Role.DEVELOPER

    def may_run_on(self, project: Project, ref: str, tag: bool) -> bool:
        """Whether this person may do that on the branch or tag, too: a protected one is for those who push to
        it or merge into it."""
        role = self.role_in(project) or Role.NONE
        return self.may_run(project) and protection.may_run(project, ref, tag, role, self.user.is_admin)

    def may_steer(self, project: Project) -> bool:
        """As `may_run`; and a job whose plan says so, in its own project, where its person may."""
        return self.may_run(project) or (self.steers and self._may_change_home(project))

    def may_push(self, project: Project) -> bool:
        """Whether a job may push there: its plan must say so, and its person may. Of persons the git door
        asks more."""
        return self.pushes and self._may_change_home(project)

    def _may_change_home(self, project: Project) -> bool:
        is_home = self.attempt is not None and self.attempt.project_id == project.id
        return is_home and (self.role_in(project) or Role.NONE) >= Role.DEVELOPER

    def may_fetch(self, project: Project, plan: JobPlan) -> bool:
        """Whether this person may have the artifacts of such a job, in a project that it may see."""
        return (self.role_in(project) or Role.NONE) >= plan.artifacts_from

    def is_let_in(self, project: Project) -> bool:
        """Whether the project's allow-list names the project of this job (or its group, or everybody)."""
        scope = project.extra.get(JOB_SCOPE, {})
        if scope.get("open") or (self.attempt and self.attempt.project_id in scope.get("projects", ())):
            return True
        return any(self.home.lower().startswith(f"{group.lower()}/") for group in scope.get("groups", ()))


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A request to run something now, as a route knows it. `ref` None means the default branch; `files`
    overrides the repository (inline content); `archives` are those of the run that asks (job name → blob),
    for what it generated."""

    project: Project
    dialect: str
    source: str
    actor: User
    ref: str | None = None
    sha: str | None = None
    before_sha: str | None = None
    variables: tuple[Variable, ...] = ()
    inputs: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None
    idempotency_key: str = ""
    files: Files | None = None
    archives: Mapping[str, str] = field(default_factory=dict)


class Start(Protocol):
    """Resolves the ref, compiles, accepts. Raises Invalid (located), NotFound (ref), Conflict."""

    def __call__(self, request: RunRequest) -> Awaitable[Run]: ...


class Draft(Protocol):
    """What `start` would compile: the trigger and the tree, the ref resolved. Nothing is stored."""

    def __call__(self, request: RunRequest) -> Awaitable[tuple[Trigger, Files]]: ...


class Pushed(Protocol):
    """What a push of these refs sets off: the runs it starts in every dialect."""

    def __call__(
        self, project: Project, actor: User, updates: Sequence[RefUpdate], options: Sequence[str]
    ) -> Awaitable[list[Run]]: ...


@dataclass(frozen=True, slots=True)
class Services:
    """Handed to every `Dialect.mount` and to the web pages."""

    settings: Settings
    terms: Terms  # the settings that engine verbs take
    server: ServerFacts
    db: Database
    bell: Bell
    blobs: Blobs
    source: Source
    vault: Vault
    now: Clock
    new_token: Callable[[str], str]  # prefix -> a fresh random token text
    principal: Callable[
        [str], Awaitable[Principal | None]
    ]  # token text -> who, for personal, session and job tokens
    start: Start
    draft: Draft
    words: Callable[[str], Any]  # dialect name -> its Words, for showing other dialects' runs
    pushed: Pushed
    sign: Callable[[str, int], str]  # (text, expires_at) -> signature, for links that need no header
    visits: Switchboard | None = None  # into running jobs
    actions: Actions | None = None  # repositories of actions elsewhere
