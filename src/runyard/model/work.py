"""The rows of the house: what the store keeps. Frozen; change with `dataclasses.replace`. `id` 0 means not
stored yet.

Times are integer milliseconds since the epoch, UTC; None means not yet. `extra` is the dialect's JSON, opaque
to everyone else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runyard.model.plan import JobPlan, Variable
from runyard.model.state import Hold, Outcome, Reason, State

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class User:
    """Someone who may hold tokens."""

    id: int
    username: str
    name: str = ""
    email: str = ""
    is_admin: bool = False
    created_at: int = 0
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Project:
    """A repository plus its dialect settings. `path` is the full path, `group/name`, unique without regard to
    case."""

    id: int
    path: str
    name: str = ""
    default_branch: str = "main"
    visibility: str = "private"
    import_url: str = ""
    last_number: int = 0  # the newest run's number (GitLab iid)
    created_at: int = 0
    extra: Json = field(default_factory=dict)  # dialect settings by dialect name


@dataclass(frozen=True, slots=True)
class Token:
    """A credential; only its SHA-256 is stored. `kind`: personal, session, trigger, registration, api3
    (Looker client; `name` is the client id)."""

    id: int
    kind: str
    hash: str
    user_id: int | None = None
    project_id: int | None = None
    name: str = ""
    scopes: tuple[str, ...] = ()
    created_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class SecretVariable:
    """A project's (or, with project_id None, the instance's) variable; `value` is sealed by the vault."""

    id: int
    key: str
    value: str
    project_id: int | None = None
    masked: bool = False
    protected: bool = False
    file: bool = False
    raw: bool = False
    environment_scope: str = "*"
    # or "secret" and "var": reach `secrets.X` and `vars.X` in expressions instead of the environment
    kind: str = "variable"
    extra: Json = field(default_factory=dict)  # "when": the conditions of a variant (`model.variants`)
    group_id: int | None = None  # a group's; then project_id is None
    variant: str | None = None  # several of one key live side by side under different names


@dataclass(frozen=True, slots=True)
class Group:
    """A namespace of projects; `path` is the full path, unique without regard to case. A person's own
    namespace is one too."""

    id: int
    path: str
    name: str = ""
    visibility: str = "private"
    created_at: int = 0
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A person's role in exactly one project or group. `level` is a `model.access.Role`."""

    id: int
    user_id: int
    level: int
    project_id: int | None = None
    group_id: int | None = None
    created_at: int = 0
    created_by: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """Where deployments go. `state`: available, stopping, stopped."""

    id: int
    project_id: int
    name: str
    slug: str
    tier: str = "other"
    state: str = "available"
    external_url: str = ""
    auto_stop_at: int | None = None
    created_at: int = 0
    updated_at: int = 0
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One delivery to an environment, by an attempt or reported from outside (`attempt_id` None). `number`
    counts within the project.

    `status`: created, running, success, failed, canceled, blocked.
    """

    id: int
    project_id: int
    environment_id: int
    number: int
    ref: str
    sha: str
    status: str
    tag: bool = False
    attempt_id: int | None = None
    user_id: int | None = None
    created_at: int = 0
    updated_at: int = 0
    finished_at: int | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One accepted trigger. State, outcome and warnings are a fold over its workflows, written by settle."""

    id: int
    project_id: int
    number: int
    dialect: str
    source: str
    ref: str
    sha: str
    before_sha: str = ""
    tag: bool = False
    name: str = ""
    actor_id: int | None = None
    state: State = State.WAITING
    outcome: Outcome | None = None
    hold: Hold | None = None
    warnings: bool = False  # passed, but something that was allowed to fail did
    error: str = ""
    variables: tuple[Variable, ...] = ()
    idempotency_key: str | None = None
    created_at: int = 0
    updated_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    extra: Json = field(
        default_factory=dict
    )  # the dialect's; for pages: "title" the commit's, "page" a path with {id} to the door's own page


@dataclass(frozen=True, slots=True)
class Workflow:
    """One file's or suite's worth of jobs inside a run; a fold over its jobs."""

    id: int
    run_id: int
    key: str
    name: str = ""
    path: str = ""
    state: State = State.WAITING
    outcome: Outcome | None = None
    hold: Hold | None = None
    warnings: bool = False
    error: str = ""
    created_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    extra: Json = field(default_factory=dict)


class _Packed:
    """Room beside a job's fields for what makes its plan."""

    __slots__ = ("_unpack",)


@dataclass(frozen=True, slots=True)
class Job(_Packed):
    """A named node of the graph. Immutable after accept, but for fields that are filled in when its gate
    opens (`JobPlan.drawn`); what happened to it is its latest attempt.

    One that a store made with `packed` reads its plan when somebody asks for it: most readers of many jobs
    never do.
    """

    id: int
    run_id: int
    workflow_id: int
    project_id: int
    key: str
    name: str
    plan: JobPlan
    position: int = 0
    created_at: int = 0

    @classmethod
    def packed(cls, values: Mapping[str, Any], unpack: Callable[[], JobPlan]) -> Job:
        """A job from its other fields, all of them, and from what answers the plan (of one value, whenever it
        is called)."""
        job = object.__new__(cls)
        for name, value in values.items():
            object.__setattr__(job, name, value)
        object.__setattr__(job, "_unpack", unpack)
        return job

    if not TYPE_CHECKING:  # else every misspelt attribute would pass the type checker

        def __getattr__(self, name: str) -> Any:
            """Called for what is not set, which the plan is until now."""
            if name != "plan":
                raise AttributeError(name)
            unpack = self._unpack
            if unpack is not None:  # else another thread was faster
                object.__setattr__(self, "plan", unpack())
                object.__setattr__(self, "_unpack", None)  # the text may go
            return self.plan


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one job; the only thing with a state machine. Its id is GitLab's job id."""

    id: int
    job_id: int
    run_id: int
    project_id: int
    number: int
    state: State = State.WAITING
    outcome: Outcome | None = None
    reason: Reason = Reason.NONE
    hold: Hold | None = None
    message: str = ""  # a sentence for people: why it ended so
    tolerated: bool = False  # failed or canceled, but allowed to
    latest: bool = True  # no newer attempt of this job exists, and the job is not retired (`engine.remaking`)
    automatic: bool = False  # made by a retry rule or a lost runner
    created_at: int = 0
    queued_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    run_after_at: int | None = None  # Hold.DELAYED ends then
    deadline_at: int | None = None  # the job's time limit, set at claim
    lease_until_at: int | None = None  # set exactly while RUNNING or STOPPING
    runner_id: int | None = None
    actor_id: int | None = None  # who retried or played it
    # SHA-256 of the job token; kept after its runner's own finish (a repeat is known by it), else cleared at
    # the end
    token_hash: str = ""
    exit_code: int | None = None
    log_bytes: int = 0
    log_crc: int | None = None  # as the runner reported it at finish
    log_blob: str = ""  # set once sealed
    coverage: float | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[Variable, ...] = ()  # given when it was played or retried
    erased_at: int | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an attempt as it went. `log_start`/`log_end` are byte offsets into the attempt's log."""

    attempt_id: int
    position: int
    key: str
    name: str
    state: State = State.WAITING
    outcome: Outcome | None = None
    exit_code: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    log_start: int | None = None
    log_end: int | None = None
    extra: Json = field(default_factory=dict)  # summary, annotations


@dataclass(frozen=True, slots=True)
class Artifact:
    """A named blob that an attempt left. `type` is `archive`, `trace`-like internals, or a report type
    (`junit`, `lookml`, `datadiff`, …)."""

    id: int
    attempt_id: int
    run_id: int
    project_id: int
    name: str
    type: str
    format: str  # zip, gzip, raw
    filename: str
    size_bytes: int
    sha256: str
    blob: str
    created_at: int = 0
    expires_at: int | None = None
    extra: Json = field(default_factory=dict)

    def is_over(self, now: int) -> bool:
        """Whether nobody gets it any more, though upkeep may not have removed it yet."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Runner:
    """Someone who may claim."""

    id: int
    token_hash: str
    description: str = ""
    tags: tuple[str, ...] = ()
    run_untagged: bool = True
    protected: bool = False
    paused: bool = False
    project_id: int | None = None  # None: serves every project, or those of its group
    maximum_timeout_s: int | None = None
    stock: bool = True  # a foreign gitlab-runner: only plans with `stock` may go there
    contacted_at: int | None = None
    created_at: int = 0
    info: Json = field(default_factory=dict)
    extra: Json = field(default_factory=dict)
    group_id: int | None = (
        None  # serves the projects of this group and of those below it; then project_id is None
    )

    @property
    def serves_all(self) -> bool:
        """A runner of the instance."""
        return self.project_id is None and self.group_id is None


@dataclass(frozen=True, slots=True)
class Connection:
    """A database that tasks may query: Looker's connection and Datafold's data source. `sealed` is the
    vault's text of the secrets."""

    id: int
    name: str
    dialect: str  # duckdb, postgres, …
    settings: Json = field(default_factory=dict)  # host, port, database, file, schema, username
    sealed: str = ""  # JSON of password and other secrets
    created_at: int = 0
    updated_at: int = 0
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """A dialect's own small thing: a suite, a CI configuration, a submitted diff, an upload. (kind,
    project_id, key) is unique when key is not empty."""

    id: int
    kind: str  # "<dialect>.<noun>"
    project_id: int | None = None
    key: str = ""
    data: Json = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0
