"""A workflow file as it was read: typed, located, nothing rendered yet. Made by `read`, used by `build` and
`triggers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from runyard.dialects.depot.workflow.nodes import Text
from runyard.model.plan import Lane, StepKind, StepRetry
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Mark

Permissions: TypeAlias = Mapping[str, str]
"""Scope → read, write or none; `*` stands for those that are not named."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """`defaults.run`."""

    shell: Text | None = None
    cwd: Text | None = None

    def under(self, outer: Defaults) -> Defaults:
        """These, and the outer ones where these are silent."""
        return Defaults(self.shell or outer.shell, self.cwd or outer.cwd)


@dataclass(frozen=True, slots=True)
class ConcurrencyDoc:
    """`concurrency` of a workflow or a job."""

    group: Text
    cancel_in_progress: bool | Text = False
    queue_all: bool = False


@dataclass(frozen=True, slots=True)
class ContainerDoc:
    """`container` of a job, or one of its `services`. `ports` and `volumes` as written; `options` is text for
    a container engine's command line."""

    image: Text
    env: Mapping[str, Text] = field(default_factory=dict)
    ports: tuple[Text, ...] = ()
    volumes: tuple[Text, ...] = ()
    options: Text | None = None
    username: Text | None = None
    password: Text | None = None
    entrypoint: Text | None = None
    command: Text | None = None


@dataclass(frozen=True, slots=True)
class EnvironmentDoc:
    """`environment` of a job."""

    name: Text
    url: Text | None = None


@dataclass(frozen=True, slots=True)
class RunsOn:
    """`runs-on`: labels, and what the object forms add. `group` names runners too; `image` is Depot's."""

    labels: tuple[Text, ...] = ()
    group: Text | None = None
    size: Text | None = None
    image: Text | None = None


@dataclass(frozen=True, slots=True)
class Argument:
    """A value that a caller hands to an input: a text, or a plain value of YAML."""

    value: Any
    at: Mark

    @property
    def text(self) -> Text:
        """As a text."""
        return Text(self.value if isinstance(self.value, str) else "", self.at)


@dataclass(frozen=True, slots=True)
class CallDoc:
    """`uses` of a job: which workflow it calls, and with what. `secrets` None: it hands down all that it
    has."""

    uses: Text
    inputs: Mapping[str, Argument] = field(default_factory=dict)
    secrets: Mapping[str, Text] | None = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ControlDoc:
    """A step that only waits for, or cancels, steps in the background. `targets` None: all of them."""

    kind: StepKind
    targets: tuple[Text, ...] | None = None


@dataclass(frozen=True, slots=True)
class StepDoc:
    """One step: exactly one of `run`, `uses` and `control`."""

    at: Mark
    id: str = ""
    name: Text | None = None
    condition: Text | None = None
    run: Text | None = None
    uses: Text | None = None
    control: ControlDoc | None = None
    background: bool = False
    inputs: Mapping[str, Text] = field(default_factory=dict)
    env: Mapping[str, Text] = field(default_factory=dict)
    shell: Text | None = None
    cwd: Text | None = None
    timeout_minutes: float | Text | None = None
    continue_on_error: bool | Text = False
    retry: StepRetry | None = None
    lane: Lane | None = None


@dataclass(frozen=True, slots=True)
class JobDoc:
    """One job of the file."""

    id: str
    at: Mark
    name: Text | None = None
    needs: tuple[Text, ...] = ()
    condition: Text | None = None
    runs_on: RunsOn = RunsOn()
    matrix: yamltree.Node | None = None
    fail_fast: bool | Text = True
    max_parallel: float | Text | None = None
    env: Mapping[str, Text] = field(default_factory=dict)
    outputs: Mapping[str, Text] = field(default_factory=dict)
    defaults: Defaults = Defaults()
    timeout_minutes: float | Text | None = None
    continue_on_error: bool | Text = False
    concurrency: ConcurrencyDoc | None = None
    container: ContainerDoc | None = None
    services: Mapping[str, ContainerDoc] = field(default_factory=dict)
    environment: EnvironmentDoc | None = None
    permissions: Permissions | None = None
    call: CallDoc | None = None
    steps: tuple[StepDoc, ...] = ()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """`types` and filters of an event other than push; None where a kind is not given."""

    types: tuple[str, ...] | None = None
    branches: tuple[str, ...] | None = None
    branches_ignore: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    paths_ignore: tuple[str, ...] | None = None
    workflows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleDoc:
    """One entry of `on.schedule`."""

    cron: str
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class InputDoc:
    """One input of workflow_dispatch or workflow_call."""

    name: str
    type: str = "string"
    required: bool = False
    default: Text | None = None
    options: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class PushFilter:
    """Filters of `on.push`; None where a kind is not given."""

    branches: tuple[str, ...] | None = None
    branches_ignore: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    tags_ignore: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    paths_ignore: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Callable:
    """`on.workflow_call`: what a caller may and must hand over, and what it gets. `secrets`: name → whether
    it is required."""

    inputs: Mapping[str, InputDoc] = field(default_factory=dict)
    secrets: Mapping[str, bool] = field(default_factory=dict)
    outputs: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Triggers:
    """`on`: which events, with what is served of their configuration."""

    events: frozenset[str] = frozenset()
    push: PushFilter = PushFilter()
    inputs: Mapping[str, InputDoc] = field(default_factory=dict)
    call: Callable = Callable()
    filters: Mapping[str, EventFilter] = field(default_factory=dict)  # of the other events
    schedules: tuple[ScheduleDoc, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowDoc:
    """One file."""

    path: str
    at: Mark
    on: yamltree.Node | None = None  # as it was written, for `lint`
    name: str = ""
    run_name: Text | None = None
    triggers: Triggers = Triggers()
    env: Mapping[str, Text] = field(default_factory=dict)
    defaults: Defaults = Defaults()
    concurrency: ConcurrencyDoc | None = None
    permissions: Permissions | None = None
    jobs: Mapping[str, JobDoc] = field(default_factory=dict)
