"""A workflow file as it was read: typed, located, nothing rendered yet. Made by `read`, used by `build` and `triggers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runyard.dialects.depot.workflow.nodes import Text
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Mark


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
    """`container` of a job."""

    image: Text
    env: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepDoc:
    """One step: exactly one of `run` and `uses`."""

    at: Mark
    id: str = ""
    name: Text | None = None
    condition: Text | None = None
    run: Text | None = None
    uses: Text | None = None
    inputs: Mapping[str, Text] = field(default_factory=dict)
    env: Mapping[str, Text] = field(default_factory=dict)
    shell: Text | None = None
    cwd: Text | None = None
    timeout_minutes: float | Text | None = None
    continue_on_error: bool | Text = False


@dataclass(frozen=True, slots=True)
class JobDoc:
    """One job of the file."""

    id: str
    at: Mark
    name: Text | None = None
    needs: tuple[Text, ...] = ()
    condition: Text | None = None
    runs_on: tuple[Text, ...] = ()
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
    steps: tuple[StepDoc, ...] = ()


@dataclass(frozen=True, slots=True)
class InputDoc:
    """One input of workflow_dispatch."""

    name: str
    type: str = "string"
    required: bool = False
    default: Text | None = None
    options: tuple[str, ...] = ()


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
class Triggers:
    """`on`: which events, with what is served of their configuration."""

    events: frozenset[str] = frozenset()
    push: PushFilter = PushFilter()
    inputs: Mapping[str, InputDoc] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkflowDoc:
    """One file."""

    path: str
    at: Mark
    name: str = ""
    run_name: Text | None = None
    triggers: Triggers = Triggers()
    env: Mapping[str, Text] = field(default_factory=dict)
    defaults: Defaults = Defaults()
    concurrency: ConcurrencyDoc | None = None
    jobs: Mapping[str, JobDoc] = field(default_factory=dict)
