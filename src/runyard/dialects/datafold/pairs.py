"""From a requested diff to the spec of its program: submitted CI pairs and API diffs become the same kind of job. Called by routes.

The request is kept beside the job in the API's own field names, so that what was asked can be shown again as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runyard.dialects.datafold import sources
from runyard.dialects.datafold.compile import diff_job
from runyard.dialects.datafold.refusals import UnknownReference, refused_field
from runyard.dialects.datafold.shapes import CiDiff, DataDiff
from runyard.model.plan import JobPlan
from runyard.model.work import Connection, Record


def from_ci(diffs: Sequence[CiDiff], config: Record, connection: Connection) -> list[JobPlan]:
    """Jobs for submitted pairs; the same pair twice is one job."""
    data = config.data
    threshold = data.get("ci_diff_threshold")
    confirm = threshold is not None and len(diffs) > int(threshold)
    jobs = {}
    for diff in diffs:
        request: dict[str, Any] = {
            "data_source1_id": connection.id,
            "data_source2_id": connection.id,
            "table1": _path(diff.prod),
            "table2": _path(diff.pr),
            "pk_columns": diff.pk or [],
            "include_columns": diff.include_columns,
            "exclude_columns": [*diff.exclude_columns, *data.get("ignore_columns", ())],
            "filter1": diff.filter,
            "filter2": diff.filter,
        }
        side = str(connection.id)
        spec = {
            "a": {"connection": side, "table": diff.prod, "filter": diff.filter or ""},
            "b": {"connection": side, "table": diff.pr, "filter": diff.filter or ""},
            "key": request["pk_columns"],
            "include": diff.include_columns,
            "exclude": request["exclude_columns"],
            "fail_on_bad_keys": bool(data.get("fail_on_primary_key_issues")),
            **_tolerance(connection),
        }
        job = diff_job(
            spec,
            [sources.for_job(connection)],
            request,
            errors_fail=bool(data.get("fail_on_errors", True)),
            confirm=confirm,
        )
        jobs[job.key] = job
    return list(jobs.values())


def _path(dotted: str) -> list[str]:
    return dotted.split(".")


def _tolerance(connection: Connection) -> dict[str, Any]:
    about: Mapping[str, Any] = connection.extra.get("datafold") or {}
    value = float(about.get("float_tolerance") or 0.0)
    return {"tolerance": {"value": value}} if value > 0 else {}


def from_api(request: DataDiff, a: Connection, b: Connection) -> JobPlan:
    """The job of one API diff; 422 for what is not served."""
    _served(request)
    given = request.model_dump(exclude_unset=True)
    spec: dict[str, Any] = {
        "a": _side(a, request.table1, request.query1, request.filter1, "1"),
        "b": _side(b, request.table2, request.query2, request.filter2, "2"),
        "key": request.pk_columns,
        "include": request.columns_to_compare or request.include_columns or [],
        "exclude": request.exclude_columns or [],
        "mapping": request.column_mapping or [],
        "avoid_key_names": request.infer_pk_avoid_names,
        "datetime_digits": request.datetime_tolerance,
        "ignore_case": "case_insensitive_strings" in (request.table_modifiers or ()),
        "null_is_empty": "null_equals_empty_string" in (request.table_modifiers or ()),
        "sort_arrays": bool(request.sort_array_columns),
        **_tolerance(a),
    }
    if request.diff_tolerance:
        spec["tolerance"] = {"value": request.diff_tolerance, "mode": request.tolerance_mode or "absolute"}
    if request.diff_tolerances_per_column:
        spec["tolerances"] = {
            t.column_name: {"value": t.tolerance_value, "mode": t.tolerance_mode}
            for t in request.diff_tolerances_per_column
        }
    connections = [sources.for_job(c) for c in {c.id: c for c in (a, b)}.values()]
    return diff_job(spec, connections, given, errors_fail=True, confirm=False)


def _side(
    connection: Connection, table: Sequence[str] | None, query: str | None, filter: str | None, n: str
) -> dict[str, str]:
    if bool(table) == bool(query):
        raise refused_field(
            ("body", f"table{n}"), f"exactly one of table{n} and query{n} is needed", "missing"
        )
    if table and len(table) > 3:
        raise UnknownReference(f"table{n} may have at most three parts.")
    name = {"query": query or ""} if query else {"table": ".".join(map(_quoted, table or ()))}
    return {"connection": str(connection.id), **name, "filter": filter or ""}


def _quoted(part: str) -> str:
    """One part of a path: dots and quotes inside it must not split it."""
    return '"' + part.replace('"', '""') + '"' if "." in part or '"' in part else part


def _served(request: DataDiff) -> None:
    if not request.pk_columns and not request.infer_pk:
        raise refused_field(("body", "pk_columns"), "pk_columns may be empty only with infer_pk", "missing")
    if request.infer_pk_avoid_names and (request.pk_columns or not request.infer_pk):
        message = "only with infer_pk and without pk_columns"
        raise refused_field(("body", "infer_pk_avoid_names"), message)
    for name in ("file1", "file2", "column_rules", "time_travel_point1", "time_travel_point2"):
        if getattr(request, name):
            raise refused_field(("body", name), "is not served by this version of Runyard", "not_served")
    for name in ("materialize_dataset1", "materialize_dataset2"):
        if getattr(request, name):
            raise refused_field(("body", name), "nothing is ever written to a data source here", "not_served")
