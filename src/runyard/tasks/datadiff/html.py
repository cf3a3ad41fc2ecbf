"""The result as one HTML page without scripts or outside resources: what `runyard diff --output html` prints.
Every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from runyard.tasks.datadiff.telling import PROFILE_HEAD, duplicates_told, profile_lines

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --a: #d73a4922; --b: #2ea04322; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; vertical-align: top; } td.n { text-align: right; }
.a { background: var(--a); } .b { background: var(--b); } .verdict { font-size: 1.2rem; } code { font-size: .9em; } .null { opacity: .6; font-style: italic; }
"""


def page(result: Mapping[str, Any]) -> str:
    """The whole page of a result or a failure."""
    title = f"{_text(result['a'])} → {_text(result['b'])}"
    body = _found(result) if result["status"] == "success" else _failed(result)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style>\n<h1>{title}</h1>\n{body}\n</html>\n"
    )


def _failed(result: Mapping[str, Any]) -> str:
    error = result["error"]
    return f'<p class="verdict"><b>Not compared.</b> {_text(error["error_value"])} <code>{_text(error["error_type"])}</code></p>'


def _found(result: Mapping[str, Any]) -> str:
    pks, values, schema = result["pks"], result["values"], result["schema"]
    key = ", ".join(map(_text, result["key"]["columns"]))
    parts = [
        f'<p class="verdict"><b>{_text(result["result"])}</b>: {values["rows_with_differences"]:,} of {values["total_rows"]:,} '
        f"compared rows differ, match {100 * result['match_score']:.2f} %</p>",
        f"<p>Key {key} ({_text(result['key']['source'])}).{_sampled(result)}</p>",
        _table(
            ("", "A", "B"),
            [
                ("rows", *pks["total_rows"]),
                ("distinct keys", *pks["distincts"]),
                ("keys only here", *pks["exclusives"]),
                ("rows with a null key", *pks["nulls"]),
                ("rows with a duplicate key", *pks["dupes"]),
                ("columns", *schema["column_counts"]),
                ("columns only here", *(", ".join(names) or "none" for names in schema["exclusive_columns"])),
            ],
        ),
    ]
    if schema["types"]:
        rows = [(t["column_name"], *t["types"], "yes" if t["compared"] else "no") for t in schema["types"]]
        parts += ["<h2>Types that differ</h2>", _table(("column", "A", "B", "compared"), rows)]
    changed = [c for c in values["columns_diff_stats"] if c["values_different"]]
    if changed:
        rows = [(c["column_name"], c["values_different"], f"{c['match']:.3f} %") for c in changed]
        parts += ["<h2>Values that differ</h2>", _table(("column", "different", "match"), rows)]
    parts += [f"<p>{_text(line)}</p>" for line in duplicates_told(result)]
    if result["column_profiles"]:
        rows = profile_lines(result["column_profiles"])
        parts += ["<h2>Column profiles</h2>", _table(PROFILE_HEAD, rows)]
    return "\n".join([*parts, *_samples(result["samples"]), *_warnings(result["warnings"])])


def _sampled(result: Mapping[str, Any]) -> str:
    sampling = result.get("sampling")
    return f" A sample: {sampling['keys']:,} of {sampling['of']:,} shared keys." if sampling else ""


def _samples(samples: Mapping[str, Any]) -> list[str]:
    parts = []
    if samples["changed"]:
        rows = "".join(
            f"<tr><td>{_key(s['key'])}</td><td>{_text(name)}</td><td class=a>{_value(old)}</td><td class=b>{_value(new)}</td></tr>"
            for s in samples["changed"]
            for name, (old, new) in s["columns"].items()
        )
        parts += [
            "<h2>Some of the changed rows</h2>",
            f"<div class=wide><table><tr><th>key</th><th>column</th><th>A</th><th>B</th></tr>{rows}</table></div>",
        ]
    for words, rows in zip(("A", "B"), samples["exclusive"], strict=True):
        if rows:
            listed = "".join(f"<li>{_key(s['key'])}</li>" for s in rows)
            parts.append(f"<h2>Some keys only in {words}</h2><ul>{listed}</ul>")
    return parts


def _warnings(warnings: Sequence[str]) -> list[str]:
    return [f"<p>{_text(w)}</p>" for w in warnings]


def _key(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{_text(name)} = {_value(value)}" for name, value in key.items())


def _value(value: Any) -> str:
    return '<span class="null">NULL</span>' if value is None else _text(value)


def _text(value: object) -> str:
    return escape(str(value))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def cell(value: object) -> str:
        return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f"<td>{_text(value)}</td>"

    heads = "".join(f"<th>{_text(h)}</th>" for h in head)
    lines = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<div class=wide><table><tr>{heads}</tr>{lines}</table></div>"
