"""What a diff found, for the API: reads the report artifact of a job's latest attempt and shapes diffs,
summaries and statistics.

Report blobs are immutable, so parsed ones are kept; a missing or broken one is a failed diff, never a server
error.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runyard.dialects.datafold.compile import REPORT
from runyard.dialects.datafold.runs import about
from runyard.dialects.datafold.words import say
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Blobs, Page, Tx
from runyard.model.errors import NotFound, RunyardError
from runyard.model.state import Outcome, State
from runyard.model.work import Artifact, Attempt, Job, Record, Run

MOST_REPORT_BYTES = 64 << 20
KEPT = 128
Json = dict[str, Any]


ENDED_AS = "ended_as"  # a purged diff's status, which its report can no longer tell


@dataclass(frozen=True, slots=True)
class Stored:
    """A diff's rows."""

    record: Record
    run: Run
    job: Job
    attempt: Attempt
    report: Artifact | None


@dataclass(frozen=True, slots=True)
class Diff:
    """A diff with its result, {} while there is none."""

    stored: Stored
    result: Mapping[str, Any]

    @property
    def status(self) -> str:
        """JobStatus. A finished comparison is done whatever it found."""
        attempt = self.stored.attempt
        if ended := self.stored.record.data.get(ENDED_AS):
            return str(ended)
        if attempt.state is State.DONE and attempt.outcome is Outcome.FAILED and self.succeeded:
            return "done"
        return say(attempt.state, attempt.outcome, attempt.hold)

    @property
    def succeeded(self) -> bool:
        """Whether there is a result to show."""
        return self.result.get("status") == "success"


def load(tx: Tx, record: Record) -> Stored:
    """The rows behind a diff; NotFound when the run was removed."""
    found = tx.attempts(AttemptFilter(job_id=int(record.data["job_id"]), latest_only=True), Page(limit=1))
    run = tx.get(Run, int(record.data["run_id"]))
    if not found or run is None:
        raise NotFound(f"The run of data diff {record.id} was removed.")
    job, attempt = found[0]
    reports = tx.artifacts(ArtifactFilter(attempt_id=attempt.id, type=REPORT), Page(limit=1))
    return Stored(record, run, job, attempt, reports[0] if reports else None)


@dataclass(slots=True)
class Reports:
    """Parsed reports, the latest few."""

    blobs: Blobs
    kept: OrderedDict[str, Mapping[str, Any]] = field(default_factory=OrderedDict)

    async def of(self, stored: Stored) -> Diff:
        """The diff with its result."""
        report = stored.report
        if report is None or stored.attempt.state is not State.DONE:
            return Diff(stored, {})
        if report.blob not in self.kept:
            self.kept[report.blob] = await asyncio.to_thread(self._read, report)
            if len(self.kept) > KEPT:
                self.kept.popitem(last=False)
        return Diff(stored, self.kept[report.blob])

    def _read(self, report: Artifact) -> Mapping[str, Any]:
        if report.size_bytes > MOST_REPORT_BYTES:
            return {}
        try:
            found = json.loads(b"".join(self.blobs.open(report.blob)))
        except (ValueError, RecursionError, RunyardError):
            return {}
        return found if isinstance(found, dict) and found.get("version") == 1 else {}


def moment(at: int | None) -> str | None:
    """ISO 8601, UTC."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary_results(diff: Diff) -> Json:
    """§3.3, always the same-database shape: the SDK's poller needs every part, and knows only `success` and
    `failed`."""
    state = diff.stored.attempt.state
    if state is not State.DONE:
        return {"status": "running" if state in (State.RUNNING, State.STOPPING) else "pending"}
    if not diff.succeeded:
        return {"status": "failed", "error": error_of(diff)}
    result = diff.result
    schema = {k: v for k, v in result["schema"].items() if k != "types"}  # ours; the report has them
    return {
        "status": "success",
        "pks": result["pks"],
        "values": result["values"],
        "schema": schema,
        "dependencies": diff.stored.record.data.get("dependencies") or [],
        "materialized_results": _materialized(result, diff.stored.record.data.get("request") or {}),
        "exclusives_profile": result.get("exclusives_profile"),
        **{k: result[k] for k in ("duplicates", "column_profiles") if result.get(k)},
    }


def _materialized(result: Mapping[str, Any], request: Mapping[str, Any]) -> Json:
    """Where the results lie as tables; null where that was not asked for, or did not work (the report's
    warnings say why). The two datasets, which the vendor's answer does not have, are there only for those who
    asked for them."""
    made = result.get("materialized") or {}
    datasets = [name for name in ("dataset1", "dataset2") if request.get(f"materialize_{name}")]
    return {
        name: [
            {"data_source_id": int(t["connection"]), "path": t["path"], "is_sampled": t["is_sampled"]}
            for t in made[name]
        ]
        if name in made
        else None
        for name in ("diff", "exclusives", "duplicates1", "duplicates2", *datasets)
    }


def error_of(diff: Diff) -> Json:
    """Why there is no result."""
    if "error" in diff.result:
        return dict(diff.result["error"])
    attempt = diff.stored.attempt
    if attempt.erased_at is not None:
        value = "What this diff found was purged. Make the diff again."
        return {"error_type": "PurgedException", "error_value": value, "is_retryable": False}
    kind = "CancelledException" if attempt.outcome is Outcome.CANCELED else "JobException"
    why = attempt.message or attempt.reason.value.replace("_", " ")
    value = f"The job left no result{f' ({why})' if why else ''}: its log says why."
    return {"error_type": kind, "error_value": value, "is_retryable": attempt.outcome is Outcome.ERRORED}


def diff_stats(diff: Diff) -> Json:
    """DiffStats: ratios and counts, nulls until there is a result."""
    names = (
        *("diff_pks", "diff_rows", "diff_values", "diff_schema", "diff_null_pks", "diff_duplicate_pks"),
        *("diff_rows_count", "diff_rows_number", "match_ratio", "rows_added", "rows_removed"),
        *("table_a_row_count", "table_b_row_count", "sampled", "errors"),
    )
    found: Json = {"version": "1", **dict.fromkeys(names)}
    if not diff.succeeded:
        return found | ({"errors": 1} if diff.stored.attempt.state is State.DONE else {})
    pks, values, schema = (diff.result[part] for part in ("pks", "values", "schema"))
    rows = sum(pks["total_rows"])
    return found | {
        "diff_pks": _ratio(sum(pks["exclusives"]), sum(pks["distincts"])),
        "diff_rows": _ratio(values["rows_with_differences"], values["total_rows"]),
        "diff_values": _ratio(values["values_with_differences"], values["total_values"]),
        "diff_schema": _ratio(sum(schema["columns_mismatched"]), sum(schema["column_counts"])),
        "diff_null_pks": _ratio(sum(pks["nulls"]), rows),
        "diff_duplicate_pks": _ratio(sum(pks["dupes"]), rows),
        "diff_rows_count": values["rows_with_differences"],
        "diff_rows_number": values["rows_with_differences"],
        "match_ratio": diff.result["match_score"],
        "rows_added": pks["exclusives"][1],
        "rows_removed": pks["exclusives"][0],
        "table_a_row_count": pks["total_rows"][0],
        "table_b_row_count": pks["total_rows"][1],
        "sampled": bool(diff.result.get("sampled")),
        "errors": 0,
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


_NULLS = """
    table1 query1 file1 file1_options filter1 table2 query2 file2 file2_options filter2 time_travel_point1 time_travel_point2
    columns_to_compare column_mapping column_rules diff_tolerance tolerance_mode diff_tolerances_per_column datetime_tolerance
    table_modifiers sort_array_columns infer_pk_avoid_names infer_pk_avoid_types sampling_tolerance sampling_confidence sampling_ratio
    sampling_max_rows sampling_threshold materialize_dataset1 materialize_dataset2 materialization_destination_id time_column
    time_aggregate time_interval_start time_interval_end bisection_factor bisection_threshold download_limit per_column_diff_limit
    run_profiles tags data_source1_session_parameters data_source2_session_parameters
"""
UNASKED: Json = {
    **dict.fromkeys(_NULLS.split()),
    "include_columns": [],
    "exclude_columns": [],
    "infer_pk": False,
    "compare_duplicates": True,
    "materialize_without_sampling": False,
    "archived": False,
    "purged": False,
}
"""What a diff echoes of the request's fields that were not given (§3.1)."""


def full(diff: Diff) -> Json:
    """ApiDataDiffFull."""
    stored, request = diff.stored, diff.stored.record.data.get("request", {})
    attempt, told = stored.attempt, about(stored.run)
    status = diff.status
    is_ci = "ci_config_id" in told
    key = diff.result.get("key", {}).get("columns") if diff.succeeded else None
    values = diff.result.get("values", {}).get("columns_diff_stats", [])
    runtime = (
        (attempt.finished_at - attempt.started_at) / 1000
        if attempt.finished_at and attempt.started_at
        else None
    )
    same = request.get("data_source1_id") == request.get("data_source2_id")
    return {
        **UNASKED,
        **request,
        "pk_columns": request.get("pk_columns") or key or [],
        "id": stored.record.id,
        "kind": "in_db" if same else "cross_db",
        "algorithm": request.get("algorithm") or ("join" if same else "fetch_and_join"),
        "status": status,
        "done": attempt.state is State.DONE,
        "result": diff.result.get("result") if diff.result else ("error" if status == "failed" else None),
        "result_statuses": {},
        "result_revisions": {},
        "source": "ci" if is_ci else "api",
        "user_id": stored.run.actor_id,
        "archived": bool(stored.record.data.get("archived", request.get("archived"))),
        "purged": bool(stored.record.data.get("purged")),
        "created_at": moment(stored.record.created_at),
        "updated_at": moment(attempt.finished_at or attempt.started_at or stored.record.updated_at),
        "finished_at": moment(attempt.finished_at),
        "runtime": runtime,
        "affected_columns": [c["column_name"] for c in values if c["values_different"]],
        "diff_stats": diff_stats(diff),
        **dict.fromkeys(("share_url", "share_token", "execute_as_user", "temp_schema_override")),
        **dict.fromkeys(
            ("monitor_id", "monitor_state", "monitor_error", "data_app_type", "data_app_metadata")
        ),
        "ci_run_id": stored.run.id if is_ci else None,
        "ci_pr_num": told.get("pr_num"),
        "ci_pr_branch": told.get("pr_branch"),
        "ci_base_branch": told.get("base_branch"),
        "ci_pr_sha": told.get("pr_sha"),
        **dict.fromkeys(("ci_pr_url", "ci_sha_url", "ci_pr_username", "ci_pr_user_id")),
        **dict.fromkeys(("ci_pr_user_email", "ci_pr_user_display_name")),
    }


def summary(diff: Diff, names: Mapping[int, str]) -> Json:
    """ApiDataDiffSummary."""
    shown = full(diff)
    failed = shown["status"] == "failed"
    first, second = shown.get("data_source1_id"), shown.get("data_source2_id")
    changed = diff.result.get("rows", {})
    return {
        "id": shown["id"],
        "status": shown["status"],
        "data_source1_id": first,
        "data_source2_id": second,
        "data_source1_name": names.get(first or 0),
        "data_source2_name": names.get(second or 0),
        "table1": ".".join(shown.get("table1") or ()) or None,
        "table2": ".".join(shown.get("table2") or ()) or None,
        "pk_columns": shown["pk_columns"],
        "include_columns": shown["include_columns"] or [],
        "algorithm": shown["algorithm"],
        "sampling_ratio": shown.get("sampling_ratio"),
        "result": shown["result"],
        "result_status": "failed" if failed else "success" if shown["done"] else None,
        "results_count": sum(int(changed.get(k, 0)) for k in ("changed", "only_a", "only_b")),
        "feedback": _feedback(diff) if diff.succeeded else None,
        "diff_stats": shown["diff_stats"],
        "error": error_of(diff) if failed else None,
        "created_at": shown["created_at"],
        "finished_at": shown["finished_at"],
    }


def _feedback(diff: Diff) -> str:
    pks, values = diff.result["pks"], diff.result["values"]
    return (
        f"{values['rows_with_differences']} of {values['total_rows']} compared rows differ in {values['columns_with_differences']} "
        f"columns; {pks['exclusives'][0]} keys only in A, {pks['exclusives'][1]} only in B; {sum(pks['nulls'])} null and "
        f"{sum(pks['dupes'])} duplicate keys were left out. Key: {', '.join(diff.result['key']['columns'])} "
        f"({diff.result['key']['source']})."
    )
