"""A Trigger: a request that something be run, before we agree. Built by routes, pushes, schedules and the
command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from runyard.model.plan import Variable
from runyard.model.variants import Variant
from runyard.model.work import Project, User


@dataclass(frozen=True, slots=True)
class Commit:
    """A git commit. Times in milliseconds."""

    sha: str
    message: str = ""
    parents: tuple[str, ...] = ()
    author_name: str = ""
    author_email: str = ""
    authored_at: int = 0
    committer_name: str = ""
    committer_email: str = ""
    committed_at: int = 0

    @property
    def title(self) -> str:
        """The first line of the message."""
        return self.message.split("\n", 1)[0]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a plan may say about this server. `url` is the external address without a trailing slash."""

    url: str = "http://localhost"
    version: str = "18.5.0"  # the GitLab version that clients gate features on
    name: str = "GitLab"
    builtin_actions: bool = True  # well-known actions are steps of the runner's own
    needs_per_job: int = 50  # jobs that one job may name as its needs, where a language limits them


class Files(Protocol):
    """The repository at the trigger's commit, as a compiler may see it."""

    def read(self, path: str) -> bytes | None:
        """The file's bytes (≤ 1 MiB, else TooLarge), or None when there is no such file."""

    def paths(self) -> Sequence[str]:
        """Every file's path, sorted."""

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        """Paths that differ from `base` (default: the trigger's before_sha); None when that is unknown."""


class Reach(Protocol):
    """What lies beyond the commit that is compiled, read for the user who asked. Every answer is bounded in
    bytes and time; what cannot be had is a RunyardError whose message can be shown."""

    def tree(self, project: str, ref: str) -> tuple[Files, str] | None:
        """(files, sha) of another project at a ref ("": its default branch). None: no such project for this
        user; NotFound: no such ref."""

    def tags(self, project: str) -> Sequence[str]:
        """Names of a project's tags; none when the project is not for this user."""

    def remote(self, url: str) -> bytes:
        """The body of an http(s) address outside this server's own networks."""

    def template(self, name: str) -> bytes | None:
        """A file that the operator keeps for every project; None when there is no such file."""

    def artifact(self, job: str, path: str) -> bytes | None:
        """A file in the archive of a job of the run that started this one; None when there is no such
        file."""


ZERO_SHA = "0" * 40


@dataclass(frozen=True, slots=True)
class Trigger:
    """`source` is GitLab's pipeline source (push, api, web, trigger, schedule, …); `options` is the dialect's
    own (depot: workflow, content, job, event; looker: suite; datafold: ci_config, pr_number)."""

    project: Project
    dialect: str
    source: str
    ref: str
    sha: str
    actor: User
    now: int
    before_sha: str = ZERO_SHA
    tag: bool = False
    tag_message: str = ""  # of an annotated tag
    commit: Commit = Commit("")
    variables: tuple[Variable, ...] = ()
    project_variables: tuple[Variable, ...] = ()
    variants: tuple[
        Variant, ...
    ] = ()  # of `vars.X`; which one holds depends on the workflow and the environment
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    server: ServerFacts = ServerFacts()
    idempotency_key: str = ""
    reach: Reach | None = None  # None: nothing but the repository can be read


@dataclass(frozen=True, slots=True)
class Push:
    """One ref that a push moved. `after` is ZERO_SHA for a deletion."""

    project: Project
    actor: User
    ref: str  # short name
    tag: bool
    before: str
    after: str
    options: tuple[str, ...] = ()
    tags_at_once: int = 0  # tags that the same push created or moved
    key: str = ""  # the same when it is told again, which must start nothing twice; "": it is told once
