# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Rows, null keys, distinct keys and duplicates of one side, by the cheapest way that is exact.

A key that the catalog promises needs a count of rows only, and the second side's may follow from the join. In
DuckDB a whole-number key within a not too wide range is counted by setting one bit per key, which costs a
twentieth of grouping; if the bits are as many as the rows, no key is there twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.kinds import Kind
from runyard.tasks.datadiff.report import KeyCounts
from runyard.tasks.datadiff.servers import Promise, Server
from runyard.tasks.datadiff.statements import ONLY_A, ONLY_B, Builder

_MOST_BITS = 800_000_000  # 100 MB; DuckDB allows a billion
_BITS_PER_ROW = 64


def counts(builder: Builder, side: str, engine: Duck | Server, promises: Sequence[Promise]) -> KeyCounts:
    """The counts of side `a` or `b`."""
    names = frozenset((p.a if side == "a" else p.b).name for p in builder.pairing.key)
    if any(columns <= names for _, columns in promises):
        return _alone(int(engine.one(builder.count(side))[0]))
    return _by_bits(builder, side, engine) or _by_groups(builder, side, engine)


def implied(a: KeyCounts, duck: Duck) -> KeyCounts:
    """B's counts after the join, where both keys are promised: A's rows, less those that A alone has, and
    those that B alone has. A scan less."""
    only_a, only_b = duck.one(
        f"SELECT count(*) FILTER (WHERE status = '{ONLY_A}'), count(*) FILTER (WHERE status = '{ONLY_B}') FROM diff"
    )
    return _alone(a.total - only_a + only_b)


def _alone(rows: int) -> KeyCounts:
    """Every row has a key, and its own."""
    return KeyCounts(rows, 0, rows, 0)


def _by_groups(builder: Builder, side: str, engine: Duck | Server) -> KeyCounts:
    total, nulls, distinct, dupes = (int(n) for n in engine.one(builder.key_counts(side)))
    return KeyCounts(total, nulls, distinct, dupes)


def _by_bits(builder: Builder, side: str, engine: Duck | Server) -> KeyCounts | None:
    key = builder.pairing.key
    if (
        not isinstance(engine, Duck)
        or len(key) != 1
        or (key[0].a if side == "a" else key[0].b).kind is not Kind.INTEGER
    ):
        return None
    rows = builder.key_rows(side)
    total, filled, low, high = engine.one(f"SELECT count(*), count(k0), min(k0), max(k0) FROM ({rows}) AS r")
    if not filled:
        return KeyCounts(total, total, 0, 0)
    span = high - low + 1
    if span > min(_MOST_BITS, builder.spec.memory_bytes // 2, max(1 << 20, _BITS_PER_ROW * filled)):
        return None
    (distinct,) = engine.one(f"SELECT bit_count(bitstring_agg(k0, {low}, {high})) FROM ({rows}) AS r")
    return KeyCounts(total, total - filled, filled, 0) if distinct == filled else None
