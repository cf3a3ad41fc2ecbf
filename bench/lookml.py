"""LookML figures: parsing beside `lkml.load`, resolve and check of a large generated project, a second run
after one change, SQL validation.

`python -m bench.lookml [parse|check|sql]`. The project is generated: 600 explores, 1,200 views, 120,000
fields, with joins, dimension groups, measures, sets, refinements and references between fields as production
projects have them.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.figures import Figure

EXPLORES, VIEWS, FIELDS_OF_VIEW, ROUNDS = 600, 1200, 100, 3
MIB = 1 << 20
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


def model(number: int, explores: range, views: int, rng: random.Random) -> str:
    """One model of some explores, each a base view with three joins."""
    lines = ['connection: "warehouse"', f'include: "/views/*.view"\ninclude: "/refinements/r{number}.lkml"']
    for e in explores:
        base = e * 2
        lines.append(f'explore: e{e} {{\n  from: v{base}\n  view_name: base\n  label: "Explore {e}"')
        for i in range(3):
            other = (base + 1 + rng.randrange(views - 1)) % views
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
        files[f"models/m{m}.model.lkml"] = model(m, part, views, rng)
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


def _run(project: Path, cache: Path) -> tuple[float, int]:
    """The LookML validator as a step runs it, start-up included: (seconds, peak bytes)."""
    argv = [
        sys.executable,
        "-m",
        "runyard.tasks.lookml",
        "lookml",
        "--project",
        str(project),
        "--cache",
        str(cache),
    ]
    started = time.perf_counter()
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"the generated project is not clean: {child.returncode}"
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def checking() -> Iterator[Figure]:
    """Resolve and check the whole project, then again after one view has changed; best of two each, in
    turns."""
    firsts: list[tuple[float, int]] = []
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder / "project")
        for turn in range(2):
            cache = folder / f"cache{turn}"
            firsts.append(_run(folder / "project", cache))
            changed = folder / "project" / "views" / f"v{700 + turn}.view.lkml"
            changed.write_text(changed.read_text().replace('label: "Column 1"', f'label: "Changed {turn}"'))
            seconds.append(_run(folder / "project", cache)[0])
    first, peak = min(t for t, _ in firsts), max(p for _, p in firsts)
    what = f"LookML check, {EXPLORES} explores, {VIEWS * FIELDS_OF_VIEW:,} fields"
    yield Figure(what, f"{first:.2f} s", "10 s", first / 10, 1)
    yield Figure("  its peak memory", f"{peak / MIB:.0f} MiB", "400 MiB", peak / MIB / 400, 1)
    yield Figure(
        "  again after one view changed",
        f"{min(seconds):.2f} s",
        f"{first:.2f} s (the first run)",
        min(seconds) / first,
        0.15,
    )


def tables(database: Path, views: int) -> None:
    """The tables that the project's views read, empty."""
    import duckdb

    dimensions = FIELDS_OF_VIEW - 9 - 20
    kinds = {"string": "VARCHAR", "number": "INTEGER", "yesno": "INTEGER"}
    columns = ", ".join(f"c{i} {kinds[_TYPES[i % 4]]}" for i in range(dimensions) if i % 10)
    with duckdb.connect(str(database)) as made:
        for n in range(views):
            made.execute(
                f"CREATE TABLE things_{n} (id INTEGER, parent_id INTEGER, created_at TIMESTAMP, {columns})"
            )


def sql_validation(explores: int = EXPLORES) -> Iterator[Figure]:
    """Every explore bound by the SQL validator, beside the same texts handed to DuckDB directly; best of two
    each, in turns."""
    import duckdb

    from runyard.tasks.lookml import connections, databases
    from runyard.tasks.lookml.language.model import models
    from runyard.tasks.lookml.language.project import load
    from runyard.tasks.lookml.validators import sqlcheck

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder / "project", explores * 2, explores)
        tables(folder / "bench.duckdb", explores * 2)
        connection = connections.connection("warehouse", {"url": f"duckdb://{folder / 'bench.duckdb'}"})
        texts: list[str] = []
        ours: list[float] = []
        floor: list[float] = []
        bind = databases._DuckDB.run

        def noted(self: databases._DuckDB, sql: str, max_rows: int) -> databases.Rows | databases.Refusal:
            texts.append(sql)
            return bind(self, sql, max_rows)

        for turn in range(2):
            project = models(load(folder / "project"))
            if not turn:
                databases._DuckDB.run = noted  # type: ignore[method-assign]
            started = time.perf_counter()
            tested = sqlcheck.validate(project, {"warehouse": connection}, sqlcheck.Options())
            ours.append(time.perf_counter() - started)
            databases._DuckDB.run = bind  # type: ignore[method-assign]
            assert len(tested) == explores and all(t.status == "passed" for t in tested), tested[0].errors[:1]
            config = {"threads": "2", "memory_limit": "1GB", "enable_external_access": "false"}
            with duckdb.connect(str(folder / "bench.duckdb"), read_only=True, config=config) as direct:
                started = time.perf_counter()
                for text in texts:
                    direct.execute(text).fetchall()
                floor.append(time.perf_counter() - started)
        yield Figure(
            f"LookML SQL validation, {explores} explores, {len(texts)} queries",
            f"{min(ours):.2f} s",
            f"{min(floor):.2f} s (DuckDB, the same SQL)",
            min(ours) / min(floor),
            3,
        )


SUITES: dict[str, Callable[[], Iterator[Figure]]] = {
    "parse": parsing,
    "check": checking,
    "sql": sql_validation,
}


def figures() -> Iterator[Figure]:
    """All of them."""
    for suite in SUITES.values():
        yield from suite()


def main(names: list[str]) -> int:
    """Prints the named figures, or all; 1 when one misses its limit."""
    missed = 0
    for name, suite in SUITES.items():
        for figure in suite() if not names or name in names else ():
            missed += not figure.holds
            sign = "≥" if figure.higher else "≤"
            mark = "" if figure.holds else "  MISSED"
            line = f"{figure.name:<58}{figure.ours:>12}  {figure.floor:<34}{figure.ratio:>7.2f}  {sign} {figure.limit:g}{mark}"
            print(line, flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
