"""A Plan: what a dialect compiled from text. Pure data, JSON-able with msgspec, the same for every dialect.

After compile the engine and the runner know nothing of the vendor; what a dialect needs later for its own
shapes lies in `extra`.

**Late facts.** Strings marked as templates hold `${{ … }}` expressions (syntax.expressions) that are rendered
when the facts exist: `Variable.late` and `JobPlan.image` by the engine at claim, step fields by the runner
before each step (only when `StepPlan.templated`). Facts at claim:
`run.{id,number,url,ref,sha,source,created_at}` · `job.{id,name,key,stage,url}` ·
`attempt.{id,number,token,url}` · `project.{id,path,name}` · `server.{url,version,api_url}` ·
`runner.{id,description,tags,version}` · `needs.<group>.{result,outputs}` · everything in `JobPlan.context`
(e.g. github, matrix, strategy, inputs, vars) · `secrets.<KEY>`. The runner adds
`steps.<key>.{outcome,conclusion,outputs}`, `env`, `job.status`, `runner.{temp,workspace,…}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class When(StrEnum):
    """GitLab's `when`, the richest of the four vocabularies."""

    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    ALWAYS = "always"
    MANUAL = "manual"
    DELAYED = "delayed"


class Order(StrEnum):
    """Whom a job's gate looks at."""

    STAGE = "stage"  # all jobs of earlier stages
    NEEDS = "needs"  # only the named needs; none at all means: start at once


class StepKind(StrEnum):
    """A process, one of the runner's built-ins (all work on the same workspace), an action that the runner
    fetches and expands, or a word to the steps that run in the background."""

    RUN = "run"
    CHECKOUT = "checkout"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    CACHE_RESTORE = "cache_restore"
    CACHE_SAVE = "cache_save"
    ACTION = "action"
    WAIT = "wait"
    CANCEL = "cancel"


class Network(StrEnum):
    """What a job may reach. HOST includes the server's loopback, so only server-made plans may ask for it."""

    NONE = "none"
    INTERNET = "internet"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable. Order matters: a later one of the same key wins, and `$X` sees the final
    set."""

    key: str
    value: str
    masked: bool = False  # never shows in a log
    file: bool = False  # the job gets a path to a file holding the value
    raw: bool = False  # `$X` inside the value is literal
    late: bool = False  # the value is a `${{ }}` template over facts known at claim
    public: bool = True


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets a job start once those it looks at are done.

    `expression` (an Actions `if`, evaluated over JobPlan.context + needs) decides when set; otherwise
    GitLab's table for `when` does.
    """

    when: When = When.ON_SUCCESS
    order: Order = Order.NEEDS
    expression: str | None = None
    delay_s: int = 0
    question: str = ""  # what people are asked before they start it


@dataclass(frozen=True, slots=True)
class Need:
    """A wish to run after another job. `group` names a job key or a group of matrix legs."""

    group: str
    optional: bool = False
    artifacts: bool = True
    name: str = ""  # what facts call it, when not by its group

    @property
    def told(self) -> str:
        """Its name in `needs`."""
        return self.name or self.group


@dataclass(frozen=True, slots=True)
class Retry:
    """Automatic new attempts after failure: at most `max`, when the reason or the exit code is listed.

    `when` holds Reason values, or "always". Runner loss has its own rule in the engine.
    """

    max: int = 0
    when: tuple[str, ...] = ("always",)
    exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most one open attempt per group and project; others are held (resource_group), or the older is
    canceled.

    `by_workflow`: the workflow as a whole is the member (Actions; the engine sets it from
    WorkflowPlan.concurrency). `single_pending`: a newcomer cancels members that still wait (Actions keeps one
    running and one pending).
    """

    group: str
    cancel_in_progress: bool = False
    by_workflow: bool = False
    single_pending: bool = False


class Follow(StrEnum):
    """What a bridge shows once the other run is there."""

    NONE = "none"  # it has passed: the other run exists
    DEPEND = "depend"  # passes with it, is canceled with it, fails with it for any other end
    MIRROR = "mirror"  # what the other run shows


@dataclass(frozen=True, slots=True)
class Bridge:
    """Makes a job whose work is another run (GitLab's `trigger`). No runner takes such a job; the engine
    starts and follows the other run.

    Texts may hold `$VAR`: they are expanded with the job's final variables when the bridge starts. `project`
    "" is the same project, where `ref` "" is the same commit; elsewhere it is the default branch. `options`
    and `inputs` are for the compiler of the other run (Trigger.options, Trigger.inputs), `source` is its
    Run.source. `existing`: nothing is started; the newest run of that project's default branch is
    followed."""

    source: str
    follow: Follow = Follow.NONE
    project: str = ""
    ref: str = ""
    variables: tuple[Variable, ...] = ()  # handed on
    hands_on_run_variables: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    existing: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """An archive that a job fetches from a run it is not part of: `run_id` (a `$VAR` text) or the newest
    passed run of `ref` in `project`."""

    job: str
    project: str = ""
    ref: str = ""
    run_id: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A container image whose root file system the job runs in."""

    name: str
    entrypoint: tuple[str, ...] | None = None
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    alias: str = ""
    command: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of the server shown inside the box. Only server-made plans carry binds; text of a repository
    never does."""

    path: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionUse:
    """A database that a job may ask: as `name` in the JSON of $RUNYARD_CONNECTIONS. The row's secrets join at
    claim and are masked; a plan never holds them. Only server-made plans carry these."""

    name: str
    connection_id: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A signed statement of who the job is, as variable `key`, for services that trust this server (OpenID
    Connect ID token).

    `audience` may name `$VAR`s of the job. `claims` are templates over the facts of claim; the engine adds
    iss, aud, jti and the times.
    """

    key: str
    audience: tuple[str, ...]
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EnvironmentUse:
    """What a job does to an environment. `action`: start (delivers), prepare, verify, access (only look),
    stop. `on_stop` names the job of the same workflow that takes the delivery down. `url` may hold `$VAR`,
    known at the end (dotenv). `tier` "": guessed from the name."""

    name: str
    url: str = ""
    action: str = "start"
    on_stop: str = ""
    auto_stop_s: int | None = None
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """Steps in a row with the same `group` run at the same time, those of one `branch` one after another.
    `fail_fast`: a failure ends the other branches."""

    group: int
    branch: int
    fail_fast: bool = True


@dataclass(frozen=True, slots=True)
class StepRetry:
    """A process step is tried again at most `retries` times while it fails, each time after `delay_s`;
    exponential: doubled each time, at most `max_delay_s`."""

    retries: int
    delay_s: float = 5.0
    exponential: bool = False
    max_delay_s: float = 60.0


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One process, or one built-in with `params`.

    A RUN step executes `argv`; `{script}` in an item stands for the path of a file that the runner fills with
    `script`, a first item `{bash|sh}` for bash where there is one, else sh. `condition`: an expression with
    success()/failure()/always()/cancelled(); None means success(). `cwd` is relative to the workspace.
    `continue_on_error` true, or a template giving "true".

    Params of built-ins (all optional unless said):
    CHECKOUT  ref, sha (default: the run's), depth (int, 0 = whole), path, clean (bool),
              strategy ("fetch"|"clone"|"none"|"empty"), repository,
              project_id (one of `JobPlan.other_projects`; with sha)
    DOWNLOAD  from: "needs" (archives of `JobPlan.needs`/`params.jobs` unpacked into the workspace, GitLab)
              or "run" (by `name`/`pattern` of the same run, into `path`, `merge_multiple`; Actions)
    UPLOAD    name, paths (required), exclude, untracked (bool), expire_in_s (int|None),
              type ("archive" or a report type), format ("zip"|"gzip"|"raw"),
              if_no_files ("warn"|"error"|"ignore"), filename
    CACHE_*   key, paths, fallback_keys, policy, when, untracked
              or, for all of them, `action` and `with`: the name and the inputs of a well-known action
              (runner.actions.inputs makes params of them)
    ACTION    uses, with (name → template)
    WAIT      steps (keys of background steps that are to end; none: all so far). What they set is known
              from then on, and if one failed, so has this
    CANCEL    steps (keys of background steps that are ended); what they set is known from then on
    """

    key: str
    name: str
    kind: StepKind = StepKind.RUN
    argv: tuple[str, ...] = ()
    script: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    condition: str | None = None
    cwd: str = ""
    timeout_s: float | str | None = None  # a template gives minutes
    continue_on_error: bool | str = False
    templated: bool = False
    commands: bool = (
        False  # stdout is read for workflow commands, and the $GITHUB_* files are read after the step
    )
    section: str = ""  # the log section's name; "" writes none
    hidden: bool = False  # not a Step of its own in views (set-up)
    lane: Lane | None = None
    background: bool = False  # the steps after it do not wait for it; the end of the job does
    retry: StepRetry | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """Which runners a job asks for, while its labels are templates: each text gives one label or a list of
    them. They become tags when one of them is `only_with` (empty: always); those that begin with one of
    `without` never do."""

    texts: tuple[str, ...]
    only_with: str = ""
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """Fields of a job that are templates over its context and `needs`; they are filled in when its gate
    opens, or with its making when they ask for no need. An empty text: that field is final. `prefix` and
    `suffix` are put around the name as they are."""

    name: str = ""
    timeout_minutes: str = ""
    allow_failure: str = ""
    group: str = ""  # of its concurrency
    cancel_in_progress: str = ""
    environment: str = ""
    labels: Labels | None = None
    prefix: str = ""
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """A value that an unfolding job hands to what it makes: a template, or a plain value. `type`: string,
    number or boolean; another is refused."""

    value: Any
    type: str = "string"


@dataclass(frozen=True, slots=True)
class Handed:
    """The only secrets that a job has: templates over the secrets of whoever handed them down, with `facts`
    of that one."""

    values: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unfold:
    """Makes a job that becomes others once its gate is open: the legs of a matrix that is known only then, or
    a part of the graph (`calls`).

    No runner takes such a job: it follows what it has made, ends as that ended, and hands on outputs:
    `outputs` (templates over its context and `jobs.<name>.{result,outputs}`), else those of its legs; of
    equal ones the last that is not empty. `jobs` are what each leg is made of: with `calls` their keys,
    groups and needs are names among themselves, else there is one, with the gate and needs of the job itself.
    `matrix`: a tree whose texts may be templates, or one template; None: one leg. `secrets` None: the same as
    its own. `prefix` (of names) and `most` (jobs of a run) are set by the engine.
    """

    jobs: tuple[JobPlan, ...]
    matrix: Any = None
    fail_fast: bool | str = True
    max_parallel: float | str | None = None
    calls: bool = False
    name: str = ""  # a template for the name of a leg; empty: the job's own and what tells the leg apart
    inputs: Mapping[str, Given] = field(default_factory=dict)
    secrets: Mapping[str, str] | None = None
    outputs: Mapping[str, str] | None = None
    prefix: str = ""
    most: int = 2000


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose unfolding made a job: that job's key, which leg, and the job's name among those of the leg."""

    parent: str
    leg: int
    name: str
    fail_fast: bool = False
    max_parallel: int | None = None


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One node of the graph.

    `key` is unique in its workflow (GitLab: the job's full name); `group` is what needs name (a matrix's base
    name; else equal to key). `outputs` are templates that the runner renders at the end. `binds` and
    Network.HOST: server-made plans only. `late`: places in `context` (dotted paths, e.g. `github.run_id`)
    whose values are facts of claim or runner (`${{ run.id }}`); whoever builds facts lays them over it with
    `syntax.expressions.with_late`.
    """

    key: str
    name: str
    steps: tuple[StepPlan, ...] = ()
    group: str = ""
    stage: str = ""
    stage_index: int = 0
    needs: tuple[Need, ...] = ()
    gate: Gate = Gate()
    variables: tuple[Variable, ...] = ()
    # The fact `job.inputs`, as texts (`job.input_words`: each as one word of a shell); who plays or
    # retries it may give others (`Attempt.extra["inputs"]`).
    inputs: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    image: Image | None = None
    services: tuple[Image, ...] = ()
    tags: tuple[str, ...] = ()
    timeout_s: int | None = None
    after_limit_s: int = 0  # how long steps that run whatever happens may take once the limit is over
    retry: Retry = Retry()
    allow_failure: bool = False
    allow_failure_exit_codes: tuple[int, ...] = ()
    exit_words: Mapping[int, str] = field(default_factory=dict)  # what exit codes tell people
    concurrency: Concurrency | None = None
    interruptible: bool = False
    fail_fast: bool = False  # a failed leg cancels its open siblings of `group`
    fail_run: bool = (
        False  # its failure cancels the rest of the run (set by accept from Plan.cancel_on_failure)
    )
    max_parallel: int | None = None  # of `group`
    network: Network = Network.INTERNET
    binds: tuple[Bind, ...] = ()
    connections: tuple[ConnectionUse, ...] = ()
    identity_tokens: tuple[IdentityToken, ...] = ()
    # Whose commits a CHECKOUT may lay out by `project_id`; server-made plans only.
    other_projects: tuple[int, ...] = ()
    project_variables: bool = False  # the project's own variables join the environment at claim
    protected: bool = (
        False  # its ref is protected (set by accept); a runner for protected refs takes only such jobs
    )
    requeue_lost: bool = True  # may be handed out again when its runner is lost
    builtin_actions: bool = True  # inside actions too, well-known ones are the runner's own steps
    # Where its caches live: it writes the first and reads all, in order (`engine.caches`).
    cache_scopes: tuple[str, ...] = ()
    reads_project: bool = True  # its token may read what a job of the project may
    # What its token may do in its own project, where whoever caused the run may: push; start, stop and retry
    # runs.
    pushes_code: bool = False
    steers_runs: bool = False
    identity: bool = False  # its steps may ask this server for identity tokens
    stock: bool = False  # a stock gitlab-runner can execute it (from `extra["gitlab"]`)
    # What a runner that chooses by labels (`Runner.extra["labels"]`) must all have to take it, as its file
    # can be handed to one; none: it cannot.
    labels: tuple[str, ...] = ()
    coverage: str = ""  # RE2 pattern over the log
    # the least `model.access.Role` whose bearers may fetch its artifacts; jobs that need them always may
    artifacts_from: int = 0
    environment: EnvironmentUse | None = None
    claimable: bool = (
        True  # False: no runner may take it; someone outside begins and concludes it (`engine.outside`)
    )
    bridge: Bridge | None = None  # its work is another run; no steps
    imports: tuple[Import, ...] = ()
    unfold: Unfold | None = None  # its work is jobs that it makes; no steps, not claimable
    origin: Origin | None = None  # set by the engine
    drawn: Drawn | None = None
    secrets: tuple[Handed, ...] = ()  # outermost first; none: all that the project has
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def matrix_group(self) -> str:
        """The name that needs use for this job."""
        return self.group or self.key


@dataclass(frozen=True, slots=True)
class WorkflowPlan:
    """One file's or suite's worth of jobs. `error` is a compile failure that the vendor reports on the run
    itself.

    `awaits`: with no jobs yet it stays waiting until `trigger.extend` brings some or `control.conclude` ends
    it (Datafold's submitted diffs).
    """

    key: str
    name: str = ""
    path: str = ""
    jobs: tuple[JobPlan, ...] = ()
    error: str = ""
    awaits: bool = False
    concurrency: Concurrency | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one accepted trigger will do.

    `supersedes`: what a newer run of the same project, dialect and ref cancels of this one (GitLab
    auto_cancel): "none", "conservative" (all, while nothing uninterruptible has started) or "interruptible"
    (only interruptible jobs). `skipped`: the run is stored, done and skipped.
    """

    workflows: tuple[WorkflowPlan, ...]
    name: str = ""
    supersedes: str = "none"
    cancel_on_failure: bool = False
    skipped: bool = False
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InputArtifact:
    """An artifact that an assignment may read: of its needs, or of its run."""

    id: int
    attempt_id: int
    job_key: str
    job_name: str
    name: str
    filename: str
    size_bytes: int
    blob: str
    from_need: bool  # unpacked by DOWNLOAD from "needs"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a runner receives with a claim: all it needs, nothing to ask later.

    `variables` are rendered and expanded among themselves, in order. A `$X` that names none of them, and
    `$$`, stay as written: the runner, which alone knows its paths (CI_PROJECT_DIR, file variables), passes
    each value that is not raw through `syntax.variables.expand` once more. `masks` are the values that must
    never show in the log.
    """

    attempt_id: int
    attempt_number: int
    job_id: int
    run_id: int
    run_number: int
    project_id: int
    project_path: str
    token: str
    job: JobPlan
    variables: tuple[Variable, ...]
    facts: Mapping[str, Any]
    masks: tuple[str, ...]
    inputs: tuple[InputArtifact, ...]
    ref: str
    sha: str
    before_sha: str
    tag: bool
    repo_url: str  # with no credentials; `{server}/{path}.git`
    timeout_s: int
    lease_s: int
    log_limit_bytes: int
