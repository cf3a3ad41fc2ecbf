"""The runner protocol as a runner sees it: what it asks of the server, in-process (`local.py`) or over HTTP
(`remote.py`).

The same verbs as `engine/dispatch.py`, each safe to repeat. Called from slot threads; every method blocks
unless it answers a Future. While the server or its database is away a line repeats what it was asked, for
`PATIENCE_S`; then it says Away, and the job is not judged but given back.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from runyard.engine.dispatch import Finish, Verdict
from runyard.model.plan import Assignment, InputArtifact
from runyard.model.usage import Sample
from runyard.model.work import Step

# Longer than a lease: a server or a database that was away gives every lease anew when it is back, so only
# its word ends a job, never its silence.
PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What the server said to log bytes."""

    verdict: Verdict
    accepted: bool
    size: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """An artifact about to be sent. `expires` is whether `expire_in_s` was given; None then means never."""

    name: str
    type: str
    format: str
    filename: str
    expires: bool = False
    expire_in_s: int | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Sought:
    """A cache entry that a job looks for (`engine.caches.Wanted`)."""

    key: str
    version: str
    restore_keys: tuple[str, ...] = ()
    look_only: bool = False


@dataclass(frozen=True, slots=True)
class Door:
    """A server's address."""

    host: str
    port: int
    secure: bool = False


class Link(Protocol):
    """One runner's line to its server."""

    def claim(self) -> Assignment | None:
        """Waits for an assignment; None when the line was closed. One thread at a time really waits."""

    def log(self, work: Assignment, offset: int, data: bytes) -> Future[Taken]:
        """Sends log bytes; in order."""

    def step(self, work: Assignment, row: Step) -> None:
        """Notes how a step goes; does not wait."""

    def usage(self, work: Assignment, samples: Sequence[Sample]) -> None:
        """Keeps what the job used; does not wait."""

    def watch(self, work: Assignment) -> Verdict:
        """Waits for a word about this attempt and keeps its lease meanwhile; answers at least every few
        seconds."""

    def upload(self, work: Assignment, parcel: Parcel, file: Path) -> int:
        """Stores an artifact and answers its number. Conflict when another of that name exists, TooLarge
        beyond the limit."""

    def artifacts(self, work: Assignment) -> tuple[InputArtifact, ...]:
        """The run's artifacts as they are now, those of this very job too."""

    def action(self, work: Assignment, repository: str, ref: str) -> tuple[str, BinaryIO]:
        """(commit, zip of its tree) of an action's repository. NotFound, Invalid, Forbidden or
        Unavailable."""

    def cache_find(self, work: Assignment, sought: Sought) -> tuple[str, BinaryIO | None] | None:
        """(matched key, archive) of a cache entry that the job may read; no archive when it only looks. None
        when there is none."""

    def cache_keep(self, work: Assignment, key: str, version: str, file: Path) -> bool:
        """Keeps an archive in the job's own scope; False when the key is taken, which leaves it as it is."""

    def door(self) -> Door | None:
        """Where this server takes requests, as seen from this machine; None when it takes none."""

    def open(self, work: Assignment, given: InputArtifact) -> BinaryIO:
        """A readable, seekable file of an artifact the assignment names. NotFound when it is gone."""

    def checkout(self, work: Assignment, sha: str, ref: str, depth: int, into: Path) -> str:
        """Lays a commit out in `into` (empty); `sha` empty: what `ref` means now. Answers the commit's
        sha."""

    def finish(self, work: Assignment, end: Finish) -> None:
        """The last word; waits until the server has it. Quiet when the attempt is no longer ours."""

    def finish_if_whole(self, work: Assignment, end: Finish) -> bool:
        """The same while log bytes may still be on their way: False, and nothing has happened, unless all of
        `end.log_bytes` arrived before."""

    def give_back(self, work: Assignment) -> None:
        """Returns the attempt unharmed."""

    def close(self) -> None:
        """Ends every waiting `claim`."""
