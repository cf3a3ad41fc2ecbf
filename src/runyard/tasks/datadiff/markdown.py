"""The summary for people: `summary.md`, and what `runyard diff --output markdown` prints. Reads result.json's
shape, so it serves failures too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runyard.tasks.datadiff.telling import duplicates_told, profile_lines

MOST_PROFILES = 100
_WORDS = {
    "identical": "identical",
    "empty": "both empty",
    "different": "different",
    "missing-pks": "rows are missing",
    "bad-pks": "null or duplicate keys",
}


def summary(result: Mapping[str, Any]) -> str:
    """Markdown of one result."""
    title = f"### {_cell(result['a'])} → {_cell(result['b'])}"
    if result["status"] != "success":
        error = result["error"]
        return f"{title}\n\n**Not compared:** {_cell(error['error_value'])} (`{error['error_type']}`)\n"
    pks, values, schema = result["pks"], result["values"], result["schema"]
    unchanged = values["total_rows"] - values["rows_with_differences"]
    lines = [
        title,
        "",
        f"**{_WORDS[result['result']]}** · match {100 * result['match_score']:.2f} % · key "
        f"{', '.join(f'`{_cell(c)}`' for c in result['key']['columns'])} ({result['key']['source']})",
        "",
        *_table(
            ("", "A", "B"),
            [
                ("rows", *pks["total_rows"]),
                ("distinct keys", *pks["distincts"]),
                ("keys only here", *pks["exclusives"]),
                ("rows with a null key", *pks["nulls"]),
                ("rows with a duplicate key", *pks["dupes"]),
                ("columns", *schema["column_counts"]),
            ],
        ),
        "",
        f"Rows compared {values['total_rows']}: {values['rows_with_differences']} different, {unchanged} equal. "
        f"Values different {values['values_with_differences']} of {values['total_values']}.",
        "",
        *_schema_lines(schema),
        *_notes(result),
    ]
    changed = [c for c in values["columns_diff_stats"] if c["values_different"]]
    if changed:
        rows = [
            (f"`{_cell(c['column_name'])}`", c["values_different"], f"{c['match']:.3f} %") for c in changed
        ]
        lines += [*_table(("column", "different", "match"), rows), ""]
    return "\n".join([*lines, *_profiles(result)]).rstrip() + "\n"


def _profiles(result: Mapping[str, Any]) -> list[str]:
    """Shares and distributions alone: a summary is posted where row values must not be."""
    if not result.get("column_profiles"):
        return []
    found = profile_lines(result["column_profiles"])
    rows = [
        (f"`{_cell(name)}`", nulls, distinct, bars)
        for name, nulls, distinct, _, _, bars in found[:MOST_PROFILES]
    ]
    left = (
        [f"\n{len(found) - MOST_PROFILES} more columns are in result.json."] if found[MOST_PROFILES:] else []
    )
    return [
        "Column profiles, A → B:",
        "",
        *_table(("column", "nulls", "distinct", "distribution"), rows),
        *left,
    ]


def _notes(result: Mapping[str, Any]) -> list[str]:
    sampling = result.get("sampling")
    lines = (
        [f"A sample: {sampling['keys']} of {sampling['of']} shared keys were compared."] if sampling else []
    )
    lines += duplicates_told(result)
    lines += [_cell(warning) for warning in result.get("warnings", ())]
    return [*lines, ""] if lines else []


def _schema_lines(schema: Mapping[str, Any]) -> list[str]:
    lines = []
    for words, names in zip(("Only in A", "Only in B"), schema["exclusive_columns"], strict=True):
        if names:
            lines.append(f"{words}: {', '.join(f'`{_cell(n)}`' for n in names)}.")
    for change in schema["types"]:
        note = "" if change["compared"] else " (not compared)"
        lines.append(f"`{_cell(change['column_name'])}`: {change['types'][0]} → {change['types'][1]}{note}.")
    if schema["column_reorders"]:
        lines.append(f"Columns that moved: {schema['column_reorders']}.")
    return [*lines, ""] if lines else []


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    line = "| " + " | ".join(head) + " |"
    rule = "|" + "|".join(["---", *["---:"] * (len(head) - 1)]) + "|"
    return [line, rule, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]


def _cell(text: object) -> str:
    """A stranger's name inside a table: no pipes, line breaks, back-ticks or markup."""
    cleaned = "".join(c if c.isprintable() else " " for c in str(text))
    for char in "\\|`<>[]*_":
        cleaned = cleaned.replace(
            char, {"`": "'", "<": "&lt;", ">": "&gt;"}.get(char, "\\" + char if char in "|\\" else char)
        )
    return cleaned[:200]
