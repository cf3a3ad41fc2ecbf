# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Runs one diff: open, find, pair, count, join, derive. Called by the program and by `runyard diff`;
everything it opens is closed again.

The order makes the guarantees: sessions are locked before any text of a user runs, keys are judged before the
join relies on them, and all figures come from the table of differing rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from runyard.tasks.datadiff import checksums, joining, materializing, profiles, timeline
from runyard.tasks.datadiff.counting import counts, implied
from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.fetching import fetch
from runyard.tasks.datadiff.guard import check_rule
from runyard.tasks.datadiff.keys import Found, Search
from runyard.tasks.datadiff.kinds import Kind
from runyard.tasks.datadiff.locating import Located, catalog_of, existing, in_duck, in_file, in_server, typed
from runyard.tasks.datadiff.meter import STEPS, Meter, Progress
from runyard.tasks.datadiff.pairing import Pairing, common, pair
from runyard.tasks.datadiff.report import Duplicates, KeyCounts, Report
from runyard.tasks.datadiff.samples import Differing, collect, differing, exclusives, keep_few, write_parquet
from runyard.tasks.datadiff.sampling import Sample, share_of, taken
from runyard.tasks.datadiff.servers import Server, open_server
from runyard.tasks.datadiff.spec import Connection, Materialize, Side, Spec
from runyard.tasks.datadiff.statements import CHANGED, ONLY_A, ONLY_B, Builder

__all__ = ["STEPS", "as_bytes", "run"]
Two = tuple[Located, Located]


@dataclass(frozen=True, slots=True)
class _Compared:
    """A finished comparison: the figures, the differing rows, and both sides with all their rows."""

    report: Report
    differing: Differing
    sides: Two


@dataclass(frozen=True, slots=True)
class _Diff:
    """What the steps of one diff share."""

    spec: Spec
    duck: Duck
    meter: Meter


def run(spec: Spec, connections: Mapping[str, Connection], work: Path, progress: Progress) -> Report:
    """The comparison. `work` is an existing folder for scratch and diff.parquet; CouldNot says why there is
    no report."""
    began = time.monotonic()
    meter = Meter(progress)
    with ExitStack() as stack:
        meter.step("connect")
        duck = stack.enter_context(closing(Duck(work, spec.memory_bytes, spec.timeout_s)))
        this = _Diff(spec, duck, meter)
        sides = _locate(this, connections, stack)
        compared = _compare(this, sides)
        found = _kept(this, compared)
        meter.step("write")
        rows, files = 0, dict[str, Path]()
        if spec.row_values:
            rows = write_parquet(compared.differing, work / "diff.parquet", spec.parquet_rows)
        if spec.materialize:
            files = materializing.dump(compared.differing, compared.sides, found.keys, spec.materialize, work)
        if spec.profiles:
            found = _profiled(found, compared.sides, values=spec.row_values)
    if spec.materialize:
        found = _materialized(found, spec, spec.materialize, connections, files)
    return replace(found, parquet_rows=rows, seconds=time.monotonic() - began)


def _profiled(found: Report, sides: Two, *, values: bool) -> Report:
    """Last, because a database that cannot reckon with a column (a mean beyond its numbers) ends its
    transaction; the comparison stands."""
    try:
        return replace(found, profiles=profiles.profiled(sides, found.pairing, values=values))
    except CouldNot as error:
        return replace(found, warnings=(*found.warnings, f"The columns were not profiled. {error.message}"))


def _materialized(
    found: Report,
    spec: Spec,
    wish: Materialize,
    connections: Mapping[str, Connection],
    files: Mapping[str, Path],
) -> Report:
    """The comparison stands, whether or not the data source takes its results; a warning tells why it did
    not."""
    where = connections.get(wish.connection)
    try:
        if where is None:
            raise CouldNot(Fault.CONNECTION, f"There is no connection {wish.connection!r}.")
        paths = materializing.load(files, where, wish, spec.timeout_s)
    except CouldNot as error:
        return replace(
            found, warnings=(*found.warnings, f"The results were not materialised. {error.message}")
        )
    sampled = found.sample is not None
    made = {
        name: [{"connection": wish.connection, "path": path, "is_sampled": sampled and name == "diff"}]
        for name, path in paths.items()
    }
    return replace(found, materialized=made)


def _locate(this: _Diff, connections: Mapping[str, Connection], stack: ExitStack) -> Two:
    """Finds both sides, each in the engine it lives in."""
    spec, duck = this.spec, this.duck
    wanted = [(side, _connection(side, connections)) for side in (spec.a, spec.b)]
    servers: dict[tuple[Connection, str], Server] = {}
    catalogs: dict[int, str] = {}
    opened: list[Server | None] = [None, None]
    for index, (side, connection) in enumerate(wanted):
        if connection is None:
            duck.readable.append(existing(side.file))
        elif connection.dialect == "duckdb":
            catalogs[index] = catalog_of(duck, side, connection)
        else:
            same = connection, json.dumps(side.session, sort_keys=True)
            if same not in servers:
                opening = open_server(connection, spec.timeout_s, side.session)
                servers[same] = stack.enter_context(closing(opening))
            opened[index] = servers[same]
    duck.lock()
    this.meter.step("columns")
    found = []
    for index, (side, connection) in enumerate(wanted):
        server = opened[index]
        if server is not None:
            found.append(in_server(server, side))
        elif connection is None:
            found.append(in_file(duck, side, ("file_a", "file_b")[index]))
        else:
            found.append(in_duck(duck, side, catalogs[index]))
    return typed(duck, (found[0], found[1]))


def _connection(side: Side, connections: Mapping[str, Connection]) -> Connection | None:
    if side.file:
        return None
    found = connections.get(side.connection)
    if found is None:
        raise CouldNot(Fault.CONNECTION, f"There is no connection {side.connection!r}.")
    if found.dialect == "duckdb" and (side.session or side.time_travel is not None):
        raise CouldNot(Fault.BAD_SPEC, "DuckDB has neither session parameters nor time travel here.")
    return found


def _compare(this: _Diff, sides: Two) -> _Compared:
    spec, meter = this.spec, this.meter
    sides = timeline.within(spec, sides)
    together = sides[0].engine is sides[1].engine
    for rule in spec.rules:
        check_rule(rule.equal_if, sides[0].engine.grammar.name if together else "duckdb")
    narrowed = None
    whole = sides
    if not together:
        if (spec.algorithm or "").startswith("hash"):
            narrowed = checksums.narrow(spec, sides, this.duck, meter)
        sides = narrowed.sides if narrowed else _fetched(this, sides)
        whole = whole if narrowed else sides
    a, b = sides
    engine = a.engine
    meter.step("key")
    key = narrowed.key if narrowed else _key(spec, a, b)
    pairing = pair(a.columns, b.columns, key.columns, spec, same=not (a.fetched or b.fetched))
    builder = Builder(a.input, b.input, pairing, spec, engine.grammar)
    ordered = not isinstance(engine, Duck) and _in_order(pairing, sides)
    once = ordered and spec.sampling is None
    keys = narrowed.counts if narrowed else _counted(this, builder, sides, once=once)
    unique = not any(k.dupes for k in keys)
    ratio = share_of(spec.sampling, (keys[0].distinct, keys[1].distinct), (keys[0].total, keys[1].total))
    builder = replace(builder, sampled=ratio)
    meter.rows = keys[0].total + keys[1].total
    meter.step("compare")
    if isinstance(engine, Duck):
        smaller = min(k.total for k in keys)
        joining.in_duck(engine, builder, smaller, meter.part("compare"), unique=unique)
        _forgive_json_spelling(engine, pairing)
    else:
        bounds = engine.expect_order(a.path, pairing.key[0].a) if ordered else []
        told = meter.counted("compare", 0)
        joining.in_server(engine, this.duck, builder, told, unique=unique, bounds=bounds)
        if once:
            keys = keys[0], implied(keys[0], this.duck)
    meter.step("summarise")
    rows = differing(this.duck, engine, builder)
    report = _derive(spec, key, rows, keys, unique=unique)
    if narrowed:
        report = replace(report, warnings=(*report.warnings, narrowed.told))
    if spec.time is not None and spec.time.aggregate:
        report = replace(report, timeline=timeline.counted(spec, sides, builder, this.duck))
    return _Compared(report, rows, whole)


def _fetched(this: _Diff, sides: Two) -> Two:
    """Both sides in DuckDB."""
    found = []
    for located, name in zip(sides, ("a", "b"), strict=True):
        if isinstance(located.engine, Duck):
            found.append(located)
        else:
            step = f"fetch {name.upper()}"
            this.meter.step(step)
            told = this.meter.counted(step, located.about_rows)
            found.append(fetch(located, this.duck, f"fetched_{name}", told))
    return found[0], found[1]


def _key(spec: Spec, a: Located, b: Located) -> Found:
    if spec.key:
        return Found(spec.key, spec.key_source)
    pairs = common(a.columns, b.columns, spec)
    promises, inputs = (a.promises, b.promises), (a.input, b.input)
    return Search(pairs, promises, inputs, spec, a.engine.rows, a.engine.grammar).key()


def _counted(this: _Diff, builder: Builder, sides: Two, *, once: bool) -> tuple[KeyCounts, KeyCounts]:
    """`once`: A alone is counted and stands for B, until the join tells how many rows B has."""
    found = []
    for side, located in zip("a" if once else "ab", sides, strict=False):
        this.meter.step(f"count {side.upper()}")
        found.append(counts(builder, side, located.engine, located.promises))
    return found[0], found[-1]


def _in_order(pairing: Pairing, sides: Two) -> bool:
    """Whether both sides have a unique index on exactly the key and lie in its order."""
    keys = ([p.a.name for p in pairing.key], [p.b.name for p in pairing.key])
    return all(p.a.base == p.b.base for p in pairing.key) and all(
        names[0] in side.sorted_by and any(columns == set(names) for _, columns in side.promises)
        for names, side in zip(keys, sides, strict=True)
    )


def _forgive_json_spelling(duck: Duck, pairing: Pairing) -> None:
    """DuckDB compares JSON as text; what differs only in spacing or the order of keys is taken back here
    (PostgreSQL's jsonb does it itself)."""
    columns = [i for i, p in enumerate(pairing.values) if Kind.JSON in (p.a.kind, p.b.kind)]
    for i in columns:
        suspects = duck.rows(f"SELECT rowid, a{i}, b{i} FROM diff WHERE status = '{CHANGED}' AND d{i}")
        same = [str(row) for row, a, b in suspects if a is not None and b is not None and _same_json(a, b)]
        for start in range(0, len(same), 10_000):
            duck.rows(
                f"UPDATE diff SET d{i} = false WHERE rowid IN ({', '.join(same[start : start + 10_000])})"
            )
    if columns:
        flags = " OR ".join(f"d{i}" for i in range(len(pairing.values)))
        duck.rows(f"DELETE FROM diff WHERE status = '{CHANGED}' AND NOT ({flags})")


def _same_json(a: str, b: str) -> bool:
    try:
        return bool(json.loads(a) == json.loads(b))
    except (ValueError, RecursionError):
        return False


def _derive(
    spec: Spec, key: Found, found: Differing, keys: tuple[KeyCounts, KeyCounts], *, unique: bool
) -> Report:
    """All figures from the table of differing rows and the counts."""
    duck, engine, builder, pairing = found.duck, found.engine, found.builder, found.pairing
    kinds = ", ".join(f"count(*) FILTER (WHERE status = '{s}')" for s in (ONLY_A, ONLY_B))
    only_a, only_b = duck.one(f"SELECT {kinds} FROM diff")
    # FILTER would take DuckDB's planner a time that grows with the square of the columns
    each = "".join(f", count(CASE WHEN d{i} THEN 1 END)" for i in range(len(pairing.values)))
    changed, *per_column = duck.one(f"SELECT count(*){each} FROM diff WHERE status = '{CHANGED}'")
    dup_a, dup_only_a, dup_only_b = 0, 0, 0
    duplicates: Duplicates | None = None
    if not unique:
        dup_a, _, dup_only_a, dup_only_b = (int(n) for n in engine.one(builder.duplicate_counts()))
        if spec.compare_duplicates:
            other, *without = (int(n) for n in engine.one(builder.compared_duplicates()))
            duplicates = Duplicates(dup_a + dup_only_b, other, (without[0], without[1]))
    shared = keys[0].distinct - dup_a - only_a
    sample: Sample | None = None
    if builder.sampled < 1:
        (taken_keys,) = engine.one(builder.sampled_rows(unique=unique))
        sample = taken(spec.sampling, builder.sampled, int(taken_keys), shared)
    return Report(
        labels=(spec.a.label, spec.b.label),
        key=Found(tuple(p.name for p in pairing.key), key.source),
        pairing=pairing,
        keys=keys,
        exclusive_keys=(only_a + dup_only_a, only_b + dup_only_b),
        exclusive_rows=(only_a, only_b),
        compared_rows=sample.keys if sample else shared,
        changed_rows=changed,
        changed_values=tuple(per_column),
        exclusives=exclusives(found, values=spec.row_values),
        duplicates=duplicates,
        sample=sample,
        warnings=pairing.warnings,
    )


def _kept(this: _Diff, compared: _Compared) -> Report:
    """After everything was counted: throws away differing rows beyond `rows_per_column`, and shows some of
    the rest."""
    spec, most = this.spec, this.spec.rows_per_column
    found = compared.report
    if most is not None and any(n > most for n in found.changed_values):
        left = keep_few(compared.differing, found.changed_values, most)
        told = f"Of {found.changed_rows:,} differing rows {left:,} were kept, at most {most:,} per column as asked. The figures count all of them."
        found = replace(found, warnings=(*found.warnings, told))
    limit = spec.sample_rows if spec.row_values else 0
    return replace(found, samples=collect(compared.differing, found.keys, limit))


def as_bytes(document: Mapping[str, Any]) -> bytes:
    """JSON as it is written to files."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
