# ruff: noqa: S608 - this package makes SQL; every name goes through names.quoted, every text through names.text
"""Runs one diff: open, find, pair, count, join, derive. Called by the program and by `runyard diff`; everything it opens is closed again.

The order makes the guarantees: sessions are locked before any text of a user runs, keys are judged before the join relies on them, and all figures
come from the table of differing rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.keys import Found, Search
from runyard.tasks.datadiff.kinds import Kind
from runyard.tasks.datadiff.pairing import Pairing, common, pair
from runyard.tasks.datadiff.places import (
    Located,
    catalog_of,
    differences_in_duck,
    differences_in_postgres,
    existing,
    fetch,
    in_duck,
    in_file,
    in_postgres,
)
from runyard.tasks.datadiff.postgres import Postgres
from runyard.tasks.datadiff.report import KeyCounts, Report
from runyard.tasks.datadiff.samples import collect, write_parquet
from runyard.tasks.datadiff.spec import Connection, Side, Spec
from runyard.tasks.datadiff.statements import CHANGED, ONLY_A, ONLY_B, Builder

Progress = Callable[[str, float], None]
STEPS = ("connect", "columns", "key", "count A", "count B", "compare", "summarise", "write")


def run(spec: Spec, connections: Mapping[str, Connection], work: Path, progress: Progress) -> Report:
    """The comparison. `work` is an existing folder for scratch and diff.parquet; CouldNot says why there is no report."""
    began = time.monotonic()
    with ExitStack() as stack:
        progress("connect", 0.0)
        duck = stack.enter_context(closing(Duck(work, spec.memory_bytes, spec.timeout_s)))
        a, b = _locate(spec, connections, duck, stack, progress)
        found = _compare(spec, a, b, duck, progress)
        progress("write", 0.0)
        rows = write_parquet(duck, found.pairing, work / "diff.parquet", spec.parquet_rows)
    return replace(found, parquet_rows=rows, seconds=time.monotonic() - began)


def _locate(
    spec: Spec, connections: Mapping[str, Connection], duck: Duck, stack: ExitStack, progress: Progress
) -> tuple[Located, Located]:
    """Finds both sides; afterwards both have the same engine."""
    wanted = [(side, _connection(side, connections)) for side in (spec.a, spec.b)]
    servers: dict[Connection, Postgres] = {}
    catalogs: dict[int, str] = {}
    for index, (side, connection) in enumerate(wanted):
        if connection is None:
            duck.readable.append(existing(side.file))
        elif connection.dialect == "duckdb":
            catalogs[index] = catalog_of(duck, side, connection)
        elif connection not in servers:
            servers[connection] = stack.enter_context(closing(Postgres(connection, spec.timeout_s)))
    duck.lock()
    progress("columns", 0.0)
    found = []
    for index, (side, connection) in enumerate(wanted):
        if connection is None:
            found.append(in_file(duck, side))
        elif index in catalogs:
            found.append(in_duck(duck, side, catalogs[index]))
        else:
            found.append(in_postgres(servers[connection], side))
    if found[0].engine is not found[1].engine:
        found = [_fetched(f, duck, name) for f, name in zip(found, ("fetched_a", "fetched_b"), strict=True)]
    return found[0], found[1]


def _fetched(located: Located, duck: Duck, name: str) -> Located:
    return fetch(located.engine, duck, located, name) if isinstance(located.engine, Postgres) else located


def _connection(side: Side, connections: Mapping[str, Connection]) -> Connection | None:
    if side.file:
        return None
    found = connections.get(side.connection)
    if found is None:
        raise CouldNot(Fault.CONNECTION, f"There is no connection {side.connection!r}.")
    if found.dialect not in ("duckdb", "postgres"):
        raise CouldNot(
            Fault.CONNECTION, f"Tables in {found.dialect!r} cannot be compared; DuckDB and PostgreSQL can."
        )
    return found


def _compare(spec: Spec, a: Located, b: Located, duck: Duck, progress: Progress) -> Report:
    engine = a.engine
    progress("key", 0.0)
    key = _key(spec, a, b)
    fetched = engine is duck and (a.input.relation == "fetched_a" or b.input.relation == "fetched_b")
    pairing = pair(a.columns, b.columns, key.columns, spec, same=not fetched)
    builder = Builder(a.input, b.input, pairing, spec, engine.dialect)
    counts = []
    for side, located in (("a", a), ("b", b)):
        progress(f"count {side.upper()}", 0.0)
        counts.append(_counts(builder, side, located))
    unique = not any(c.dupes for c in counts)
    progress("compare", 0.0)
    engine.progress = lambda fraction: progress("compare", fraction)
    if isinstance(engine, Postgres):
        differences_in_postgres(engine, duck, builder, unique=unique)
    else:
        differences_in_duck(engine, builder, unique=unique)
        _forgive_json_spelling(engine, pairing)
    engine.progress = lambda fraction: None
    progress("summarise", 0.0)
    return _derive(spec, key, builder, (counts[0], counts[1]), (a, b), duck)


def _key(spec: Spec, a: Located, b: Located) -> Found:
    if spec.key:
        return Found(spec.key, "given")
    pairs = common(a.columns, b.columns, spec)
    return Search(pairs, (a.promises, b.promises), (a.input, b.input), spec, a.engine.rows).key()


def _counts(builder: Builder, side: str, located: Located) -> KeyCounts:
    """Counts keys; a catalog that promises them unique and filled saves the grouping."""
    names = frozenset((p.a if side == "a" else p.b).name for p in builder.pairing.key)
    if any(columns <= names for _, columns in located.promises):
        (total,) = located.engine.one(builder.count(side))
        return KeyCounts(total, 0, total, 0)
    total, nulls, distinct, dupes = (int(n) for n in located.engine.one(builder.key_counts(side)))
    return KeyCounts(total, nulls, distinct, dupes)


def _forgive_json_spelling(duck: Duck, pairing: Pairing) -> None:
    """DuckDB compares JSON as text; what differs only in spacing or the order of keys is taken back here (PostgreSQL's jsonb does it itself)."""
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
    spec: Spec,
    key: Found,
    builder: Builder,
    keys: tuple[KeyCounts, KeyCounts],
    sides: tuple[Located, Located],
    duck: Duck,
) -> Report:
    """All figures from the table of differing rows and the counts."""
    pairing = builder.pairing
    each = "".join(
        f", count(*) FILTER (WHERE status = '{CHANGED}' AND d{i})" for i in range(len(pairing.values))
    )
    kinds = ", ".join(f"count(*) FILTER (WHERE status = '{s}')" for s in (ONLY_A, ONLY_B, CHANGED))
    only_a, only_b, changed, *per_column = duck.one(f"SELECT {kinds}{each} FROM diff")
    dup_a, dup_only_a, dup_only_b = 0, 0, 0
    if any(k.dupes for k in keys):
        dup_a, _, dup_only_a, dup_only_b = (int(n) for n in sides[0].engine.one(builder.duplicate_counts()))
    return Report(
        labels=(spec.a.label, spec.b.label),
        key=Found(tuple(p.name for p in pairing.key), key.source),
        pairing=pairing,
        keys=keys,
        exclusive_keys=(only_a + dup_only_a, only_b + dup_only_b),
        exclusive_rows=(only_a, only_b),
        compared_rows=keys[0].distinct - dup_a - only_a,
        changed_rows=changed,
        changed_values=tuple(per_column),
        samples=collect(duck, sides[0].engine, builder, keys, spec.sample_rows),
    )


def as_bytes(document: Mapping[str, Any]) -> bytes:
    """JSON as it is written to files."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
