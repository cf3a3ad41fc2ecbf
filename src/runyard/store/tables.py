"""The schema: one table per row kind of model/work.py, plus the queue and the unsealed log. Called by
schema.py and the migrations.

Rules that must hold whatever the code does are CHECKs and unique indexes here. Columns carry the names of the
dataclass fields (tests/store/test_rows.py compares them); `json` columns are TEXT, flags are 0 or 1, so that
both databases give the same tuples.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from runyard.model.state import Hold, Outcome, State

metadata = MetaData()

BIG = BigInteger().with_variant(Integer(), "sqlite")
FLAG = SmallInteger().with_variant(Integer(), "sqlite")
DOUBLE: Double[float] = Double().with_variant(REAL(), "sqlite")


def _number(name: str, *more: Any) -> Column[int]:
    return Column(name, BIG, *more, nullable=False)


def _maybe_number(name: str, *more: Any) -> Column[int]:
    return Column(name, BIG, *more, nullable=True)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _maybe_text(name: str) -> Column[str]:
    return Column(name, Text, nullable=True)


def _flag(name: str) -> Column[int]:
    return Column(name, FLAG, nullable=False)


def _of(parent: str) -> ForeignKey:
    """Hangs on a row of `parent` and goes with it."""
    return ForeignKey(f"{parent}.id", ondelete="CASCADE")


def _table(name: str, *parts: Any) -> Table:
    return Table(name, metadata, *parts, sqlite_strict=True)


def _numbered(name: str, *parts: Any) -> Table:
    """A table with an `id` that is never given twice, not even after a delete (cached jobs and clients' links
    rely on it)."""
    return Table(
        name,
        metadata,
        Column("id", BIG, primary_key=True, autoincrement=True),
        *parts,
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )


def _words(values: Any) -> str:
    return ", ".join(f"'{v.value}'" for v in values)


def _folds(table: str) -> tuple[CheckConstraint, ...]:
    """The two axes: a known state, a known outcome, and an outcome exactly when done."""
    return (
        CheckConstraint(f"state IN ({_words(State)})", name=f"{table}_state_known"),
        CheckConstraint(f"outcome IS NULL OR outcome IN ({_words(Outcome)})", name=f"{table}_outcome_known"),
        CheckConstraint("(state = 'done') = (outcome IS NOT NULL)", name=f"{table}_done_has_outcome"),
    )


def _holds(table: str) -> tuple[CheckConstraint, ...]:
    return (
        CheckConstraint(f"hold IS NULL OR hold IN ({_words(Hold)})", name=f"{table}_hold_known"),
        CheckConstraint("hold IS NULL OR state = 'held'", name=f"{table}_hold_only_held"),
    )


users = _numbered(
    "users",
    _text("username"),
    _text("name"),
    _text("email"),
    _flag("is_admin"),
    _number("created_at"),
    _text("extra"),
)
Index("users_username", text("lower(username)"), unique=True, _table=users)

projects = _numbered(
    "projects",
    _text("path"),
    _text("name"),
    _text("default_branch"),
    _text("visibility"),
    _text("import_url"),
    _number("last_number"),
    _number("created_at"),
    _text("extra"),
)
Index("projects_path", text("lower(path)"), unique=True, _table=projects)

tokens = _numbered(
    "tokens",
    _text("kind"),
    _text("hash"),
    _maybe_number("user_id", _of("users")),
    _maybe_number("project_id", _of("projects")),
    _text("name"),
    _text("scopes"),
    _number("created_at"),
    _maybe_number("expires_at"),
    _maybe_number("revoked_at"),
    Index("tokens_hash", "hash", unique=True),
    Index("tokens_user", "user_id"),
    Index("tokens_project", "project_id"),
)

groups = _numbered(
    "groups",
    _text("path"),
    _text("name"),
    _text("visibility"),
    _number("created_at"),
    _text("extra"),
)
Index("groups_path", text("lower(path)"), unique=True, _table=groups)

members = _numbered(
    "members",
    _number("user_id", _of("users")),
    _number("level"),
    _maybe_number("project_id", _of("projects")),
    _maybe_number("group_id", _of("groups")),
    _number("created_at"),
    _maybe_number("created_by"),
    _maybe_number("expires_at"),
    CheckConstraint("(project_id IS NULL) <> (group_id IS NULL)", name="members_of_one_thing"),
    Index("members_of_project", "project_id", "id"),
    Index("members_of_group", "group_id", "id"),
)
Index(
    "members_once",
    text("user_id"),
    text("coalesce(project_id, 0)"),
    text("coalesce(group_id, 0)"),
    unique=True,
    _table=members,
)

environments = _numbered(
    "environments",
    _number("project_id", _of("projects")),
    _text("name"),
    _text("slug"),
    _text("tier"),
    _text("state"),
    _text("external_url"),
    _maybe_number("auto_stop_at"),
    _number("created_at"),
    _number("updated_at"),
    _text("extra"),
    CheckConstraint("state IN ('available', 'stopping', 'stopped')", name="environments_state_known"),
    Index("environments_name", "project_id", "name", unique=True),
    Index("environments_of_project", "project_id", "id"),
)
Index("environments_auto_stop", environments.c.auto_stop_at,
      sqlite_where=text("auto_stop_at IS NOT NULL"), postgresql_where=text("auto_stop_at IS NOT NULL"))  # fmt: skip

deployments = _numbered(
    "deployments",
    _number("project_id", _of("projects")),
    _number("environment_id", _of("environments")),
    _number("number"),
    _text("ref"),
    _text("sha"),
    _text("status"),
    _flag("tag"),
    _maybe_number("attempt_id"),
    _maybe_number("user_id"),
    _number("created_at"),
    _number("updated_at"),
    _maybe_number("finished_at"),
    _text("extra"),
    Index("deployments_of_project", "project_id", "id"),
    Index("deployments_of_environment", "environment_id", "id"),
    Index("deployments_of_attempt", "attempt_id"),
)

secret_variables = _numbered(
    "secret_variables",
    _text("key"),
    _text("value"),
    _maybe_number("project_id", _of("projects")),
    _flag("masked"),
    _flag("protected"),
    _flag("file"),
    _flag("raw"),
    _text("environment_scope"),
    _text("kind"),
    _text("extra"),
    _maybe_number("group_id", _of("groups")),
    _maybe_text("variant"),
    CheckConstraint("project_id IS NULL OR group_id IS NULL", name="secret_variables_one_owner"),
    Index("secret_variables_project", "project_id"),
    Index("secret_variables_group", "group_id"),
)
Index(
    "secret_variables_key",
    text("coalesce(project_id, 0)"),
    text("coalesce(group_id, 0)"),
    text("kind"),
    text("key"),
    text("environment_scope"),
    text("coalesce(variant, '')"),
    unique=True,
    _table=secret_variables,
)

runs = _numbered(
    "runs",
    _number("project_id", _of("projects")),
    _number("number"),
    _text("dialect"),
    _text("source"),
    _text("ref"),
    _text("sha"),
    _text("before_sha"),
    _flag("tag"),
    _text("name"),
    _maybe_number("actor_id"),
    _text("state"),
    _maybe_text("outcome"),
    _maybe_text("hold"),
    _flag("warnings"),
    _text("error"),
    _text("variables"),
    _maybe_text("idempotency_key"),
    _number("created_at"),
    _number("updated_at"),
    _maybe_number("started_at"),
    _maybe_number("finished_at"),
    _text("extra"),
    *_folds("runs"),
    *_holds("runs"),
    Index("runs_number", "project_id", "number", unique=True),
    Index("runs_idempotency", "project_id", "idempotency_key", unique=True),
    Index("runs_of_project", "project_id", "id"),
    Index("runs_of_ref", "project_id", "ref", "id"),
    Index("runs_of_sha", "project_id", "sha", "id"),
    Index("runs_of_dialect", "dialect", "id"),
    Index("runs_updated", "updated_at"),
    Index("runs_of_state", "state", "outcome", "id"),
    Index("runs_of_project_state", "project_id", "state", "outcome", "id"),
)
Index("runs_passed", runs.c.project_id, runs.c.ref, runs.c.id,
      sqlite_where=text("outcome = 'passed'"), postgresql_where=text("outcome = 'passed'"))  # fmt: skip

workflows = _numbered(
    "workflows",
    _number("run_id", _of("runs")),
    _text("key"),
    _text("name"),
    _text("path"),
    _text("state"),
    _maybe_text("outcome"),
    _maybe_text("hold"),
    _flag("warnings"),
    _text("error"),
    _number("created_at"),
    _maybe_number("started_at"),
    _maybe_number("finished_at"),
    _text("extra"),
    *_folds("workflows"),
    *_holds("workflows"),
    Index("workflows_key", "run_id", "key", unique=True),
)

jobs = _numbered(
    "jobs",
    _number("run_id", _of("runs")),
    _number("workflow_id", _of("workflows")),
    _number("project_id"),
    _text("key"),
    _text("name"),
    _text("plan"),
    _number("position"),
    _number("created_at"),
    Index("jobs_key", "workflow_id", "key", unique=True),
    Index("jobs_of_run", "run_id", "position", "id"),
)

attempts = _numbered(
    "attempts",
    _number("job_id", _of("jobs")),
    _number("run_id"),
    _number("project_id"),
    _number("number"),
    _text("state"),
    _maybe_text("outcome"),
    _text("reason"),
    _maybe_text("hold"),
    _text("message"),
    _flag("tolerated"),
    _flag("latest"),
    _flag("automatic"),
    _number("created_at"),
    _maybe_number("queued_at"),
    _maybe_number("started_at"),
    _maybe_number("finished_at"),
    _maybe_number("run_after_at"),
    _maybe_number("deadline_at"),
    _maybe_number("lease_until_at"),
    _maybe_number("runner_id"),
    _maybe_number("actor_id"),
    _text("token_hash"),
    _maybe_number("exit_code"),
    _number("log_bytes"),
    _maybe_number("log_crc"),
    _text("log_blob"),
    Column("coverage", DOUBLE),
    _text("outputs"),
    _text("variables"),
    _maybe_number("erased_at"),
    _text("extra"),
    # The job plan's concurrency group, copied so that `in_group` never reads history.
    _maybe_text("concurrency_group"),
    # What lists show of the job's plan (queries/listing.py), copied so that they never read plans; every row
    # has one.
    _maybe_text("outline"),
    # How a door draws it in lists once it is done (queries/listing.py); none while something that it shows
    # may still change.
    Column("card", LargeBinary, nullable=True),
    *_folds("attempts"),
    *_holds("attempts"),
    CheckConstraint(
        "(state IN ('running', 'stopping')) = (lease_until_at IS NOT NULL)",
        name="attempts_lease_while_running",
    ),
    CheckConstraint(
        "hold IS NULL OR hold <> 'delayed' OR run_after_at IS NOT NULL", name="attempts_delay_has_time"
    ),
    Index("attempts_number", "job_id", "number", unique=True),
    Index("attempts_of_run", "run_id", "id"),
    Index("attempts_of_project", "project_id", "id"),
    Index("attempts_of_project_state", "project_id", "state", "outcome", "id"),
)


def _some_attempts(name: str, where: str, *columns: str, unique: bool = False) -> None:
    """An index over the few attempts that a sweep looks for, so that it never meets history."""
    some = [attempts.c[c] for c in columns]
    Index(name, *some, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


_some_attempts("attempts_one_open", "state <> 'done'", "job_id", unique=True)
_some_attempts("attempts_open", "state <> 'done'", "state", "id")
_some_attempts("attempts_of_runner", "runner_id IS NOT NULL", "runner_id", "id")
_some_attempts("attempts_delayed", "hold = 'delayed'", "run_after_at")
_some_attempts("attempts_leased", "lease_until_at IS NOT NULL", "lease_until_at")
_some_attempts("attempts_limited", "state IN ('running', 'stopping')", "deadline_at")
_some_attempts("attempts_queued", "state = 'queued'", "queued_at", "id")
_some_attempts(
    "attempts_in_group",
    "concurrency_group IS NOT NULL AND state <> 'done'",
    "project_id",
    "concurrency_group",
    "id",
)
_some_attempts("attempts_undrawn", "state = 'done' AND card IS NULL", "id")
_some_attempts("attempts_log_blob", "log_blob <> ''", "log_blob")

steps = _table(
    "steps",
    _number("attempt_id", _of("attempts")),
    _number("position"),
    _text("key"),
    _text("name"),
    _text("state"),
    _maybe_text("outcome"),
    _maybe_number("exit_code"),
    _maybe_number("started_at"),
    _maybe_number("finished_at"),
    _maybe_number("log_start"),
    _maybe_number("log_end"),
    _text("extra"),
    PrimaryKeyConstraint("attempt_id", "position"),
    *_folds("steps"),
)

artifacts = _numbered(
    "artifacts",
    _number("attempt_id", _of("attempts")),
    _number("run_id"),
    _number("project_id"),
    _text("name"),
    _text("type"),
    _text("format"),
    _text("filename"),
    _number("size_bytes"),
    _text("sha256"),
    _text("blob"),
    _number("created_at"),
    _maybe_number("expires_at"),
    _text("extra"),
    Index("artifacts_of_attempt", "attempt_id", "id"),
    Index("artifacts_of_run", "run_id", "id"),
    Index("artifacts_of_project", "project_id", "id"),
    Index("artifacts_expiry", "expires_at"),
    Index("artifacts_blob", "blob"),
)

runners = _numbered(
    "runners",
    _text("token_hash"),
    _text("description"),
    _text("tags"),
    _flag("run_untagged"),
    _flag("protected"),
    _flag("paused"),
    _maybe_number("project_id", _of("projects")),
    _maybe_number("maximum_timeout_s"),
    _flag("stock"),
    _maybe_number("contacted_at"),
    _number("created_at"),
    _text("info"),
    _text("extra"),
    _maybe_number("group_id"),  # of a group that was removed it serves nobody
    Index("runners_token", "token_hash", unique=True),
    Index("runners_project", "project_id"),
    Index("runners_group", "group_id"),
)

connections = _numbered(
    "connections",
    _text("name"),
    _text("dialect"),
    _text("settings"),
    _text("sealed"),
    _number("created_at"),
    _number("updated_at"),
    _text("extra"),
    Index("connections_name", "name", unique=True),
)

records = _numbered(
    "records",
    _text("kind"),
    _maybe_number("project_id", _of("projects")),
    _text("key"),
    _text("data"),
    _number("created_at"),
    _number("updated_at"),
    # data["blob"] of an upload, copied so that `blobs_in_use` sees it.
    _maybe_text("blob"),
    Index("records_of_kind", "kind", "id"),
    Index("records_of_project", "project_id", "kind", "id"),
    Index("records_blob", "blob"),
)
Index(
    "records_key",
    text("kind"),
    text("coalesce(project_id, 0)"),
    text("key"),
    unique=True,
    sqlite_where=text("key <> ''"),
    postgresql_where=text("key <> ''"),
    _table=records,
)

# `lane` is everything but the project that decides who may claim: see queries/queue.py.
queue = _table(
    "queue",
    Column("attempt_id", BIG, _of("attempts"), primary_key=True, autoincrement=False),
    _number("run_id"),
    _number("project_id"),
    _text("lane"),
    _number("queued_at"),
    Index("queue_lane", "lane", "attempt_id"),
    Index("queue_project_lane", "project_id", "lane", "attempt_id"),
)

# `start` is the offset of the chunk in the log: OFFSET is a reserved word in PostgreSQL.
log_chunks = _table(
    "log_chunks",
    _number("attempt_id", _of("attempts")),
    _number("start"),
    _number("size"),  # with no data the bytes lie in a file (log_files.py)
    Column("data", LargeBinary, nullable=False),
    _maybe_number("taken_at"),  # when it arrived; none from before schema 0004
    PrimaryKeyConstraint("attempt_id", "start"),
)

# What attempts used of the machine (model/usage.py): a row per batch of samples, `at` is its first one's
# time.
samples = _table(
    "samples",
    _number("attempt_id", _of("attempts")),
    _number("at"),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("attempt_id", "at"),
)

schema_version = _table(
    "alembic_version",
    Column("version_num", Text, primary_key=True),
)
