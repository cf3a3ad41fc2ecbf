"""What a CI run found, for people and programs: one JSON document, and the Markdown made of it, ready to post
on the pull request. Pure.

Contents follow what Datafold's own comment tells per table (contracts/datafold.md §8.7): rows, columns,
schema, keys, values; its exact Markdown is not public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runyard.dialects.datafold import runs
from runyard.dialects.datafold.pairs import dotted, path_of
from runyard.dialects.datafold.results import Diff, error_of, full
from runyard.dialects.datafold.words import say
from runyard.model.work import Run
from runyard.tasks.datadiff.telling import duplicates_told

Json = dict[str, Any]
MOST_LINES = 200  # tables in the Markdown; a comment has its limits
MOST_COLUMNS = 12  # changed columns named per table


def ci_run(run: Run) -> Json:
    """ApiCiRun: `pr_num` is text, or the vendor's client stops."""
    told = runs.about(run)
    return {
        "id": run.id,
        "base_branch": str(told.get("base_branch", "")),
        "base_sha": str(told.get("base_sha", "")),
        "pr_branch": str(told.get("pr_branch", "")),
        "pr_sha": str(told.get("pr_sha", "")),
        "pr_num": str(told.get("pr_num", "")),
        "source": str(told.get("source", "api")),
        "status": say(run.state, run.outcome, run.hold),
    }


def report(run: Run, diffs: Sequence[Diff]) -> Json:
    """The whole run."""
    told = runs.about(run)
    reasons: Mapping[str, Any] = told.get("reasons") or {}
    lines = [_line(diff, reasons) for diff in diffs]
    _name(lines)
    results = [line["result"] for line in lines]
    return {
        "run": ci_run(run),
        "page": f"/datadiffs/runs/{run.id}",
        "totals": {
            "diffs": len(lines),
            "done": sum(line["status"] == "done" for line in lines),
            "different": sum(r in ("different", "missing-pks", "bad-pks") for r in results),
            "identical": sum(r in ("identical", "empty") for r in results),
            "failed": sum(line["status"] == "failed" for line in lines),
            "bad_keys": results.count("bad-pks"),
            "waiting_for_confirmation": sum(line["status"] == "needs_confirmation" for line in lines),
        },
        "diffs": lines,
        "notes": [str(note) for note in told.get("notes") or ()],
        "renames": [[old, new, models] for old, new, models in told.get("renames") or ()],
    }


def _name(lines: list[Json]) -> None:
    """People know a table by its last name, where that is the only one; schemas of builds are long."""
    short = [path_of(line["table2"])[-1] or "query" for line in lines]
    for line, name in zip(lines, short, strict=True):
        line["name"] = name if short.count(name) == 1 else line["table2"] or "query"


def _line(diff: Diff, reasons: Mapping[str, Any]) -> Json:
    shown = full(diff)
    table1, table2 = (dotted(shown.get(name) or ()) for name in ("table1", "table2"))
    found: Json = {
        "id": shown["id"],
        "table1": table1,
        "table2": table2,
        "status": shown["status"],
        "result": shown["result"],
        "attempt_id": diff.stored.attempt.id,
        "overview": f"/datadiffs/{shown['id']}/overview",
        "reasons": list(reasons.get((shown.get("table2") or [""])[-1], ())),
        "runtime": shown["runtime"],
        "match_score": None,
        "key": None,
        "pks": None,
        "values": None,
        "schema": None,
        "samples": None,
        "downstream": [one["name"] for one in diff.stored.record.data.get("dependencies") or ()],
        "duplicates": duplicates_told(diff.result),
        "warnings": list(diff.result.get("warnings") or ()),
        "error": error_of(diff) if shown["status"] == "failed" else None,
    }
    if diff.succeeded:
        kept = ("match_score", "key", "pks", "values", "schema", "samples")
        found |= {name: diff.result.get(name) for name in kept}
    return found


_MARKS = {
    "identical": "✅ identical",
    "empty": "✅ both empty",
    "different": "🔶 different",
    "missing-pks": "🔶 rows missing",
    "bad-pks": "⚠️ null or duplicate keys",
    "error": "❌ not compared",
}


def markdown(found: Mapping[str, Any], server: str) -> str:
    """A comment for the pull request."""
    run, totals = found["run"], found["totals"]
    head = f"## Data diff of {_code(run['pr_branch'] or run['pr_sha'][:8])}"
    parts = [f"{totals[name]} {words}" for name, words in _TOTALS if totals[name]]
    lines = [
        head,
        "",
        f"**{run['status']}** · {totals['diffs']} table{'' if totals['diffs'] == 1 else 's'}"
        + (": " + ", ".join(parts) if parts else "")
        + f" · commit `{run['pr_sha'][:8]}` · "
        f"[report]({server}{found['page']})",
        "",
    ]
    if found["diffs"]:
        lines += [
            "| table | result | rows A → B | only A | only B | rows different | columns different | match |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
            *(_row(line, server) for line in found["diffs"][:MOST_LINES]),
            "",
        ]
    if len(found["diffs"]) > MOST_LINES:
        lines += [f"{len(found['diffs']) - MOST_LINES} more tables are in the report.", ""]
    lines += [text for line in found["diffs"][:MOST_LINES] for text in _details(line)]
    lines += [f"- {_plain(note)}" for note in found["notes"]]
    return "\n".join(lines).rstrip() + "\n"


_TOTALS = (
    ("different", "different"),
    ("identical", "identical"),
    ("failed", "not compared"),
    ("waiting_for_confirmation", "waiting for confirmation"),
)


def _row(line: Mapping[str, Any], server: str) -> str:
    name = f"[{_plain(line['name'])}]({server}{line['overview']})"
    mark = _MARKS.get(str(line["result"]), str(line["status"]))
    if not line["pks"]:
        return f"| {name} | {mark} |  |  |  |  |  |  |"
    pks, values = line["pks"], line["values"]
    return (
        f"| {name} | {mark} | {pks['total_rows'][0]} → {pks['total_rows'][1]} | {pks['exclusives'][0]} | {pks['exclusives'][1]} "
        f"| {values['rows_with_differences']} | {values['columns_with_differences']} of {values['compared_columns']} "
        f"| {100 * line['match_score']:.2f} % |"
    )


def _details(line: Mapping[str, Any]) -> list[str]:
    """What a row of numbers does not tell: schema, changed columns, keys, errors. Nothing for tables without
    news."""
    told = []
    if line["error"]:
        told.append(f"{_plain(line['error']['error_value'])} (`{_plain(line['error']['error_type'])}`)")
    if line["pks"]:
        told += _schema(line["schema"]) + _columns(line["values"]) + _keys(line)
    told += [_plain(text) for text in line["duplicates"]]
    told += [_plain(warning) for warning in line["warnings"]]
    if told and line["downstream"]:
        told.append(f"Depending on it: {_names(line['downstream'])}")
    if not told:
        return []
    reasons = f" ({', '.join(line['reasons'])})" if line["reasons"] else ""
    return [
        f"**{_plain(line['name'])}**{_plain(reasons)}",
        "",
        *(f"- {text}" for text in told),
        "",
    ]


def _schema(schema: Mapping[str, Any]) -> list[str]:
    told = []
    for words, names in zip(("Columns removed", "Columns added"), schema["exclusive_columns"], strict=True):
        if names:
            told.append(f"{words}: {_names(names)}")
    changes = [
        f"{_code(c['column_name'])} {_plain(' → '.join(c['types']))}"
        for c in schema.get("types", ())[:MOST_COLUMNS]
    ]
    if changes:
        told.append(f"Types changed: {', '.join(changes)}")
    if schema["column_reorders"]:
        told.append(f"Columns moved: {schema['column_reorders']}")
    return told


def _columns(values: Mapping[str, Any]) -> list[str]:
    changed = [c for c in values["columns_diff_stats"] if c["values_different"]]
    if not changed:
        return []
    changed.sort(key=lambda c: -c["values_different"])
    shown = ", ".join(
        f"{_code(c['column_name'])} {c['values_different']} ({100 - c['match']:.3g} %)"
        for c in changed[:MOST_COLUMNS]
    )
    more = f" and {len(changed) - MOST_COLUMNS} more" if len(changed) > MOST_COLUMNS else ""
    return [f"Values different: {shown}{more}"]


def _keys(line: Mapping[str, Any]) -> list[str]:
    pks, key = line["pks"], line["key"]
    told = [f"Key {_names(key['columns'])} ({_plain(key['source'])})"]
    for name, words in (("nulls", "rows with a null key"), ("dupes", "rows with a duplicate key")):
        if sum(pks[name]):
            told.append(f"{pks[name][0]} → {pks[name][1]} {words}, left out of the comparison")
    news = line["values"]["rows_with_differences"] or sum(pks["exclusives"]) or len(told) > 1
    return told if news else []


def _names(names: Sequence[Any]) -> str:
    return ", ".join(_code(name) for name in names[:MOST_COLUMNS]) + (
        " …" if len(names) > MOST_COLUMNS else ""
    )


def _code(text: object) -> str:
    """A stranger's name as code: no back-ticks, bars or line breaks end it early."""
    cleaned = "".join(c if c.isprintable() else " " for c in str(text)).replace("`", "'").replace("|", "\\|")
    return f"`{cleaned[:200]}`"


def _plain(text: object) -> str:
    """A stranger's text in prose or a table cell: no markup, no links, no line breaks."""
    cleaned = "".join(c if c.isprintable() else " " for c in str(text))[:500]
    for char in "\\`*_[]<>|#@":
        cleaned = cleaned.replace(char, {"<": "&lt;", ">": "&gt;", "@": "@\u200b"}.get(char, "\\" + char))
    return cleaned
