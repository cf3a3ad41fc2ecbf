"""Suites: which validators run, on what, with which options, started by what. Kept as Records of kind
`looker.suite`; the id is the record's.

`written(body, before)` checks a create or update body field by field and gives the suite's data; every field
has Looker's default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runyard.dialects.looker.refusals import Detail, Unprocessable
from runyard.model.work import Record
from runyard.syntax.cron import CronError
from runyard.syntax.cron import check as check_cron
from runyard.tasks.lookml.sql.dialects import dialect_named

KIND = "looker.suite"
VALIDATORS = ("lookml", "style", "sql", "assert", "content")
SEALED = "sealed_webhook_secret"
"""Where a suite's data keeps `webhook_secret`, sealed by the vault; never shown."""

SEVERITIES = ("info", "warning", "error", "fatal", "success")
MAX_LIST = 1000
MAX_TEXT = 4096

Data = dict[str, Any]


def _text(value: Any) -> str | None:
    return (
        None
        if isinstance(value, str) and len(value) <= MAX_TEXT
        else "must be a text of at most 4096 characters"
    )


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _count(value: Any) -> str | None:
    return None if type(value) is int and 1 <= value <= 1_000_000 else "must be a whole number from 1"


def _texts(value: Any) -> str | None:
    fine = isinstance(value, list) and len(value) <= MAX_LIST and all(_text(v) is None for v in value)
    return None if fine else f"must be a list of at most {MAX_LIST} texts"


def _selectors(value: Any) -> str | None:
    if _texts(value):
        return _texts(value)
    wrong = next((v for v in value if v.count("/") != 1 or not all(v.split("/"))), None)
    return None if wrong is None else f"{wrong[:100]!r} is not model/explore"


def _severity(value: Any) -> str | None:
    return None if value in SEVERITIES else f"must be one of {', '.join(SEVERITIES)}"


def _crontab(value: Any) -> str | None:
    if value == "":
        return None
    try:
        check_cron(value if isinstance(value, str) else "")
    except CronError as error:
        return f"must have the five fields of a crontab line: {error}"
    return None


def _zone(value: Any) -> str | None:
    try:
        check_cron("0 0 * * *", value if isinstance(value, str) else "?")
    except CronError as error:
        return f"must be the name of a time zone: {error}"
    return None


def _written(value: Any) -> str | None:
    fine = isinstance(value, str) and (value == "" or dialect_named(value) is not None)
    return None if fine else "must be empty or one of bigquery, snowflake, redshift, postgres, duckdb"


def _limit(value: Any) -> str | None:
    return None if type(value) is int and 0 <= value <= 1_000_000 else "must be a whole number from 0"


Check = Callable[[Any], str | None]
FIELDS: Mapping[str, tuple[Any, Check]] = {
    "name": ("", _text),
    "schedule_trigger_is_enabled": (False, _flag),
    "schedule_trigger_crontab": ("", _crontab),
    "schedule_trigger_timezone": ("UTC", _zone),
    "alerting_enabled": (False, _flag),
    "alert_email_addresses": ([], _texts),
    "alert_on_failed_status": (True, _flag),
    "alert_on_error_status": (True, _flag),
    "alert_on_passed_status": (False, _flag),
    "alert_on_cancelled_status": (False, _flag),
    "change_request_trigger_is_enabled": (False, _flag),
    "change_request_trigger_target_branch": ("", _text),
    "dbt_cloud_trigger_is_enabled": (False, _flag),
    "dbt_cloud_trigger_job_id": (None, _count),
    "dbt_cloud_trigger_user_attribute_id": ("", _text),
    "upstream_trigger_is_enabled": (False, _flag),
    "upstream_projects": ([], _texts),
    "assert_validator_config_is_enabled": (False, _flag),
    "assert_validator_config_concurrency": (10, _count),
    "assert_validator_config_selectors": ([], _selectors),
    "assert_validator_config_exclusions": ([], _selectors),
    "content_validator_config_is_enabled": (False, _flag),
    "content_validator_config_exclude_personal": (False, _flag),
    "content_validator_config_incremental": (False, _flag),
    "content_validator_config_exclude_folders": ([], _texts),
    "content_validator_config_include_folders": ([], _texts),
    "content_validator_config_selectors": ([], _selectors),
    "content_validator_config_exclusions": ([], _selectors),
    "lookml_validator_config_is_enabled": (True, _flag),
    "lookml_validator_config_severity": ("warning", _severity),
    "lookml_validator_config_timeout": (600, _count),
    "style_validator_config_is_enabled": (False, _flag),
    "style_validator_config_incremental": (True, _flag),
    "sql_validator_config_is_enabled": (True, _flag),
    "sql_validator_config_fail_fast": (False, _flag),
    "sql_validator_config_incremental": (False, _flag),
    "sql_validator_config_ignore_hidden": (False, _flag),
    "sql_validator_config_query_concurrency": (10, _count),
    "sql_validator_config_chunk_size": (500, _count),
    "sql_validator_config_selectors": ([], _selectors),
    "sql_validator_config_exclusions": ([], _selectors),
    # Ours; Looker's clients leave them out, any HTTP client may set them.
    "sql_validator_config_measures": (False, _flag),
    "written_for": ("", _written),
    "push_trigger_is_enabled": (False, _flag),
    "push_trigger_branches": ([], _texts),
    "refuse_duplicate_runs": (False, _flag),
    "runs_per_hour_limit": (0, _limit),
}
"""Writable fields: default and check. `webhook_secret` is write-only: see SEALED."""

Seal = Callable[[str], str]


def written(body: Mapping[str, Any], before: Data | None = None, seal: Seal | None = None) -> Data:
    """The suite's data after this body. A field given as null goes back to its default. `seal` keeps the
    webhook's secret."""
    data = {name: default for name, (default, _) in FIELDS.items()} | (before or {})
    details = []
    for name, (default, check) in FIELDS.items():
        if name not in body:
            continue
        value = body[name]
        complaint = None if value is None else check(value)
        if complaint:
            details.append(Detail(name, "invalid", f"{name} {complaint.rstrip('.')}."))
        data[name] = default if value is None else value
    if body.get("webhook_secret") is not None and _text(body["webhook_secret"]):
        details.append(Detail("webhook_secret", "invalid", "webhook_secret must be a text."))
    details += [d for d in _lacking(data) if not details]
    if details:
        raise Unprocessable(*details)
    if "webhook_secret" in body and seal is not None:
        given = body["webhook_secret"]
        data[SEALED] = seal(given) if given else ""
    return data


def _lacking(data: Data) -> list[Detail]:
    """Fields that others make necessary."""
    found = []
    if not str(data["name"]).strip():
        found.append(Detail("name", "missing_field", "name is required."))
    if data["schedule_trigger_is_enabled"] and not data["schedule_trigger_crontab"]:
        found.append(
            Detail("schedule_trigger_crontab", "missing_field", "A schedule needs schedule_trigger_crontab.")
        )
    return found


def whole(data: Mapping[str, Any]) -> Data:
    """A suite's data with a value for every field, also those that came after it was stored."""
    return {name: default for name, (default, _) in FIELDS.items()} | dict(data)


def is_incremental(validator: str, data: Mapping[str, Any]) -> bool:
    """Whether only errors that the target does not have count."""
    return bool(data.get(f"{validator}_validator_config_incremental"))


def enabled(data: Mapping[str, Any]) -> list[str]:
    """The validators that this suite asks for, in Looker's order."""
    return [v for v in VALIDATORS if data.get(f"{v}_validator_config_is_enabled")]


def shape(record: Record, time: Callable[[int | None], str | None]) -> dict[str, Any]:
    """ProjectCISuite."""
    return {
        "can": {"show": True, "update": True, "destroy": True, "run": True},
        "id": str(record.id),
        "project_id": str(record.project_id),
        "created_at": time(record.created_at),
        "updated_at": time(record.updated_at),
        "change_request_trigger_hook_id": None,
        "guid": f"runyard-suite-{record.id}",
        "dbt_cloud_webhook_id": None,
        "has_webhook_secret": bool(record.data.get(SEALED)),
        **{name: record.data.get(name, default) for name, (default, _) in FIELDS.items()},
    }
