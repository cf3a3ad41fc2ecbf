"""What the engine asks of the world: Tx (one transaction), Database, Bell, Blobs, Source, Vault.

Adapters in store/, blobs/, sources/ keep these promises; app.py joins them. Each port has a conformance suite
in tests/.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from runyard.model.listing import Brief, Card, Listed, ListedArtifact
from runyard.model.state import Outcome, State
from runyard.model.trigger import Commit, Files
from runyard.model.work import (
    Artifact,
    Attempt,
    Connection,
    Deployment,
    Environment,
    Group,
    Job,
    Member,
    Project,
    Record,
    Run,
    Runner,
    SecretVariable,
    Step,
    Token,
    User,
    Workflow,
)

Row = (
    Artifact
    | Attempt
    | Connection
    | Deployment
    | Environment
    | Group
    | Job
    | Member
    | Project
    | Record
    | Run
    | Runner
    | SecretVariable
    | Step
    | Token
    | User
    | Workflow
)
R = TypeVar("R", bound=Row)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """A window on a list ordered by id. `after_id` is a keyset bound (exclusive); `offset` is for vendors
    that page by number."""

    limit: int = 20
    offset: int = 0
    after_id: int | None = None
    descending: bool = True


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs. Empty tuples and None mean no condition; `wanted` pairs are (state, outcome) with None for
    any outcome."""

    project_id: int | None = None
    dialect: str | None = None
    wanted: tuple[tuple[State, Outcome | None], ...] = ()
    ref: str | None = None
    sha_prefix: str | None = None
    source: str | None = None
    not_source: str | None = None
    tag: bool | None = None
    updated_after_at: int | None = None
    updated_before_at: int | None = None
    created_after_at: int | None = None
    created_before_at: int | None = None


@dataclass(frozen=True, slots=True)
class AttemptFilter:
    """Which attempts, joined with their jobs."""

    project_id: int | None = None
    run_id: int | None = None
    job_id: int | None = None
    runner_id: int | None = None
    wanted: tuple[tuple[State, Outcome | None], ...] = ()
    latest_only: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactFilter:
    """Which artifacts."""

    run_id: int | None = None
    attempt_id: int | None = None
    attempt_ids: tuple[int, ...] = ()
    project_id: int | None = None
    type: str | None = None
    name: str | None = None
    expired_before_at: int | None = None


@dataclass(slots=True)
class Kept:
    """What the only writer of a store keeps of a run between its transactions: what the engine read (`board`,
    of `size` jobs), and latest attempts by job id: those that were saved since, and all as they are `stored`,
    for the store to see what a row changes."""

    board: Any = None
    size: int = 0
    saved: dict[int, Attempt] = field(default_factory=dict)
    stored: dict[int, Attempt] = field(default_factory=dict)
    is_lent: bool = False  # to a verb that has not finished with it


class Tx(Protocol):
    """One transaction. Reads see its own writes. Everything commits together or not at all."""

    # any row
    def add(self, row: R) -> R:
        """Insert; a row with id 0 comes back with its id. Conflict when a unique key is taken."""

    def add_all(self, rows: Sequence[R]) -> list[R]:
        """Insert many rows of one kind, ids ascending in the given order."""

    def get(self, kind: type[R], id: int) -> R | None:
        """The row by primary key."""

    def save(self, row: R) -> None:
        """Write every column of an existing row (Step: upsert by attempt and position)."""

    def remove(self, kind: type[R], id: int) -> None:
        """Delete by primary key, with everything that hangs on it; nothing happens when it is not there."""

    # who and where
    def project_by_path(self, path: str) -> Project | None: ...
    def projects(self, search: str, page: Page, person: User | None = None, now: int = 0) -> list[Project]:
        """By part of the path or name; with a person only what that person may see."""

    def find(self, kind: type[R], page: Page, **equal: Any) -> list[R]:
        """Rows whose columns equal these (None: is null), by id; for nouns of which there are few, by a
        column that has an index."""

    def group_by_path(self, path: str) -> Group | None: ...
    def memberships(self, user_id: int, now: int) -> list[tuple[int | None, str | None, int]]:
        """(project id, group path in lower case, level) of memberships that have not expired; one of the
        first two is set."""

    def auto_stops(self, now: int, limit: int) -> list[Environment]:
        """Environments whose time to stop has come."""

    def next_number(self, project_id: int) -> int:
        """Counts the project's runs up by one and returns the new number."""

    def user_by_name(self, username: str) -> User | None: ...
    def token_by_hash(self, hash: str) -> Token | None: ...
    def tokens_of(self, user_id: int) -> list[Token]: ...
    def runner_by_hash(self, token_hash: str) -> Runner | None: ...
    def runners(self, page: Page) -> list[Runner]: ...
    def connections(self) -> list[Connection]: ...
    def secret_variables(self, project_id: int | None) -> list[SecretVariable]:
        """Of the instance, of the groups above the project (outermost first), of the project; None: of the
        instance only."""

    def records(self, kind: str, project_id: int | None, key: str | None, page: Page) -> list[Record]:
        """Of a kind; project_id None and key None mean any."""

    # runs
    def run_by_idempotency(self, project_id: int, key: str) -> Run | None: ...
    def runs(self, filter: RunFilter, page: Page) -> list[Run]: ...
    def count_runs(self, filter: RunFilter) -> int:
        """At most 10,001: more is never shown (GitLab stops counting there)."""

    def workflows(self, run_id: int) -> list[Workflow]: ...
    def graph(self, run_id: int) -> list[tuple[Job, Attempt]]:
        """Every job of the run with its latest attempt, in position order."""

    def kept(self, run_id: int) -> Kept | None:
        """The run's place for what the engine reads again and again. None to readers, where others may write
        too (PostgreSQL), and when this transaction has asked before. It is empty after a transaction on the
        run has failed, a job was added or anything was removed."""

    def attempts(self, filter: AttemptFilter, page: Page) -> list[tuple[Job, Attempt]]:
        """Attempts with their jobs, by attempt id."""

    def listed(self, filter: AttemptFilter, page: Page) -> list[Listed]:
        """The same attempts, as narrow as lists want them; takes no lock, so nothing may be decided by
        them."""

    def listed_one(self, attempt_id: int) -> Listed | None: ...
    def briefs(self, run_id: int) -> list[Brief]:
        """All attempts of a run by id, narrower still. One that has not changed may be the same object as
        last time."""

    def cards(self, filter: AttemptFilter, page: Page) -> list[Card]:
        """The same attempts by their cards."""

    def undrawn(self, limit: int) -> list[Listed]:
        """DONE attempts without a card, the newest first."""

    def draw(self, attempt_id: int, card: bytes) -> None:
        """Keeps the card until anything is written that lists show of the attempt: itself, its artifacts, its
        job. What they show of others (the run, people, runners) may change any time and has no place in a
        card; ref, tag and source of a run never do."""

    def listed_artifacts(self, attempt_ids: Sequence[int]) -> list[ListedArtifact]:
        """Of a few attempts, by attempt, then by id."""

    def steps(self, attempt_id: int) -> list[Step]: ...

    # queue: one row per QUEUED attempt, apart from history
    def enqueue(self, attempt: Attempt, job: Job) -> None:
        """Puts a QUEUED attempt where claims look (tags, project, protected, stock from the job's plan)."""

    def dequeue(self, attempt_id: int) -> None: ...
    def next_queued(self, runner: Runner) -> int | None:
        """The queued attempt id this runner should take: for a runner of the instance of the project with the
        fewest jobs on such runners, then the oldest. Two concurrent claims never get the same (SKIP LOCKED on
        PostgreSQL). Cost does not grow with the queue's length."""

    # time
    def due(self, now: int, limit: int) -> list[Attempt]:
        """DELAYED holds whose time has come, leases and deadlines that have run out, in that order of id."""

    def next_due_at(self) -> int | None:
        """The earliest moment `due` will answer something new."""

    def queued_before(self, at: int, limit: int) -> list[Attempt]:
        """QUEUED attempts older than `at` (stuck)."""

    def in_group(self, project_id: int, group: str, upcoming: bool = False) -> list[tuple[Job, Attempt]]:
        """Open attempts (HELD for concurrency, QUEUED, RUNNING, STOPPING) of a concurrency group, oldest
        first; `upcoming`: also those WAITING or delayed, which have yet to ask for it."""

    def group_heads(
        self, project_id: int, group: str
    ) -> tuple[tuple[Job, Attempt] | None, tuple[Job, Attempt] | None]:
        """Of a concurrency group: the oldest member that is QUEUED, RUNNING or STOPPING, and the oldest that
        is HELD for it."""

    # log chunks (unsealed)
    def append_log(self, attempt_id: int, offset: int, data: bytes, at: int | None = None) -> None:
        """`at`: when the bytes arrived."""

    def log_times(self, attempt_id: int, start: int, end: int) -> list[tuple[int, int]]:
        """(offset, when it arrived) of the chunks that hold bytes [start, end), where it is known, in
        order."""

    def log_chunks(self, attempt_id: int, start: int, limit_bytes: int) -> list[tuple[int, bytes]]:
        """(offset, bytes) of chunks that reach beyond `start`, in order, until the limit is met (at least
        one)."""

    def drop_log(self, attempt_id: int) -> None: ...
    def unsealed(self, limit: int, after_id: int = 0) -> list[Attempt]:
        """DONE attempts that still have chunks, by id."""

    # what attempts used of the machine (`model.usage`)
    def append_samples(self, attempt_id: int, at: int, data: bytes) -> None:
        """A batch of packed samples, the first of them at `at`; a repeat changes nothing, and neither does
        the ten-thousandth."""

    def samples(self, attempt_id: int) -> list[bytes]:
        """All batches, in order."""

    # artifacts
    def artifacts(self, filter: ArtifactFilter, page: Page) -> list[Artifact]: ...
    def newest_archive(self, project_id: int, ref: str, job_name: str) -> Artifact | None:
        """The archive of that job in the newest PASSED run of the ref."""

    def blobs_in_use(self, keys: Sequence[str]) -> set[str]: ...

    # secrets at rest
    def reseal(self, renew: Callable[[str], str | None]) -> int:
        """Puts `renew(sealed)` in the place of every text that a vault sealed; None leaves one as it is.
        Answers how many were renewed."""

    def ring(self, topic: str) -> None:
        """After commit, wake who listens to the topic ("queue", "run:<id>", "attempt:<id>", "runs";
        "verdict:<attempt id>" when the attempt is no longer simply running: what its runner must hear)."""


class Database(Protocol):
    """Transactions for everyone. Handlers await `read`/`write`; threads use the futures."""

    def version(self) -> int | None:
        """Differs after every commit, before that commit is acknowledged to anyone; None where only the
        database could tell (PostgreSQL)."""

    def submit_read(self, work: Callable[[Tx], T]) -> Future[T]: ...
    def submit_write(self, work: Callable[[Tx], T]) -> Future[T]:
        """Runs `work` in one write transaction; the future is done only once the commit is durable. May group
        several works in one durable commit, each in its own savepoint."""

    def read(self, work: Callable[[Tx], T]) -> Awaitable[T]: ...
    def glance(self, work: Callable[[Tx], T]) -> Awaitable[T]:
        """As `read`, for a few rows found by an index: where that takes less than a hop to a thread (a local
        file) it is done on the event loop."""

    def write(self, work: Callable[[Tx], T]) -> Awaitable[T]: ...
    def append(self, work: Callable[[Tx], T], size_bytes: int) -> Awaitable[T]:
        """As `write`, for work that adds so many bytes to a log and mostly no more: where a file of the log
        makes them durable, that is all that is waited for. What else it writes is as durable as ever."""

    def close(self) -> None: ...


class Bell(Protocol):
    """ "Something changed, look again." Carries no truth; a lost ring may delay, never lose.

    Read `version(topic)` first, then the database, then wait: no change can slip between.
    """

    def ring(self, topics: Iterable[str]) -> None: ...
    def version(self, topic: str) -> int: ...
    def wait(self, topic: str, seen: int, timeout_s: float) -> int:
        """Blocks the thread until the topic's version differs from `seen` or time is up; returns the
        version."""

    def changed(self, topic: str, seen: int, timeout_s: float) -> Awaitable[int]:
        """The same for the event loop. Unavailable once the bell is closed."""

    def close(self) -> None:
        """The server stops: nobody waits any longer, nor again."""


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Where bytes lie. `key` is opaque to everyone but the store."""

    key: str
    size_bytes: int
    sha256: str


class Blobs(Protocol):
    """Immutable bytes. `put` returns only when they are durable; a row is written after it."""

    def put(self, chunks: Iterable[bytes], limit_bytes: int | None = None) -> BlobRef:
        """TooLarge beyond the limit; nothing remains of a failed put."""

    def put_file(self, path: Path, sha256: str = "") -> BlobRef:
        """Takes the file over. `sha256`: known already, from its writer's own hand."""

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes [start, end); NotFound when the key is unknown."""

    def seekable(self, key: str) -> BinaryIO:
        """A read-only seekable file over the blob (zip directories)."""

    def local_path(self, key: str) -> Path | None:
        """The file itself where blobs are local (fast copies), else None."""

    def link(self, key: str, for_s: int) -> str | None:
        """An address at which anyone may read the blob for so many seconds; None where there is none but
        ours."""

    def delete(self, key: str) -> None: ...
    def walk(self) -> Iterator[tuple[str, int]]:
        """Every key with its last change in milliseconds."""


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One ref moved by a push; full ref name."""

    ref: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one file in a commit: create, update, delete, move (from `previous_path`; None keeps the
    content) or chmod."""

    action: str
    path: str
    content: bytes | None = None
    previous_path: str = ""
    executable: bool = False


class Source(Protocol):
    """Git repositories by project id. Raises NotFound for unknown refs, Invalid for hostile names,
    Unavailable when git fails."""

    def create(self, project_id: int, default_branch: str) -> None: ...
    def mirror(self, project_id: int, url: str) -> str:
        """Fetches everything from `url` (again); returns the default branch."""

    def mirror_public(self, project_id: int, url: str) -> str:
        """The same, for those who may not name this machine or its networks; Forbidden when the address turns
        out to be there."""

    def remove(self, project_id: int) -> None: ...
    def resolve(self, project_id: int, ref: str) -> tuple[Commit, str, bool]:
        """(commit, short ref name, is a tag) for a branch, tag, `refs/…`, HEAD or sha."""

    def commit(self, project_id: int, sha: str) -> Commit: ...
    def stats(self, project_id: int, sha: str) -> tuple[int, int] | None:
        """Lines that a commit added to its first parent, and deleted; None where it touches too many files to
        count."""

    def commits(self, project_id: int, ref: str, limit: int, skip: int = 0) -> list[Commit]:
        """History of a ref, newest first."""

    def commit_edits(
        self,
        project_id: int,
        branch: str,
        start: str,
        edits: Sequence[Edit],
        message: str,
        name: str,
        email: str,
        now: int,
    ) -> RefUpdate:
        """A commit on a branch, made where it is not there (from `start`). Conflict when someone else moved
        the branch meanwhile."""

    def make_ref(self, project_id: int, name: str, start: str) -> RefUpdate:
        """A branch or lightweight tag by its full name. Conflict when it is there."""

    def make_tag(
        self, project_id: int, name: str, start: str, message: str, tagger: str, email: str, now: int
    ) -> RefUpdate: ...
    def drop_ref(self, project_id: int, name: str) -> RefUpdate: ...
    def merge_base(self, project_id: int, one: str, other: str) -> str | None:
        """The best common ancestor of two commits."""

    def branches(self, project_id: int) -> list[tuple[str, Commit]]: ...
    def tags(self, project_id: int) -> list[tuple[str, Commit]]: ...
    def annotation(self, project_id: int, tag: str) -> tuple[str, int | None, str]:
        """(message, when it was made in milliseconds, its own id) of a tag; ("", None, "") when it carries
        none. NotFound: there is no such tag."""

    def default_branch(self, project_id: int) -> str | None: ...
    def set_default_branch(self, project_id: int, branch: str) -> None:
        """Where HEAD leads, for clones and the next push; the branch need not exist yet."""

    def files(self, project_id: int, sha: str, before_sha: str | None = None) -> Files: ...
    def keep(self, project_id: int, run_id: int, sha: str) -> None:
        """refs/pipelines/<run_id>, so that a force-push cannot take a queued run's commit away."""

    def unkeep(self, project_id: int, run_id: int) -> None: ...
    def patched(self, project_id: int, sha: str, patch: bytes) -> str:
        """The sha of a commit on top of `sha` with that git patch applied (the same patch gives the same
        commit). Invalid when it does not apply."""

    def merged(self, project_id: int, base: str, head: str, message: str) -> str | None:
        """The sha of a commit that merges `head` into `base` (the same two give the same commit); None when
        they conflict."""

    def checkout(self, project_id: int, sha: str, ref: str, depth: int, into: Path) -> None:
        """Lays the commit out in an existing empty or earlier checked-out folder, with a `.git` that works
        offline. Owned by the caller's uid."""

    def git_dir(self, project_id: int) -> Path: ...


class Actions(Protocol):
    """Repositories of actions, elsewhere."""

    def tree(self, repository: str, ref: str) -> tuple[str, BinaryIO]:
        """(commit, zip of its tree) of `owner/name` at a branch, tag or commit; the caller closes it.
        NotFound, Invalid, Forbidden (switched off) or Unavailable."""


Sign = Callable[[Tx, Mapping[str, Any]], str]
"""Claims → a compact JSON Web Token under this server's key (`http.identity`)."""


class Vault(Protocol):
    """Secrets at rest."""

    def seal(self, text: str) -> str: ...
    def open(self, sealed: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A process that a person wants beside a running job. No argv: a shell. `rows` and `columns` of a
    terminal; without (0) there are three pipes. `cwd` empty: the workspace."""

    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    rows: int = 0
    columns: int = 0
    stdin: bool = True


class Visit(Protocol):
    """That process. Descriptors are ours, non-blocking, and close with `close`: a terminal is `stdin` and
    `stdout` in one, and has no stderr."""

    stdin: int | None
    stdout: int
    stderr: int | None

    def resize(self, rows: int, columns: int) -> None:
        """The terminal's window."""

    def shut_stdin(self) -> None:
        """No more will be written."""

    def wait(self, timeout_s: float) -> int | None:
        """The exit code (128 + n for a signal), or None when time is up. What the process was refused for,
        when it never began."""

    def close(self) -> None:
        """Ends it with all its processes."""


class Visits(Protocol):
    """Processes beside running jobs, for people who look into them."""

    def open(self, attempt_id: int, wanted: Wanted, by: str) -> Visit:
        """Conflict when its sandbox cannot be entered (yet). The job's log says who came."""


Clock = Callable[[], int]
"""Milliseconds since the epoch, UTC."""

JsonObject = dict[str, Any]
