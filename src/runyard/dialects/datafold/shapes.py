"""Datafold's wire types: what requests may say. Names, defaults and enums are the published schema's (contracts/datafold.md §2 to §4).

Fields that are accepted but change nothing here are listed in README.md; unknown fields are ignored, as FastAPI does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(max_length=300)]
Columns = Annotated[list[Name], Field(max_length=5000)]
Number = Annotated[int, Field(ge=0, le=2**53)]
Sql = Annotated[str, Field(max_length=100_000)]


class PrDetails(BaseModel):
    """APIPrDetails: starts a run."""

    pr_number: Number
    pr_branch: Text
    base_branch: Text
    pr_sha: Text
    base_sha: Text


class CiDiff(BaseModel):
    """One submitted pair."""

    prod: Annotated[str, Field(min_length=1, max_length=1000)]
    pr: Annotated[str, Field(min_length=1, max_length=1000)]
    pk: Columns | None = None
    include_columns: Columns = []
    exclude_columns: Columns = []
    filter: Sql | None = None  # ours; dbt models may name one in meta.datafold.datadiff


class CiConfig(BaseModel):
    """Our addition: a CI configuration (datafold.md §8.1). `repository` is a project's path or id."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    repository: Text | int
    data_source_id: Number
    ci_diff_threshold: Number | None = None  # more diffs than this wait for confirmation
    fail_on_errors: bool = True  # "Mark the CI check as failed on errors"
    fail_on_primary_key_issues: bool = False
    ignore_columns: Columns = []
    slim_diff: bool = False  # dbt: only changed models, not those downstream of them
    submit_timeout_s: Annotated[int, Field(ge=1, le=30 * 86400)] = 86400


class DataSource(BaseModel):
    """A data source to create. `options` depends on `type`."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    type: str
    options: dict[str, Any] | None = None
    float_tolerance: float = 0.0


class PostgresOptions(BaseModel):
    """PostgreSQLConfig. `rootcert` and `role` are refused: a tenant may not name files or change who we are."""

    host: Annotated[str, Field(min_length=1, max_length=128)]
    user: Annotated[str, Field(min_length=1, max_length=128)]
    dbname: Annotated[str, Field(min_length=1, max_length=128)]
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    password: Annotated[str, Field(max_length=1000)] | None = None
    sslmode: Literal["prefer", "require", "verify-ca", "verify-full"] = "prefer"
    default_schema: Annotated[str, Field(alias="schema", max_length=128)] = ""
    role: None = None
    rootcert: None = None


class DuckDbOptions(BaseModel):
    """The vendor's DuckDB has no options; ours needs the file (documented as ours)."""

    path: Annotated[str, Field(min_length=1, max_length=4000)]


class ColumnTolerance(BaseModel):
    """diff_tolerances_per_column."""

    column_name: Name
    tolerance_value: Annotated[float, Field(ge=0)]
    tolerance_mode: Literal["absolute", "relative"]


class DataDiff(BaseModel):
    """ApiDataDiffData: one diff to make now."""

    data_source1_id: Number
    data_source2_id: Number
    table1: list[Name] | None = None
    table2: list[Name] | None = None
    query1: Sql | None = None
    query2: Sql | None = None
    file1: Text | None = None
    file2: Text | None = None
    filter1: Sql | None = None
    filter2: Sql | None = None
    pk_columns: Columns = []
    infer_pk: bool = False
    infer_pk_avoid_names: Columns = []
    include_columns: Columns | None = None
    exclude_columns: Columns | None = None
    columns_to_compare: Columns | None = None
    column_mapping: list[tuple[Name, Name]] | None = None
    diff_tolerance: Annotated[float, Field(ge=0)] | None = None
    tolerance_mode: Literal["absolute", "relative"] | None = None
    diff_tolerances_per_column: list[ColumnTolerance] | None = None
    datetime_tolerance: Annotated[int, Field(ge=0, le=6)] | None = None
    table_modifiers: list[Literal["case_insensitive_strings", "null_equals_empty_string"]] | None = None
    sort_array_columns: bool | None = None
    algorithm: Literal["join", "hash", "hash_v2_alpha", "fetch_and_join"] | None = None
    column_rules: list[Any] | None = None
    time_travel_point1: Any = None
    time_travel_point2: Any = None
    materialize_dataset1: bool | None = None
    materialize_dataset2: bool | None = None
    archived: bool = False
    tags: list[Name] | None = None


class DiffPatch(BaseModel):
    """PATCH of a diff."""

    archived: bool | None = None
    purged: bool | None = None
