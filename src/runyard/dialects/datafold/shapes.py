"""Datafold's wire types: what requests may say. Names, defaults and enums are the published schema's
(contracts/datafold.md §2 to §4).

Fields that are accepted but change nothing here are listed in docs/dialects/datafold.md; unknown fields are
ignored, as FastAPI does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(max_length=300)]
Columns = Annotated[list[Name], Field(max_length=5000)]
Number = Annotated[int, Field(ge=0, le=2**53)]
Sql = Annotated[str, Field(max_length=100_000)]
Share = Annotated[float, Field(gt=0, lt=1)]
Percent = Annotated[float, Field(gt=0, lt=100)]
Off = Annotated[bool | None, AfterValidator(bool)]
On = Annotated[bool | None, AfterValidator(lambda value: value is not False)]
"""Switches of which null says the default."""
Patterns = Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=500)]


class PrDetails(BaseModel):
    """APIPrDetails: starts a run. `labels` and `comments` are ours: what a webhook would have told."""

    pr_number: Number
    pr_branch: Text
    base_branch: Text
    pr_sha: Text
    base_sha: Text
    labels: Annotated[list[Name], Field(max_length=100)] = []
    comments: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=100)] = []


class CiDiff(BaseModel):
    """One submitted pair."""

    prod: Annotated[str, Field(min_length=1, max_length=1000)]
    pr: Annotated[str, Field(min_length=1, max_length=1000)]
    pk: Columns | None = None
    include_columns: Columns = []
    exclude_columns: Columns = []
    filter: Sql | None = None  # ours; dbt models may name one in meta.datafold.datadiff


class Builds(BaseModel):
    """Ours: how both sides of a change are built by the repository's own dbt project. Only administrators say
    it: the project's code gets the data source's password and network."""

    model_config = ConfigDict(extra="forbid")

    environment: Annotated[str, Field(max_length=4000, pattern=r"^(/[^\x00]*)?$")] = ""
    """A virtual environment of the server with dbt in it; empty: `dbt` of the runner's PATH, or what the
    project's own set-up installs."""
    network: Literal["none", "internet", "host"] | None = None
    """None: what the data source needs."""
    timeout_s: Annotated[int, Field(ge=10, le=86400)] = 3600


class CiConfig(BaseModel):
    """Our addition: a CI configuration (datafold.md §8.1). `repository` is a project's path or id."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    repository: Text | Annotated[int, Field(ge=1, le=2**63 - 1)]
    data_source_id: Number
    # which runs
    custom_base_branch: Text | None = None
    files_to_ignore: Patterns = []
    require_label: bool = (
        False  # "run only when tagged": PRs without the label `datafold`; not for runs of the API
    )
    branch_commit_selection_strategy: Literal["latest", "merge_base"] = "latest"
    submit_timeout_s: Annotated[int, Field(ge=1, le=30 * 86400)] = 86400
    # which tables
    slim_diff: bool = False  # dbt: only changed models, not those downstream of them
    ci_diff_threshold: Number | None = None  # more diffs than this wait for confirmation
    primary_key_tag: Annotated[str, Field(min_length=1, max_length=200)] = "primary-key"
    import_dbt_metadata: bool = False
    diff_hightouch_models: bool = False
    # how they are compared
    ignore_columns: Patterns = []
    enable_sampling: bool = False
    sampling_tolerance: Share | None = None
    sampling_confidence: Percent | None = None
    sampling_threshold: Number | None = None
    # what fails, what shows
    fail_on_errors: bool = True  # "Mark the CI check as failed on errors"
    fail_on_primary_key_issues: bool = False
    show_row_values: bool = True  # off: counts only, no value of a row leaves the database
    builds: Builds | None = None

    @model_validator(mode="after")
    def _sampled_by_something(self) -> CiConfig:
        if self.enable_sampling and (self.sampling_tolerance is None or self.sampling_confidence is None):
            raise ValueError("enable_sampling needs sampling_tolerance and sampling_confidence")
        return self


class DataSource(BaseModel):
    """A data source to create. `options` depends on `type`; the rest is the same for all. Those without a
    remark are kept and shown."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    type: Annotated[str, Field(max_length=60)]
    options: dict[str, Any] | None = None
    float_tolerance: Annotated[Annotated[float, Field(ge=0)] | None, AfterValidator(lambda v: v or 0.0)] = 0.0
    temp_schema: Annotated[str, Field(max_length=300)] | None = None  # where results are materialised
    hidden: Off = False  # not listed
    is_paused: Off = False  # asked nothing and not compared
    view_only: Off = False
    disable_profiling: On = True
    disable_schema_indexing: On = True
    catalog_include_list: Sql | None = None
    catalog_exclude_list: Sql | None = None
    schema_indexing_schedule: Text | None = None
    schema_max_age_s: Number | None = None
    profile_schedule: Text | None = None
    profile_include_list: Sql | None = None
    profile_exclude_list: Sql | None = None
    lineage_schedule: Text | None = None
    data_retention_days: Number | None = None
    max_allowed_connections: Number | None = None
    queue_name: Text | None = None
    scheduled_queue_name: Text | None = None


class PostgresOptions(BaseModel):
    """PostgreSQLConfig. `rootcert` and `role` are refused: a tenant may not name files or change who we
    are."""

    host: Annotated[str, Field(min_length=1, max_length=128)]
    user: Annotated[str, Field(min_length=1, max_length=128)]
    dbname: Annotated[str, Field(min_length=1, max_length=128)]
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    password: Annotated[str, Field(max_length=1000)] | None = None
    sslmode: Literal["prefer", "require", "verify-ca", "verify-full"] = "prefer"
    default_schema: Annotated[str, Field(alias="schema", max_length=128)] = ""
    role: None = None
    rootcert: None = None


class MySqlOptions(BaseModel):
    """MySQLConfig and MariaDBConfig."""

    host: Annotated[str, Field(min_length=1, max_length=128)]
    user: Annotated[str, Field(min_length=1, max_length=128)]
    db: Annotated[str, Field(min_length=1, max_length=128)]
    port: Annotated[int, Field(ge=1, le=65535)] = 3306
    password: Annotated[str, Field(max_length=1000)] | None = None


class SnowflakeOptions(BaseModel):
    """SnowflakeConfig, as far as a reader needs it."""

    account: Annotated[str, Field(min_length=1, max_length=300)]
    user: Annotated[str, Field(min_length=1, max_length=128)]
    warehouse: Annotated[str, Field(max_length=300)] = ""
    database: Annotated[str, Field(max_length=300)] = ""
    default_schema: Annotated[str, Field(alias="schema", max_length=300)] = ""
    role: Annotated[str, Field(max_length=300)] = ""
    password: Annotated[str, Field(max_length=1000)] | None = None
    private_key_pem: Annotated[str, Field(max_length=20_000)] | None = None


class BigQueryOptions(BaseModel):
    """BigQueryConfig: the project that pays, and a service account's key file as text."""

    project: Annotated[str, Field(min_length=1, max_length=300)]
    location: Annotated[str, Field(max_length=100)] = ""
    service_account_json: Annotated[str, Field(max_length=20_000)] | None = None


class DatabricksOptions(BaseModel):
    """DatabricksConfig: a SQL warehouse."""

    host: Annotated[str, Field(min_length=1, max_length=300)]
    http_path: Annotated[str, Field(min_length=1, max_length=1000)]
    token: Annotated[str, Field(max_length=1000)] | None = None
    catalog: Annotated[str, Field(max_length=300)] = ""
    default_schema: Annotated[str, Field(alias="schema", max_length=300)] = ""


class DuckDbOptions(BaseModel):
    """The vendor's DuckDB has no options; ours needs the file (documented as ours)."""

    path: Annotated[str, Field(min_length=1, max_length=4000)]


class Query(BaseModel):
    """A SELECT on a data source. `params` take the places of `?` in order, or of `$1`, `$2` …: whose
    placeholders the vendor means is documented nowhere."""

    query: Annotated[str, Field(min_length=1, max_length=100_000)]
    params: Annotated[list[Sql], Field(max_length=1000)] | None = None


class SchemaOf(BaseModel):
    """Which table's columns are asked for."""

    table: Annotated[list[Name], Field(min_length=1, max_length=3)]


class GuessPk(BaseModel):
    """Which table's key is looked for."""

    table: Annotated[list[Name], Field(min_length=1, max_length=3)]
    candidates: Annotated[int, Field(ge=1, le=20)] = 5
    sample_size: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    avoid_types: Columns | None = None
    avoid_names: Columns | None = None


class ColumnTolerance(BaseModel):
    """diff_tolerances_per_column."""

    column_name: Name
    tolerance_value: Annotated[float, Field(ge=0)]
    tolerance_mode: Literal["absolute", "relative"]


Datatype = Literal[
    "boolean", "integer", "float", "decimal", "unbounded_decimal", "money", "string", "fixed_length_string", "varbinary", "binary",
    "date", "super", "time", "time_interval", "timestamp", "year", "uuid", "array", "struct", "json", "xml", "map", "void", "unsupported",
]  # fmt: skip


class ColumnRule(BaseModel):
    """column_rules: one more way in which two values of a column, or of a type, may be equal."""

    column: Name | None = None
    type: Datatype | None = None
    equal_if: Annotated[str, Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _about_one_thing(self) -> ColumnRule:
        if (self.column is None) == (self.type is None):
            raise ValueError("a rule names either a column or a type")
        return self


class FileOptions(BaseModel):
    """file1_options, file2_options."""

    file_type: Literal["csv", "excel", "parquet"]
    delimiter: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    skip_head_rows: Number | None = None
    skip_tail_rows: Number | None = None
    sheet: Name | None = None


class DataDiff(BaseModel):
    """ApiDataDiffData: one diff to make now."""

    data_source1_id: Number
    data_source2_id: Number
    table1: Annotated[list[Name], Field(max_length=10)] | None = None
    table2: Annotated[list[Name], Field(max_length=10)] | None = None
    query1: Sql | None = None
    query2: Sql | None = None
    file1: Text | None = None
    file2: Text | None = None
    file1_options: FileOptions | None = None
    file2_options: FileOptions | None = None
    filter1: Sql | None = None
    filter2: Sql | None = None
    pk_columns: Columns = []
    infer_pk: bool = False
    infer_pk_avoid_names: Columns | None = None
    infer_pk_avoid_types: Columns | None = None
    include_columns: Columns | None = None
    exclude_columns: Columns | None = None
    columns_to_compare: Columns | None = None
    column_mapping: Annotated[list[tuple[Name, Name]], Field(max_length=5000)] | None = None
    column_rules: Annotated[list[ColumnRule], Field(max_length=500)] | None = None
    compare_duplicates: bool | None = True
    diff_tolerance: Annotated[float, Field(ge=0)] | None = None
    tolerance_mode: Literal["absolute", "relative"] | None = None
    diff_tolerances_per_column: Annotated[list[ColumnTolerance], Field(max_length=5000)] | None = None
    datetime_tolerance: Annotated[int, Field(ge=0, le=6)] | None = None
    table_modifiers: list[Literal["case_insensitive_strings", "null_equals_empty_string"]] | None = None
    sort_array_columns: bool | None = None
    algorithm: Literal["join", "hash", "hash_v2_alpha", "fetch_and_join"] | None = None
    sampling_tolerance: Share | None = None
    sampling_confidence: Percent | None = None
    sampling_ratio: Share | None = None
    sampling_max_rows: Annotated[int, Field(ge=1, le=2**53)] | None = None
    sampling_threshold: Number | None = None
    time_column: Name | None = None
    time_aggregate: Literal["minute", "hour", "day", "week", "month", "year"] | None = None
    time_interval_start: datetime | None = None
    time_interval_end: datetime | None = None
    time_travel_point1: int | str | None = None
    time_travel_point2: int | str | None = None
    materialize_dataset1: bool | None = None
    materialize_dataset2: bool | None = None
    materialization_destination_id: Number | None = None
    materialize_without_sampling: bool | None = False
    bisection_factor: Annotated[int, Field(ge=2, le=1 << 16)] | None = None
    bisection_threshold: Annotated[int, Field(ge=1, le=2**53)] | None = None
    download_limit: Number | None = None
    per_column_diff_limit: Number | None = None
    run_profiles: bool | None = None
    data_source1_session_parameters: dict[Name, Any] | None = None
    data_source2_session_parameters: dict[Name, Any] | None = None
    archived: bool = False
    purged: bool = False
    tags: Annotated[list[Name], Field(max_length=200)] | None = None
    show_row_values: bool = True  # ours: off keeps the values of rows in the database


class DiffPatch(BaseModel):
    """PATCH of a diff."""

    archived: bool | None = None
    purged: bool | None = None
