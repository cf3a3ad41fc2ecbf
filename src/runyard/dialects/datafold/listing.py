"""Filters and order of the list of diffs: any listed field may be given, commas mean or, dates take `<D`,
`>D`, `D` and `D1<<D2` (contracts/datafold.md §3 and §6). Pure. Fields that name what cannot be here
(monitors, data apps) are null and match nothing but the empty text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from runyard.dialects.datafold.refusals import refused_field

_FIELDS = """
    id user_id user_name data_source1_id data_source2_id table1 table2 query1 query2 pk_columns include_columns exclude_columns time_column
    time_aggregate filter1 filter2 done time_interval_start time_interval_end created_at updated_at diff_stats_pks diff_stats_rows
    diff_stats_values stats.match_ratio tags source status bisection_factor bisection_threshold ci_type ci_run_id pr_user_id pr_username
    pr_user_email pr_user_display_name pr_num pr_branch monitor_id data_app_type data_app_data_source_id data_app_model1_id data_app_model2_id
    data_app_model1_name data_app_model2_name user_ref result archived purged kind
"""
FIELDS = frozenset(_FIELDS.split())
DATES = frozenset({"created_at", "updated_at", "time_interval_start", "time_interval_end"})
FOUND = frozenset(
    {
        "result",
        "status",
        "pk_columns",
        "diff_stats_pks",
        "diff_stats_rows",
        "diff_stats_values",
        "stats.match_ratio",
    }
)
"""Fields that need a diff's report."""
_SHOWN_AS = {
    "pr_num": "ci_pr_num",
    "pr_branch": "ci_pr_branch",
    "pr_user_id": "ci_pr_user_id",
    "pr_username": "ci_pr_username",
    "pr_user_email": "ci_pr_user_email",
    "pr_user_display_name": "ci_pr_user_display_name",
}
_STATS = {
    "stats.match_ratio": "match_ratio",
    "diff_stats_pks": "diff_pks",
    "diff_stats_rows": "diff_rows",
    "diff_stats_values": "diff_values",
}
_SETS = frozenset({"tags", "pk_columns", "include_columns", "exclude_columns", "user_name"})
"""Lists of which one member is asked for; the others are paths."""
_TRUTHS = {True: frozenset({"true", "1", "yes", "on"}), False: frozenset({"false", "0", "no", "off"})}
Shown = Mapping[str, Any]
Span = tuple[datetime, datetime]
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def wanted(query: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """The filters of a query string."""
    found = {name: text.split(",") for name, text in query.items() if name in FIELDS}
    for name in DATES & found.keys():
        for text in found[name]:
            span_of(name, text)
    return dict(found)


def fits(diff: Shown, filters: Mapping[str, Sequence[str]]) -> bool:
    """Whether every filter holds."""
    return all(_holds(name, value(diff, name), texts) for name, texts in filters.items())


def _holds(name: str, found: Any, texts: Sequence[str]) -> bool:
    if name in DATES:
        at = _moment(name, found) if found else None
        return at is not None and any(low <= at < high for low, high in (span_of(name, t) for t in texts))
    said = {*texts, ",".join(texts)}  # an SQL text has commas of its own
    if isinstance(found, list):
        return not said.isdisjoint({".".join(map(str, found)), *(map(str, found) if name in _SETS else ())})
    if isinstance(found, bool):
        return any(t.strip().lower() in _TRUTHS[found] for t in texts)
    if isinstance(found, int | float):
        return any(_is_number(t, found) for t in texts)
    return text(found) in said


def _is_number(said: str, found: float) -> bool:
    """1.0, 1 and 1e0 are the same; floats by the digits that are shown of them, integers exactly."""
    try:
        return Decimal(said.strip()) == Decimal(str(found))
    except InvalidOperation:  # no number, or one that is signalling that it is none
        return False


def value(diff: Shown, name: str) -> Any:
    """What a listed field means in a shown diff."""
    if name in _STATS:
        return diff["diff_stats"].get(_STATS[name])
    return diff.get(_SHOWN_AS.get(name, name))


def text(found: Any) -> str:
    """A value as a filter writes it."""
    return ".".join(map(str, found)) if isinstance(found, list) else "" if found is None else str(found)


def sort_key(diff: Shown, name: str) -> tuple[int, float, str]:
    """Missing first, then numbers, then texts."""
    found = value(diff, name)
    if found is None:
        return (0, 0.0, "")
    if isinstance(found, int | float):
        return (1, float(found), "")
    return (2, 0.0, text(found))


def span_of(name: str, said: str) -> Span:
    """[from, to) of `<D`, `>D`, `D1<<D2` or `D`, which is a whole day when no time is told, else the
    second."""
    if "<<" in said:
        low, _, high = said.partition("<<")
        return _moment(name, low), _end(name, high)
    if said.startswith("<"):
        return _FIRST, _moment(name, said[1:])
    if said.startswith(">"):
        return _end(name, said[1:]), _LAST
    return _moment(name, said), _end(name, said)


def _moment(name: str, said: Any) -> datetime:
    try:
        found = datetime.fromisoformat(str(said).strip().replace("Z", "+00:00").replace(" ", "+"))
    except ValueError:
        message = "must be a date like 2026-11-21 or 2026-11-21T10:00:00Z, with < or > before it, or two with << between"
        raise refused_field(("query", name), message, "datetime_parsing") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _end(name: str, said: str) -> datetime:
    """The end of what is meant by a date or a time."""
    at = _moment(name, said)
    try:
        return at + (timedelta(days=1) if len(said.strip()) == len("2026-11-21") else timedelta(seconds=1))
    except OverflowError:
        return _LAST
