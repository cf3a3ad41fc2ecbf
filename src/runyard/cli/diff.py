"""`runyard diff A B`: compare two tables from a shell, without a server. Exits 0 when equal, 1 when
different, 2 when it could not.

A thin skin over `tasks.datadiff`: addresses become a spec, progress a bar on stderr, the result a table, JSON
or Markdown on stdout.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from runyard.tasks.datadiff.diff import as_bytes, run
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.html import page
from runyard.tasks.datadiff.locations import locate
from runyard.tasks.datadiff.markdown import summary
from runyard.tasks.datadiff.meter import Tick, overall
from runyard.tasks.datadiff.report import as_failure, as_json
from runyard.tasks.datadiff.spec import (
    Connection,
    Rule,
    Sampling,
    Side,
    Spec,
    Tolerance,
    read_spec,
    with_connection,
)
from runyard.tasks.datadiff.telling import PROFILE_HEAD, duplicates_told, profile_lines


class Output(StrEnum):
    """How the result is printed."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


class Mode(StrEnum):
    """What a tolerance is a share of."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


Names = list[str] | None


def diff(
    a: Annotated[
        str,
        typer.Argument(
            help="postgres://user@host/db?table=s.t, mysql://user@host/db?table=t, duckdb:///file.db?table=t, x.parquet or x.csv"
        ),
    ],
    b: Annotated[str, typer.Argument(help="the other one")],
    key: Annotated[Names, typer.Option("--key", "-k", help="key column; repeat for a composite key")] = None,
    include: Annotated[Names, typer.Option(help="compare only these columns")] = None,
    exclude: Annotated[Names, typer.Option(help="leave these columns out")] = None,
    map_: Annotated[Names, typer.Option("--map", help="OLD=NEW: a column with another name in B")] = None,
    where: Annotated[str, typer.Option(help="condition on the rows of both sides")] = "",
    tolerance: Annotated[float, typer.Option(help="floats within this are equal", min=0)] = 0.0,
    tolerance_mode: Annotated[Mode, typer.Option(help="absolute, or relative to A's value")] = Mode.ABSOLUTE,
    tolerance_for: Annotated[Names, typer.Option(help="COLUMN=VALUE: numbers of one column")] = None,
    rule: Annotated[Names, typer.Option(help="COLUMN=SQL: equal too if this holds of {a} and {b}")] = None,
    time_digits: Annotated[
        int | None, typer.Option(help="digits of a second that count", min=0, max=6)
    ] = None,
    ignore_case: Annotated[bool, typer.Option(help="texts are equal without regard to case")] = False,
    null_is_empty: Annotated[bool, typer.Option(help="NULL equals an empty text")] = False,
    sort_arrays: Annotated[bool, typer.Option(help="arrays are equal in any order")] = False,
    sample: Annotated[float | None, typer.Option(help="share of shared keys to compare, 0..1")] = None,
    checksums: Annotated[bool, typer.Option(help="slow link: fetch only what differs by checksum")] = False,
    column_profiles: Annotated[
        bool, typer.Option("--profiles", help="nulls, range, mean and distribution of every column")
    ] = False,
    values: Annotated[bool, typer.Option(help="show row values; --no-values keeps them out")] = True,
    rows: Annotated[int, typer.Option(help="sample rows of each kind in the result", min=0)] = 5,
    parquet: Annotated[Path | None, typer.Option(help="write the differing rows to this file")] = None,
    memory_mb: Annotated[int, typer.Option(help="memory limit, MB", min=64)] = 1024,
    timeout_s: Annotated[float, typer.Option(help="time limit of one statement, seconds", min=0.1)] = 3000.0,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="table, json, markdown or html")
    ] = Output.TABLE,
) -> None:
    """Compare two tables; exit 0 equal, 1 different, 2 could not."""
    labels = (a, b)
    try:
        if parquet is not None and not parquet.absolute().parent.is_dir():
            raise CouldNot(
                Fault.BAD_SPEC, f"There is no folder {parquet.parent} for --parquet: make it first."
            )
        sides, connections = _places(a, b, where)
        labels = (sides[0].label, sides[1].label)
        spec = Spec(
            *sides,
            key=tuple(key or ()),
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            mapping=tuple(_pairs(map_, "--map OLD=NEW")),
            rules=tuple(Rule(sql, column=name) for name, sql in _pairs(rule, "--rule COLUMN=SQL")),
            tolerance=Tolerance(tolerance, tolerance_mode.value) if tolerance else None,
            tolerances=_tolerances(tolerance_for, tolerance_mode),
            datetime_digits=time_digits,
            ignore_case=ignore_case,
            null_is_empty=null_is_empty,
            sort_arrays=sort_arrays,
            sampling=Sampling(ratio=sample) if sample is not None else None,
            algorithm="hash" if checksums else None,
            profiles=column_profiles,
            row_values=values,
            sample_rows=rows,
            parquet_rows=100_000 if parquet else 0,
            memory_bytes=memory_mb * 1_000_000,
            timeout_s=timeout_s,
        )
        result = _run(read_spec(msgspec.json.encode(spec)), connections, parquet if values else None)
        code = 0 if result["equal"] else 1
    except CouldNot as error:
        result, code = as_failure(error, labels), 2
    except OSError as error:
        result, code = as_failure(CouldNot(Fault.QUERY, f"{error.strerror or error}."), labels), 2
    _show(result, output)
    raise typer.Exit(code)


def _pairs(given: Names, form: str) -> list[tuple[str, str]]:
    found = [text.partition("=") for text in given or ()]
    if any(not (name and equals and value) for name, equals, value in found):
        raise CouldNot(Fault.BAD_SPEC, f"The form is {form}.")
    return [(name, value) for name, _, value in found]


def _tolerances(given: Names, mode: Mode) -> dict[str, Tolerance]:
    form = "--tolerance-for COLUMN=VALUE"
    try:
        return {name: Tolerance(float(value), mode.value) for name, value in _pairs(given, form)}
    except ValueError:
        raise CouldNot(Fault.BAD_SPEC, f"The form is {form}, with a number.") from None


def _places(a: str, b: str, where: str) -> tuple[tuple[Side, Side], dict[str, Connection]]:
    connections: dict[str, Connection] = {}
    sides = []
    for name, address in (("a", a), ("b", b)):
        side, connection = locate(address)
        if connection is not None:
            connections[name] = connection
        sides.append(with_connection(side, name if connection else "", side.filter or where))
    return (sides[0], sides[1]), connections


def _run(spec: Spec, connections: dict[str, Connection], parquet: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="runyard-diff-") as folder, _bar() as bar:
        fetched = _fetched(spec, connections)
        task = bar.add_task("connect", total=1.0, rows="")

        def progress(tick: Tick) -> None:
            rows = f"{tick.rows:,} of {tick.of:,} rows" if tick.rows else ""
            bar.update(task, description=tick.step, completed=overall(tick, fetched), rows=rows)

        report = run(spec, connections, Path(folder), progress)
        if parquet is not None:
            parquet.write_bytes((Path(folder) / "diff.parquet").read_bytes())
    return as_json(report)


def _bar() -> Progress:
    """Step, share, rows, time so far and an estimate of what is left; nothing without a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _fetched(spec: Spec, connections: dict[str, Connection]) -> str:
    """The sides that have to be fetched: none of one place, else all that are on a server."""
    places = [connections.get(side.connection) for side in (spec.a, spec.b)]
    if places[0] == places[1]:
        return ""
    found = zip("AB", places, strict=True)
    return "".join(name for name, place in found if place is not None and place.dialect != "duckdb")


def _show(result: dict[str, Any], output: Output) -> None:
    match output:
        case Output.JSON:
            sys.stdout.write(as_bytes(result).decode() + "\n")
        case Output.MARKDOWN:
            sys.stdout.write(summary(result))
        case Output.HTML:
            sys.stdout.write(page(result))
        case Output.TABLE:
            if result["status"] == "success":
                _table(result)
            else:
                sys.stderr.write(f"runyard diff: {_plain(result['error']['error_value'])}\n")


def _table(result: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    pks, values, schema = result["pks"], result["values"], result["schema"]
    found = Table("", "A", "B", title=_plain(f"{result['a']} → {result['b']}"), title_justify="left")
    for words, pair in (
        ("rows", pks["total_rows"]),
        ("distinct keys", pks["distincts"]),
        ("keys only here", pks["exclusives"]),
        ("rows with a null key", pks["nulls"]),
        ("rows with a duplicate key", pks["dupes"]),
        ("columns", schema["column_counts"]),
        ("columns only here", [", ".join(names) or "none" for names in schema["exclusive_columns"]]),
    ):
        found.add_row(words, *map(_plain, pair))
    console.print(found)
    for change in schema["types"]:
        console.print(_plain(f"type of {change['column_name']}: {change['types'][0]} → {change['types'][1]}"))
    for line in [*_sampled(result), *duplicates_told(result), *result["warnings"]]:
        console.print(_plain(line))
    changed = [c for c in values["columns_diff_stats"] if c["values_different"]]
    if changed:
        per_column = Table("column", "different", "match")
        for c in changed:
            per_column.add_row(_plain(c["column_name"]), _plain(c["values_different"]), f"{c['match']:.3f} %")
        console.print(per_column)
    if result["column_profiles"]:
        every_column = Table(*PROFILE_HEAD)
        for row in profile_lines(result["column_profiles"]):
            every_column.add_row(*map(_plain, row))
        console.print(every_column)
    for line in _samples(result["samples"]):
        console.print(_plain(f"  {line}"))
    key_words = f"key {', '.join(result['key']['columns'])} ({result['key']['source']})"
    console.print(
        f"{result['result']}: {values['rows_with_differences']:,} of {values['total_rows']:,} compared rows differ, "
        f"match {100 * result['match_score']:.2f} %, {key_words}, {result['seconds']:.2f} s"
    )


def _samples(samples: dict[str, Any]) -> Iterator[str]:
    """A few rows of each kind, one a line."""
    for one in samples["changed"]:
        cells = (f"{name}: {_value(a)} → {_value(b)}" for name, (a, b) in one["columns"].items())
        yield f"{_key(one)}  {'; '.join(cells)}"
    for kind, words in (
        ("exclusive", "only in {}"),
        ("null_keys", "null key in {}"),
        ("duplicate_keys", "duplicate key in {}"),
    ):
        for side, found in zip("AB", samples[kind], strict=True):
            yield from (f"{words.format(side)}  {_key(one)}" for one in found)


def _key(sample: dict[str, Any]) -> str:
    rows = f" ({sample['rows']:,} rows)" if sample.get("rows", 1) > 1 else ""
    return ", ".join(f"{name}={_value(value)}" for name, value in sample["key"].items()) + rows


def _value(value: str | None) -> str:
    """Nothing, an empty text and blanks look alike without a sign."""
    if value is None:
        return "NULL"
    return value if value.strip() == value and value else f"'{value}'"


def _sampled(result: dict[str, Any]) -> list[str]:
    sampling = result["sampling"]
    return (
        [f"a sample: {sampling['keys']:,} of {sampling['of']:,} shared keys were compared"]
        if sampling
        else []
    )


def _plain(value: object) -> str:
    """A number with its thousands, or a text without anything a terminal would obey."""
    if isinstance(value, int):
        return f"{value:,}"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
