"""What every dialect and page gets from app: the ports, the settings, the clock, and the two joint acts (who are you, start a run)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runyard.engine.ports import Bell, Blobs, Clock, Database, Source, Vault
from runyard.engine.terms import Terms
from runyard.model.plan import Variable
from runyard.model.trigger import Files, ServerFacts
from runyard.model.work import Attempt, Project, Run, Token, User
from runyard.settings import Settings


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a user by personal or session token, or a job by its job token (`attempt` set; may read its project, nothing else)."""

    user: User
    token: Token | None = None
    attempt: Attempt | None = None

    @property
    def is_job(self) -> bool:
        """Whether a running job asks."""
        return self.attempt is not None

    def may_see(self, project: Project) -> bool:
        """Public projects are for everyone; others for people with a token, and for jobs of the same project."""
        if project.visibility == "public":
            return True
        return self.attempt.project_id == project.id if self.attempt else True


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A request to run something now, as a route knows it. `ref` None means the default branch; `files` overrides the repository (inline content)."""

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


class Start(Protocol):
    """Resolves the ref, compiles, accepts. Raises Invalid (located), NotFound (ref), Conflict."""

    def __call__(self, request: RunRequest) -> Awaitable[Run]: ...


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
    words: Callable[[str], Any]  # dialect name -> its Words, for showing other dialects' runs
    sign: Callable[[str, int], str]  # (text, expires_at) -> signature, for links that need no header
