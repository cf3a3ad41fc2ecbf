"""Datafold's wire types: what answers say. They document the API (`openapi.py`) and are checked against real
answers by Schemathesis; handlers build plain dicts. Enums and required fields are the published schema's
(contracts/datafold.md §2, §3, §4, §6).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobStatus = Literal[
    "needs_confirmation",
    "needs_authentication",
    "waiting",
    "queued",
    "processing",
    "done",
    "failed",
    "cancelled",
]
Two = tuple[int, int]


class Detail(BaseModel):
    """One thing that a schema refuses."""

    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(BaseModel):
    """What a schema refuses."""

    detail: list[Detail]


class Problem(BaseModel):
    """RFC 7807, with the media type application/problem+json."""

    type: str
    title: str
    status: int
    instance: str
    detail: str


class SubmitCiJob(BaseModel):
    """The run that a call started or found; null when there is none."""

    ci_run_id: int | None
    run_id: int | None


class ApiCiRun(BaseModel):
    """A CI run."""

    id: int
    base_branch: str
    base_sha: str
    pr_branch: str
    pr_sha: str
    pr_num: str
    source: str
    status: JobStatus


class CiConfigAnswer(BaseModel):
    """Ours: a configuration with all its options."""

    model_config = ConfigDict(extra="allow")

    id: int
    name: str
    repository: str
    data_source_id: int
    created_at: str
    updated_at: str


class Empty(BaseModel):
    """Nothing to tell."""

    model_config = ConfigDict(extra="forbid")


class Status(BaseModel):
    """`ok` or `missing`."""

    status: Literal["ok", "missing"]


class ModelKey(BaseModel):
    """The key of one dbt model and where it was found."""

    source: Literal["meta_table", "meta", "tags", "uniqueness", "none"]
    sql_table: list[str]
    sql_pks: list[str]
    dbt_fqn: list[str]
    dbt_pks: list[str]
    dbt_original_file_path: str
    dbt_patch_path: str | None
    warnings: list[str]


class Organization(BaseModel):
    """Who asks."""

    org_id: int
    org_name: str
    user_id: int


class DataSourceSummary(BaseModel):
    """A data source in short."""

    id: int
    name: str
    type: str


class TestStep(BaseModel):
    """One step of a connection's test."""

    step: Literal["connection", "temp_schema", "schema_download", "lineage_download"]
    status: JobStatus
    result: dict[str, Any] | None


class LastTest(BaseModel):
    """The newest test of a data source."""

    tested_at: str
    results: list[TestStep]


class DataSourceAnswer(DataSourceSummary):
    """A data source; `options` is always null: they may hold secrets."""

    model_config = ConfigDict(extra="allow")

    options: None
    float_tolerance: float
    last_test: LastTest | None


class DataSourceType(BaseModel):
    """What may be created, with its options."""

    name: str
    type: str
    configuration_schema: dict[str, Any]
    features: list[str]


class TestStarted(BaseModel):
    """A test under way."""

    job_id: int


class TestResult(BaseModel):
    """How a test went."""

    id: int
    status: JobStatus
    results: list[TestStep]


class TaskStarted(BaseModel):
    """A question under way."""

    task_id: int


class TaskResult(BaseModel):
    """`done` with the result, or `failed` with `result.error`."""

    status: JobStatus
    result: dict[str, Any] | None


class KeyCandidates(BaseModel):
    """Keys that fit, best first, or why none was looked for."""

    candidates: list[dict[str, Any]] | None = None
    error: str | None = None


class QueryAnswer(BaseModel):
    """Rows of a SELECT."""

    rows: list[dict[str, Any]]
    columns: list[dict[str, Any]] | None


class DiffStats(BaseModel):
    """Ratios and counts; null until there is a result."""

    version: str
    diff_pks: float | None
    diff_rows: float | None
    diff_values: float | None
    diff_schema: float | None
    diff_null_pks: float | None
    diff_duplicate_pks: float | None
    diff_rows_count: int | None
    diff_rows_number: int | None
    match_ratio: float | None
    rows_added: int | None
    rows_removed: int | None
    table_a_row_count: int | None
    table_b_row_count: int | None
    sampled: bool | None
    errors: int | None


class ApiDataDiffFull(BaseModel):
    """A data diff: the request's fields and how it goes."""

    model_config = ConfigDict(extra="allow")

    id: int
    data_source1_id: int
    data_source2_id: int
    pk_columns: list[str]
    kind: Literal["in_db", "cross_db"]
    algorithm: Literal["join", "hash", "hash_v2_alpha", "fetch_and_join"]
    status: JobStatus
    done: bool
    result: Literal["error", "bad-pks", "different", "missing-pks", "identical", "empty"] | None
    source: Literal["interactive", "demo_signup", "manual", "api", "ci", "schedule", "auto"]
    user_id: int | None
    created_at: str
    updated_at: str
    finished_at: str | None
    runtime: float | None
    affected_columns: list[str]
    diff_stats: DiffStats
    archived: bool
    purged: bool
    ci_run_id: int | None
    ci_pr_num: int | None


class Progress(BaseModel):
    """How far a diff is."""

    version: str
    completed_steps: int
    total_steps: int


class ApiDataDiffWithProgressState(ApiDataDiffFull):
    """A data diff with its progress."""

    diff_progress: Progress


class ApiDataDiffPage(BaseModel):
    """A page of data diffs."""

    count: int
    page: int
    page_size: int
    total_pages: int
    results: list[ApiDataDiffFull]


class DiffStatus(BaseModel):
    """A diff's id and status."""

    id: int
    status: JobStatus


class ApiDataDiffSummary(BaseModel):
    """A data diff for people."""

    model_config = ConfigDict(extra="allow")

    id: int
    status: JobStatus
    data_source1_id: int
    data_source2_id: int
    result: str | None
    results_count: int
    feedback: str | None
    diff_stats: DiffStats


class Pending(BaseModel):
    """No result yet."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["pending", "running"]


class Failure(BaseModel):
    """Why there is no result."""

    error_type: str
    error_value: str
    is_retryable: bool


class Failed(BaseModel):
    """A diff without a result."""

    status: Literal["failed"]
    error: Failure


class Pks(BaseModel):
    """Keys, [A, B]."""

    total_rows: Two
    nulls: Two
    dupes: Two
    exclusives: Two
    distincts: Two


class Values(BaseModel):
    """Values of rows that both sides have."""

    model_config = ConfigDict(extra="allow")

    total_rows: int
    compared_columns: int
    total_values: int
    rows_with_differences: int
    values_with_differences: int
    columns_with_differences: int
    columns_diff_stats: list[dict[str, Any]]


class Schema(BaseModel):
    """Columns, [A, B]."""

    columns_mismatched: Two
    column_type_mismatches: int
    column_reorders: int
    column_counts: Two
    column_type_differs: list[str]
    exclusive_columns: tuple[list[str], list[str]]


class Success(BaseModel):
    """What a diff found; always the same-database shape."""

    model_config = ConfigDict(extra="allow")

    status: Literal["success"]
    pks: Pks
    values: Values
    columns: Schema = Field(alias="schema")
    dependencies: list[dict[str, Any]]
    materialized_results: dict[str, Any]
    exclusives_profile: dict[str, Any] | None


class ReportedDiff(BaseModel):
    """One pair of tables in a run's report (ours)."""

    model_config = ConfigDict(extra="allow")

    id: int
    name: str
    table1: str
    table2: str
    status: JobStatus
    result: str | None


class RunReport(BaseModel):
    """Ours: everything a CI run found."""

    model_config = ConfigDict(extra="allow")

    run: ApiCiRun
    totals: dict[str, int]
    diffs: list[ReportedDiff]
    notes: list[str]
