"""What a `.gitlab-ci.yml` says, as values: one frozen spec per keyword. Made by the readers, used by rules,
graph and plan makers.

A spec is what was written after `extends`, `!reference` and defaults; nothing is decided yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runyard.dialects.gitlab.config.expression import Expression
from runyard.dialects.gitlab.config.inputs import InputSpec
from runyard.syntax.yamltree import Mark


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """A YAML variable; `raw` is `expand: false`."""

    text: str
    raw: bool = False


Variables = Mapping[str, VariableSpec]


@dataclass(frozen=True, slots=True)
class Paths:
    """`changes` or `exists`: globs, and for changes the ref to compare with."""

    globs: tuple[str, ...]
    at: Mark
    compare_to: str | None = None
    project: str | None = None  # exists: in another project
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class AllowFailure:
    """`allow_failure`: a plain answer, or the exit codes that are allowed."""

    always: bool = False
    exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NeedSpec:
    """One element of `needs`; `matrix` picks legs of a parallel job."""

    job: str
    at: Mark
    artifacts: bool = True
    optional: bool = False
    matrix: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ForeignNeed:
    """A need whose artifacts come from another pipeline: of another project at a ref, or of a pipeline named
    by its id."""

    job: str
    at: Mark
    project: str = ""
    ref: str = ""
    pipeline: str = ""
    artifacts: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """`trigger`, or a job that shows another project's pipeline (`upstream`). `include` and `inputs` are
    plain values."""

    at: Mark
    project: str = ""
    branch: str = ""
    include: tuple[Any, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    strategy: str = ""
    forward_yaml: bool = True
    forward_pipeline: bool = False
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class IdTokenSpec:
    """One of `id_tokens`."""

    name: str
    audience: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; clauses that are None hold."""

    at: Mark
    condition: Expression | None = None
    changes: Paths | None = None
    exists: Paths | None = None
    when: str | None = None
    start_in_s: int | None = None
    allow_failure: AllowFailure | None = None
    variables: Variables = field(default_factory=dict)
    needs: tuple[NeedSpec, ...] | None = None
    interruptible: bool | None = None
    auto_cancel: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """`only` or `except`; a key that is None was not given. `kubernetes`: asks for a cluster, and there never
    is one."""

    refs: tuple[str, ...] | None = None
    kubernetes: bool = False
    conditions: tuple[Expression, ...] | None = None
    changes: Paths | None = None


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """`image` or one of `services`."""

    name: str
    at: Mark
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    alias: str | None = None
    executor_opts: Mapping[str, Any] = field(default_factory=dict)
    pull_policy: tuple[str, ...] | None = None
    variables: Variables = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArtifactsSpec:
    """`artifacts`; reports are (type, paths)."""

    name: str | None = None
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    untracked: bool = False
    when: str = "on_success"
    expire_in: str | None = None
    expire_in_s: int | None = None
    expose_as: str | None = None
    access: str = "all"
    reports: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """One cache. `files` and `prefix` are the hashed form of a key."""

    at: Mark
    key: str | None = None
    files: tuple[str, ...] = ()
    prefix: str | None = None
    paths: tuple[str, ...] = ()
    untracked: bool = False
    policy: str = "pull-push"
    when: str = "on_success"
    unprotect: bool = False
    fallback_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrySpec:
    max: int = 0
    when: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    name: str
    url: str | None = None
    action: str = "start"
    on_stop: str | None = None
    auto_stop_in: str | None = None
    auto_stop_s: int | None = None
    deployment_tier: str | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A visible job."""

    name: str
    at: Mark
    stage: str
    stage_at: Mark
    script: tuple[str, ...] = ()
    before_script: tuple[str, ...] = ()
    after_script: tuple[str, ...] = ()
    pre_get_sources: tuple[str, ...] = ()
    image: ImageSpec | None = None
    services: tuple[ImageSpec, ...] = ()
    variables: Variables = field(default_factory=dict)
    inherit_variables: bool | frozenset[str] = True
    tags: tuple[str, ...] = ()
    rules: tuple[Rule, ...] | None = None
    only: Policy | None = None
    except_: Policy | None = None
    when: str | None = None
    start_in_s: int | None = None
    allow_failure: AllowFailure | None = None
    needs: tuple[NeedSpec, ...] | None = None
    foreign: tuple[ForeignNeed, ...] = ()
    trigger: TriggerSpec | None = None
    id_tokens: tuple[IdTokenSpec, ...] = ()
    dependencies: tuple[str, ...] | None = None
    dependencies_at: Mark | None = None
    artifacts: ArtifactsSpec | None = None
    cache: tuple[CacheSpec, ...] = ()
    retry: RetrySpec = RetrySpec()
    timeout_s: int | None = None
    interruptible: bool = False
    resource_group: str | None = None
    parallel: int | tuple[Mapping[str, str], ...] | None = None
    coverage: str | None = None
    environment: Environment | None = None
    manual_confirmation: str | None = None
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    run: tuple[Any, ...] = ()  # steps that need GitLab's step-runner


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    name: str | None = None
    rules: tuple[Rule, ...] | None = None
    on_new_commit: str = "conservative"
    on_job_failure: str = "none"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, read and free of errors that a reader can see."""

    at: Mark
    stages: tuple[str, ...]
    jobs: Mapping[str, JobSpec]
    variables: Variables = field(default_factory=dict)
    workflow: WorkflowSpec = WorkflowSpec()
