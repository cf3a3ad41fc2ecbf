"""From a requested diff to the spec of its program: submitted CI pairs, changed dbt models and API diffs
become the same kind of job. Called by routes.

The request is kept beside the job in the API's own field names, so that what was asked can be shown again as
it was. The spec's names are `tasks/datadiff/spec.py`'s; a field is left out where it would say what the
program assumes anyway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from runyard.dialects.datafold import renames, sources
from runyard.dialects.datafold.compile import diff_job
from runyard.dialects.datafold.refusals import UnknownReference, refused_field
from runyard.dialects.datafold.shapes import CiConfig, CiDiff, DataDiff
from runyard.model.plan import ConnectionUse, JobPlan, Need, StepPlan
from runyard.model.work import Connection

NOT_SERVED = "is not served by this version of Runyard"
MOST_PARQUET_ROWS = 100_000
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Built:
    """Where a run's own build left its tables, the jobs to wait for, and the steps that bring them."""

    use: ConnectionUse
    needs: tuple[Need, ...] = ()
    steps: tuple[StepPlan, ...] = ()


def from_submitted(
    diffs: Sequence[CiDiff], config: CiConfig, connection: Connection, told: Mapping[str, Any]
) -> list[JobPlan]:
    """Jobs for submitted pairs; the same pair twice is one job."""
    return _jobs([(diff, {}) for diff in diffs], config, sources.for_job(connection), connection, told)


def from_models(
    models: Sequence[tuple[CiDiff, Mapping[str, Any]]],
    config: CiConfig,
    connection: Connection,
    told: Mapping[str, Any],
    built: Built | None = None,
) -> list[JobPlan]:
    """Jobs for dbt models, each with its node of the pull request's digest."""
    use = built.use if built else sources.for_job(connection)
    return _jobs(models, config, use, connection, told, built)


def _jobs(
    diffs: Sequence[tuple[CiDiff, Mapping[str, Any]]],
    config: CiConfig,
    use: ConnectionUse,
    connection: Connection,
    told: Mapping[str, Any],
    built: Built | None = None,
) -> list[JobPlan]:
    wishes = [renames.Rename(*wish) for wish in told.get("renames", ())]
    threshold = config.ci_diff_threshold
    keyed: dict[str, tuple[Json, Json, list[Json]]] = {}
    for diff, node in diffs:
        name = str(node.get("name") or path_of(diff.pr)[-1])
        request = _ci_request(diff, node, config, connection, renames.mapping(wishes, name))
        spec = _ci_spec(diff, node, config, connection, use, renames.mapping(wishes, name))
        after = [_dependency(one, connection) for one in node.get("dependents", ())]
        keyed[json.dumps(spec, sort_keys=True)] = (spec, request, after)
    confirm = threshold is not None and len(keyed) > threshold
    before, needs = (built.steps, built.needs) if built else ((), ())
    jobs = [
        diff_job(
            spec,
            [use],
            request,
            errors_fail=config.fail_on_errors,
            confirm=confirm,
            before=before,
            needs=needs,
            dependencies=after,
        )
        for spec, request, after in keyed.values()
    ]
    return list({job.key: job for job in jobs}.values())


def _dependency(node: Mapping[str, Any], connection: Connection) -> Json:
    """ApiCIDependency: a table that depends on the compared one, as the pull request's manifest knows it."""
    unknown = dict.fromkeys(("popularity", "primary_key", "query_type", "raw_sql", "remote_id"))
    about = {"data_source_id": connection.id, "data_source_type": sources.kind_of(connection)}
    return {**node, "item_type": "Table", **about, "table_name": node["name"], **unknown}


def _ci_request(
    diff: CiDiff, node: Mapping[str, Any], config: CiConfig, connection: Connection, mapping: list[list[str]]
) -> Json:
    options = node.get("options", {})
    return {
        "data_source1_id": connection.id,
        "data_source2_id": connection.id,
        "table1": path_of(diff.prod),
        "table2": path_of(diff.pr),
        "pk_columns": diff.pk or [],
        "infer_pk": not diff.pk,
        "include_columns": diff.include_columns,
        "exclude_columns": diff.exclude_columns,
        "filter1": diff.filter,
        "filter2": diff.filter,
        "column_mapping": mapping or None,
        "time_column": options.get("time_column") or None,
        "time_travel_point1": options.get("prod_time_travel"),
        "time_travel_point2": options.get("pr_time_travel"),
        **(_sampling_asked(config) if config.enable_sampling else {}),
    }


def _sampling_asked(config: CiConfig) -> Json:
    return {
        "sampling_tolerance": config.sampling_tolerance,
        "sampling_confidence": config.sampling_confidence,
        "sampling_threshold": config.sampling_threshold,
    }


def _ci_spec(
    diff: CiDiff,
    node: Mapping[str, Any],
    config: CiConfig,
    connection: Connection,
    use: ConnectionUse,
    mapping: list[list[str]],
) -> Json:
    options = node.get("options", {})
    sampling = _set(
        tolerance=config.sampling_tolerance,
        confidence=config.sampling_confidence,
        threshold=config.sampling_threshold,
    )
    time = {"column": options["time_column"], "aggregate": "day"} if options.get("time_column") else None
    return {
        "a": _set(
            connection=use.name,
            table=diff.prod,
            filter=diff.filter,
            time_travel=options.get("prod_time_travel"),
        ),
        "b": _set(
            connection=use.name, table=diff.pr, filter=diff.filter, time_travel=options.get("pr_time_travel")
        ),
        **_set(
            key=diff.pk,
            key_source=node.get("key_source") if diff.pk else None,
            include=diff.include_columns,
            exclude=diff.exclude_columns,
            ignore_columns=config.ignore_columns,
            renames=mapping,
            sampling=sampling if config.enable_sampling else None,
            time=time,
            fail_on_bad_keys=config.fail_on_primary_key_issues,
        ),
        **({} if config.show_row_values else {"row_values": False}),
        **_tolerance(connection),
    }


def _set(**fields: Any) -> Json:
    """Only what says something."""
    return {k: v for k, v in fields.items() if v not in (None, "", [], {}, False)}


def path_of(text: str) -> list[str]:
    """The parts of a dotted name; double quotes protect dots, two of them are one."""
    parts, part, inside = [], "", False
    for char in text.replace('""', "\0"):
        if char == '"':
            inside = not inside
        elif char == "." and not inside:
            parts.append(part)
            part = ""
        else:
            part += '"' if char == "\0" else char
    return [*parts, part]


def _tolerance(connection: Connection) -> Json:
    about: Mapping[str, Any] = connection.extra.get("datafold") or {}
    value = float(about.get("float_tolerance") or 0.0)
    return {"tolerance": {"value": value}} if value > 0 else {}


def from_api(
    request: DataDiff, a: Connection, b: Connection, destination: Connection | None = None
) -> JobPlan:
    """The job of one API diff; 422 for what is not served. `destination`: the data source that gets its
    results as tables."""
    _served(request)
    given = request.model_dump(mode="json", exclude_unset=True)
    spec: Json = {
        "a": _side(a, request, "1"),
        "b": _side(b, request, "2"),
        **_set(
            key=request.pk_columns,
            include=request.columns_to_compare or request.include_columns,
            exclude=request.exclude_columns,
            mapping=[list(pair) for pair in request.column_mapping or ()],
            rules=[rule.model_dump(exclude_none=True) for rule in request.column_rules or ()],
            avoid_key_names=request.infer_pk_avoid_names,
            avoid_key_types=request.infer_pk_avoid_types,
            ignore_case="case_insensitive_strings" in (request.table_modifiers or ()),
            null_is_empty="null_equals_empty_string" in (request.table_modifiers or ()),
            sort_arrays=request.sort_array_columns,
            sampling=_sampling(request),
            materialize=_materialize(destination, request),
            time=_time(request),
            algorithm=request.algorithm,
            profiles=request.run_profiles,
            bisection_factor=request.bisection_factor,
            bisection_threshold=request.bisection_threshold,
        ),
        **({"compare_duplicates": False} if request.compare_duplicates is False else {}),
        **({} if request.datetime_tolerance is None else {"datetime_digits": request.datetime_tolerance}),
        **(
            {}
            if request.download_limit is None
            else {"parquet_rows": min(request.download_limit, MOST_PARQUET_ROWS)}
        ),
        **(
            {}
            if request.per_column_diff_limit is None
            else {"rows_per_column": request.per_column_diff_limit}
        ),
        **({} if request.show_row_values else {"row_values": False}),
        **_tolerance(a),
    }
    if request.diff_tolerance:
        spec["tolerance"] = {"value": request.diff_tolerance, "mode": request.tolerance_mode or "absolute"}
    if request.diff_tolerances_per_column:
        spec["tolerances"] = {
            t.column_name: {"value": t.tolerance_value, "mode": t.tolerance_mode}
            for t in request.diff_tolerances_per_column
        }
    open = [a, b, *([destination] if destination else [])]
    uses = [sources.for_job(c) for c in {c.id: c for c in open}.values()]
    files = [spec[side]["file"] for side in "ab" if "file" in spec[side]]
    return diff_job(spec, uses, given, errors_fail=True, confirm=False, files=files)


def _materialize(destination: Connection | None, request: DataDiff) -> Json | None:
    """Under a name of its own: diffs may not write over each other."""
    if destination is None:
        return None
    name = f"datadiff_{uuid4().hex[:16]}"
    return {
        "connection": str(destination.id),
        "schema": sources.temp_schema(destination),
        "name": name,
        **_set(dataset1=request.materialize_dataset1, dataset2=request.materialize_dataset2),
    }


def _sampling(request: DataDiff) -> Json | None:
    """None also where results are to be materialised without sampling: all rows are compared then."""
    if request.materialization_destination_id and request.materialize_without_sampling:
        return None
    found = _set(
        tolerance=request.sampling_tolerance,
        confidence=request.sampling_confidence,
        ratio=request.sampling_ratio,
        max_rows=request.sampling_max_rows,
    )
    return {**found, **_set(threshold=request.sampling_threshold)} if found else None


def _time(request: DataDiff) -> Json | None:
    if not request.time_column:
        return None
    start, end = request.time_interval_start, request.time_interval_end
    return _set(
        column=request.time_column,
        aggregate=request.time_aggregate or "day",
        start=start.isoformat() if start else None,
        end=end.isoformat() if end else None,
    )


def _side(connection: Connection, request: DataDiff, n: str) -> Json:
    table, query, file, filter = (
        getattr(request, f"{name}{n}") for name in ("table", "query", "file", "filter")
    )
    if sum(map(bool, (table, query, file))) != 1:
        raise refused_field(
            ("body", f"table{n}"), f"exactly one of table{n}, query{n} and file{n} is needed", "missing"
        )
    if table and len(table) > 3:
        raise UnknownReference(f"table{n} may have at most three parts.")
    session = getattr(request, f"data_source{n}_session_parameters")
    shared = _set(filter=filter, time_travel=getattr(request, f"time_travel_point{n}"), session=session)
    if file:
        return {"file": _file(file, n), **_file_options(request, n), **_set(filter=filter)}
    name = {"query": query} if query else {"table": dotted(table)}
    return {"connection": str(connection.id), **name, **shared}


def _file(uri: str, n: str) -> str:
    """The path of a file of the server: `/abs/path` or `file:///abs/path`."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        uri = unquote(parts.path)
    if not uri.startswith("/") or "/../" in uri or "\0" in uri:
        message = "only files of the server can be read: file:///absolute/path"
        raise refused_field(("body", f"file{n}"), message, "not_served")
    return uri


def _file_options(request: DataDiff, n: str) -> Json:
    given = getattr(request, f"file{n}_options")
    if given is None:
        raise refused_field(("body", f"file{n}_options"), f"file{n} needs file{n}_options", "missing")
    if given.file_type == "excel":
        raise refused_field(
            ("body", f"file{n}_options", "file_type"),
            f"excel {NOT_SERVED}: save it as CSV or Parquet",
            "not_served",
        )
    options = _set(
        type=given.file_type,
        delimiter=given.delimiter,
        skip_head_rows=given.skip_head_rows,
        skip_tail_rows=given.skip_tail_rows,
    )
    return {"file_options": options}


def dotted(table: Sequence[str]) -> str:
    """A path as one text: dots and quotes inside a part must not split it."""
    return ".".join('"' + p.replace('"', '""') + '"' if "." in p or '"' in p else p for p in table)


def _served(request: DataDiff) -> None:
    if not request.pk_columns and not request.infer_pk:
        raise refused_field(("body", "pk_columns"), "pk_columns may be empty only with infer_pk", "missing")
    if request.pk_columns or not request.infer_pk:
        for name in ("infer_pk_avoid_names", "infer_pk_avoid_types"):
            if getattr(request, name):
                raise refused_field(("body", name), "only with infer_pk and without pk_columns")
    _sampled_one_way(request)


def _sampled_one_way(request: DataDiff) -> None:
    if (request.sampling_tolerance is None) != (request.sampling_confidence is None):
        name = "sampling_confidence" if request.sampling_confidence is None else "sampling_tolerance"
        raise refused_field(
            ("body", name), "sampling_tolerance and sampling_confidence come together", "missing"
        )
    ways = (request.sampling_tolerance, request.sampling_ratio, request.sampling_max_rows)
    if sum(way is not None for way in ways) > 1:
        message = (
            "only one of sampling_tolerance with sampling_confidence, sampling_ratio and sampling_max_rows"
        )
        raise refused_field(("body", "sampling_ratio"), message)
    if request.sampling_threshold is not None and all(way is None for way in ways):
        message = (
            "says when to sample, but nothing says how: add sampling_ratio, sampling_max_rows or a tolerance"
        )
        raise refused_field(("body", "sampling_threshold"), message)
