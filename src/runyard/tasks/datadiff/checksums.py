# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Checksums by buckets, for two databases with a slow link between: only buckets that differ are fetched, and
the typed join decides on them.

Asked for by `algorithm: hash`. A row's text holds every cell with its length, so it is unambiguous; a bucket
is a count and four sums over the row's md5 (112 bits). Datafold's `bisection_factor` makes rounds of it, for
links so slow that the sums themselves count: each round cuts the segments that differ into so many, until one
has `bisection_threshold` rows. Every round reads both tables once more, so without it there is one. Databases
write some values differently: such buckets are fetched for nothing, but never the other way round. What is
never trusted is a checksum that says "different".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runyard.tasks.datadiff.counting import counts
from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.fetching import fetch
from runyard.tasks.datadiff.grammar import Grammar
from runyard.tasks.datadiff.keys import Found
from runyard.tasks.datadiff.kinds import STRINGS, Kind
from runyard.tasks.datadiff.locating import Located
from runyard.tasks.datadiff.meter import Meter
from runyard.tasks.datadiff.pairing import Pair, Pairing, common, pair
from runyard.tasks.datadiff.report import KeyCounts
from runyard.tasks.datadiff.spec import Spec
from runyard.tasks.datadiff.statements import Builder, Input

ROWS_PER_BUCKET = 1_000
FEWEST_BUCKETS, MOST_BUCKETS = 16, 1 << 16
WORTH = 0.5  # share of differing buckets above which everything is fetched
_EXACT = frozenset(
    {Kind.INTEGER, Kind.UUID, Kind.DATE, *STRINGS}
)  # keys whose text every database writes alike


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Both sides' rows of the differing buckets, in DuckDB, with what was counted at home."""

    sides: tuple[Located, Located]
    key: Found
    counts: tuple[KeyCounts, KeyCounts]
    told: str


def narrow(spec: Spec, sides: tuple[Located, Located], duck: Duck, meter: Meter) -> Narrowed | None:
    """None where checksums do not serve: no known key, duplicates, sampling, or too much that differs."""
    key = _key(spec, sides)
    if key is None or spec.sampling is not None or (spec.time is not None and spec.time.aggregate):
        return None
    a, b = sides
    pairing = pair(a.columns, b.columns, key.columns, spec, same=False)
    if not all({p.a.kind, p.b.kind} <= _EXACT for p in pairing.key):
        return None
    builders = [Builder(a.input, b.input, pairing, spec, s.engine.grammar) for s in sides]
    found = []
    for side, located, builder in zip("ab", sides, builders, strict=True):
        meter.step(f"count {side.upper()}")
        found.append(counts(builder, side, located.engine, located.promises))
    if any(k.dupes for k in found):
        return None
    fewest, each = (
        (1, spec.bisection_threshold) if spec.bisection_threshold else (FEWEST_BUCKETS, ROWS_PER_BUCKET)
    )
    wanted = max(fewest, min(MOST_BUCKETS, max(k.total for k in found) // each))
    buckets, rounds, differing = _bisected(sides, pairing, wanted, spec.bisection_factor or wanted)
    if len(differing) > WORTH * buckets:
        return None
    fetched = [
        _few(located, pairing, side, buckets, differing, duck, meter)
        for side, located in zip("ab", sides, strict=True)
    ]
    rounds_told = f" in {rounds} rounds" if rounds > 1 else ""
    told = f"Checksums of {buckets:,} buckets{rounds_told}: {len(differing):,} differed and were compared row by row, the rest was not fetched."
    return Narrowed((fetched[0], fetched[1]), key, (found[0], found[1]), told)


def _key(spec: Spec, sides: tuple[Located, Located]) -> Found | None:
    if spec.key:
        return Found(spec.key, spec.key_source)
    names = {p.name for p in common(sides[0].columns, sides[1].columns, spec)}
    for source, columns in sides[0].promises:
        if columns <= names:
            return Found(tuple(c.name for c in sides[0].columns if c.name in columns), f"{source} of A")
    return None


def _bisected(
    sides: tuple[Located, Located], pairing: Pairing, wanted: int, factor: int
) -> tuple[int, int, list[int]]:
    """(buckets of the last round, rounds, the buckets that differ). A bucket's number in one round is its
    number in the round before, modulo that."""
    buckets, rounds, differing = 1, 0, [0]
    while differing and buckets < wanted:
        finer = buckets * min(factor, -(-wanted // buckets))
        within = differing if rounds else None
        sums = [
            {
                int(row[0]): tuple(map(int, row[1:]))
                for row in located.engine.rows(_sums(located, pairing, side, finer, buckets, within))
            }
            for side, located in zip("ab", sides, strict=True)
        ]
        differing = sorted(n for n in sums[0].keys() | sums[1].keys() if sums[0].get(n) != sums[1].get(n))
        buckets, rounds = finer, rounds + 1
    return buckets, rounds, differing


def _bucket(pairing: Pairing, side: str, grammar: Grammar, buckets: int) -> str:
    digest = grammar.md5(_joined([_cell(p, side, grammar) for p in pairing.key], grammar))
    return f"MOD({grammar.hex_number(digest, 1)}, {buckets})"


def _sums(
    located: Located, pairing: Pairing, side: str, buckets: int, coarse: int, within: Sequence[int] | None
) -> str:
    """(bucket, rows, four sums) of complete keys; `within` so many of the `coarse` buckets, or in all."""
    grammar = located.engine.grammar
    cells = [_cell(p, side, grammar) for p in (*pairing.key, *pairing.values)]
    complete = " AND ".join(f"t.{_name(p, side, grammar)} IS NOT NULL" for p in pairing.key)
    if within is not None:
        chosen = ", ".join(map(str, within))
        complete += f" AND {_bucket(pairing, side, grammar, coarse)} IN ({chosen})"
    parts = ", ".join(f"sum({grammar.hex_number('digest', 1 + 7 * i)})" for i in range(4))
    return (
        f"SELECT bucket, count(*), {parts} FROM (SELECT {_bucket(pairing, side, grammar, buckets)} AS bucket, "
        f"{grammar.md5(_joined(cells, grammar))} AS digest FROM {located.input.relation} AS t "
        f"WHERE {located.input.where} AND {complete}) AS s GROUP BY bucket"
    )


def _name(pair: Pair, side: str, grammar: Grammar) -> str:
    return grammar.quoted(pair.a.name if side == "a" else pair.b.name)


def _cell(pair: Pair, side: str, grammar: Grammar) -> str:
    """A cell as text with its length before it; NULL has none."""
    value = f"t.{_name(pair, side, grammar)}"
    kinds = {pair.a.kind, pair.b.kind}
    if kinds == {Kind.BOOLEAN} or kinds == {Kind.BOOLEAN, Kind.INTEGER}:
        column = pair.a if side == "a" else pair.b
        text = (
            f"CASE WHEN {value} THEN '1' ELSE '0' END"
            if column.kind is Kind.BOOLEAN
            else grammar.as_text(value)
        )
        sized = grammar.joined(["'1:'", text])
        return f"CASE WHEN {value} IS NULL THEN '-' ELSE {sized} END"
    text = grammar.as_text(value)
    if Kind.FIXED in kinds:
        text = f"rtrim({text})"
    if Kind.UUID in kinds:
        text = f"lower({text})"
    sized = grammar.joined([grammar.as_text(grammar.byte_length(text)), "':'", text])
    return f"coalesce({sized}, '-')"


def _joined(cells: list[str], grammar: Grammar) -> str:
    return cells[0] if len(cells) == 1 else grammar.joined(cells)


def _few(
    located: Located, pairing: Pairing, side: str, buckets: int, wanted: list[int], duck: Duck, meter: Meter
) -> Located:
    """The side's rows of the wanted buckets."""
    name = f"fetched_{side}"
    bucket = _bucket(pairing, side, located.engine.grammar, buckets)
    conditions = [
        f"t.{_name(p, side, located.engine.grammar)} IS NULL" for p in pairing.key
    ]  # for the samples
    if wanted:
        conditions.append(f"{bucket} IN ({', '.join(map(str, wanted))})")
    within = f"({' OR '.join(conditions)})"
    if not isinstance(located.engine, Duck):
        meter.step(f"fetch {side.upper()}")
        return fetch(located, duck, name, meter.counted(f"fetch {side.upper()}", 0), within)
    duck.rows(
        f"CREATE TEMP TABLE {name} AS SELECT * FROM {located.input.relation} AS t WHERE {located.input.where} AND {within}"
    )
    return replace(located, input=Input(name), fetched=True)
