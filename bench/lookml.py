"""LookML figures: parsing beside `lkml.load`, resolve and check of a large generated project, a second run after one change, SQL validation.

`python -m bench.lookml [parse|check|sql]`. The project is generated: 600 explores, 1,200 views, 120,000 fields, with joins, dimension groups,
measures, sets, refinements and references between fields as production projects have them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.figures import Figure

EXPLORES, VIEWS, FIELDS_OF_VIEW, ROUNDS = 600, 1200, 100, 3
_TYPES = ("string", "string", "number", "yesno")


def view(number: int, rng: random.Random) -> str:
    """One view of `FIELDS_OF_VIEW` fields: a key, a foreign key, dimensions, a group of time and measures."""
    lines = [
        f"# The table of things of kind {number}.",
        f"view: v{number} {{",
        f"  sql_table_name: things_{number} ;;",
        f'  label: "Things of kind {number}"',
        "",
        "  dimension: id {\n    primary_key: yes\n    hidden: yes\n    type: number\n    sql: ${TABLE}.id ;;\n  }",
        "  dimension: parent_id {\n    hidden: yes\n    type: number\n    sql: ${TABLE}.parent_id ;;\n  }",
        "  dimension_group: created {\n    type: time\n    timeframes: [raw, time, date, week, month, quarter, year]\n"
        '    description: "When the thing was made, in UTC"\n    sql: ${TABLE}.created_at ;;\n  }',
    ]
    dimensions = FIELDS_OF_VIEW - 9 - 20
    for i in range(dimensions):
        kind = _TYPES[i % 4]
        sql = f"${{TABLE}}.c{i}"
        if i % 10 == 0:  # made of another dimension
            kind, sql = (
                "number",
                f"COALESCE(${{c{2 if i < 10 else i // 20 * 20 - 2 if i >= 20 else 6}}}, 0) + {i}",
            )
        elif kind == "yesno":
            sql = f"${{TABLE}}.c{i} > {i}"
        lines.append(
            f'  dimension: c{i} {{\n    type: {kind}\n    label: "Column {i}"\n    group_label: "Group {i // 10}"\n'
            f'    description: "{" ".join(rng.choice(_WORDS) for _ in range(8))}"\n    sql: {sql} ;;\n  }}'
        )
    for i in range(20):
        column = (2, 6, 14, 18, 22, 26, 34, 38, 42, 46, 54, 58)[i % 12]
        extra = f'    filters: [c{3 + 4 * (i % 10)}: "yes"]\n' if i % 5 == 0 else ""
        lines.append(
            f"  measure: m{i} {{\n    type: {'count' if i == 0 else 'sum'}\n    value_format_name: decimal_2\n"
            + (f"    sql: ${{c{column}}} ;;\n" if i else "")
            + f"{extra}    drill_fields: [detail*]\n  }}"
        )
    lines.append("  set: detail {\n    fields: [id, created_date, c1, c2]\n  }\n}")
    return "\n".join(lines) + "\n"


_WORDS = [
    "the",
    "a",
    "number",
    "of",
    "things",
    "that",
    "were",
    "counted",
    "when",
    "they",
    "came",
    "into",
    "the",
    "shop",
    "at",
    "night",
    "by",
    "people",
    "with",
    "money",
]


def model(number: int, explores: range, rng: random.Random) -> str:
    """One model of some explores, each a base view with three joins."""
    lines = ['connection: "warehouse"', f'include: "/views/*.view"\ninclude: "/refinements/r{number}.lkml"']
    for e in explores:
        base = e * 2
        lines.append(f'explore: e{e} {{\n  from: v{base}\n  view_name: base\n  label: "Explore {e}"')
        for i in range(3):
            other = (base + 1 + rng.randrange(VIEWS - 1)) % VIEWS
            relationship = ("many_to_one", "one_to_many", "one_to_one")[i]
            lines.append(
                f"  join: j{i} {{\n    from: v{other}\n    relationship: {relationship}\n    type: left_outer\n"
                f"    sql_on: ${{base.id}} = ${{j{i}.parent_id}} ;;\n  }}"
            )
        lines.append("}")
    return "\n".join(lines) + "\n"


def write_project(folder: Path, views: int = VIEWS, explores: int = EXPLORES) -> int:
    """Writes the project; returns its bytes."""
    rng = random.Random(6)
    files = {"manifest.lkml": 'project_name: "bench"\n'}
    files |= {f"views/v{n}.view.lkml": view(n, rng) for n in range(views)}
    models = max(1, explores // 50)
    for m in range(models):
        part = range(m * explores // models, (m + 1) * explores // models)
        files[f"models/m{m}.model.lkml"] = model(m, part, rng)
        files[f"refinements/r{m}.lkml"] = (
            f'view: +v{m} {{\n  dimension: c1 {{ label: "Refined by {m}" }}\n}}\n'
        )
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return sum(len(t) for t in files.values())


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds of the best of some rounds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def parsing() -> Iterator[Figure]:
    """Bytes a second of one set of files: ours with offsets, lkml's to plain dicts."""
    import lkml

    from runyard.tasks.lookml.language.parser import parse
    from runyard.tasks.lookml.language.tree import SourceFile

    rng = random.Random(1)
    texts = [view(n, rng) for n in range(40)]
    size = sum(len(t) for t in texts) / 1e6
    ours = best(lambda: [parse(SourceFile("a.view.lkml", t)) for t in texts])
    theirs = best(lambda: [lkml.load(t) for t in texts])
    yield Figure(
        "LookML parsing",
        f"{size / ours:.1f} MB/s",
        f"{size / theirs:.2f} MB/s (lkml.load)",
        theirs / ours,
        15,
        True,
    )
