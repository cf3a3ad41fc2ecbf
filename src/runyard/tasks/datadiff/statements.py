# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""The SQL of a diff, for every database alike: one aggregate per side, and one full outer join that keeps
only what differs.

Columns go by position inside (k0, k1 … for the key, c0, c1 … for values), so no name of a user can collide
with ours. Where a database has no full join, or only a sample of the shared keys is compared, the join falls
into parts that together see every key once.
"""

from __future__ import annotations

from dataclasses import dataclass

from runyard.tasks.datadiff.equality import comparable, differs
from runyard.tasks.datadiff.grammar import HASH_SPAN, Grammar
from runyard.tasks.datadiff.kinds import Kind
from runyard.tasks.datadiff.pairing import Pair, Pairing
from runyard.tasks.datadiff.spec import Spec

CHANGED, ONLY_A, ONLY_B = "changed", "only_a", "only_b"


@dataclass(frozen=True, slots=True)
class Input:
    """One side as SQL: something that can stand after FROM, and conditions on its rows."""

    relation: str
    filter: str = ""
    interval: str = ""  # ours, made of quoted parts

    @property
    def where(self) -> str:
        """The filter on lines of its own, so that a trailing comment in it ends there."""
        parts = [f"(\n{self.filter}\n)"] if self.filter else []
        return " AND ".join([*parts, *([self.interval] if self.interval else [])]) or "1 = 1"


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes every statement of one diff. `sampled` is the share of shared keys whose values are compared, 1
    for all."""

    a: Input
    b: Input
    pairing: Pairing
    spec: Spec
    grammar: Grammar
    sampled: float = 1.0

    @property
    def keys(self) -> list[str]:
        """k0, k1, …"""
        return [f"k{i}" for i in range(len(self.pairing.key))]

    def input(self, side: str) -> Input:
        """The input of `a` or `b`."""
        return self.a if side == "a" else self.b

    def _keys_of(self, side: str, *, grouping: bool) -> str:
        """Key columns; for `grouping` in the form in which equal means the same key."""
        found = []
        for i, pair in enumerate(self.pairing.key):
            value = f"t.{self.grammar.quoted(_column(pair, side))}"
            found.append(f"{self.grammar.key(value, _kinds(pair)) if grouping else value} AS k{i}")
        return ", ".join(found)

    def _complete(self, prefix: str = "") -> str:
        return " AND ".join(f"{prefix}{k} IS NOT NULL" for k in self.keys)

    def key_rows(self, side: str) -> str:
        """The keys alone, null ones too, ready to be grouped."""
        source = self.input(side)
        return f"SELECT {self._keys_of(side, grouping=True)} FROM {source.relation} AS t WHERE {source.where}"

    def count(self, side: str) -> str:
        """(total) where the catalog already promises a unique key without nulls."""
        source = self.input(side)
        return f"SELECT count(*) FROM {source.relation} AS t WHERE {source.where}"

    def key_counts(self, side: str) -> str:
        """(total, null keys, distinct keys, rows whose key is not alone)."""
        keys = ", ".join(self.keys)
        grouped = f"SELECT {keys}, count(*) AS n FROM ({self.key_rows(side)}) AS r GROUP BY {keys}"
        full = self._complete()
        return (
            f"SELECT coalesce(sum(n), 0), coalesce(sum(CASE WHEN {full} THEN 0 ELSE n END), 0), {self.grammar.count_if(full)}, "
            f"coalesce(sum(CASE WHEN {full} AND n > 1 THEN n END), 0) FROM ({grouped}) AS g"
        )

    def duplicates(self) -> str:
        """Keys that are not alone on at least one side: (k…, rows in a, rows in b)."""
        keys, full = ", ".join(self.keys), self._complete()
        sides = " UNION ALL ".join(
            f"SELECT {keys}, {int(s == 'a')} AS na, {int(s == 'b')} AS nb FROM ({self.key_rows(s)}) AS {s}{s} WHERE {full}"
            for s in "ab"
        )
        return (
            f"SELECT {keys}, sum(na) AS na, sum(nb) AS nb FROM ({sides}) AS u GROUP BY {keys} "
            "HAVING sum(na) > 1 OR sum(nb) > 1"
        )

    def duplicate_counts(self) -> str:
        """(duplicated keys present in a, in b, only in a, only in b)."""
        tests = ("na > 0", "nb > 0", "nb = 0", "na = 0")
        return f"SELECT {', '.join(map(self.grammar.count_if, tests))} FROM ({self.duplicates()}) AS d"

    def compared_duplicates(self) -> str:
        """(keys of `duplicates` whose rows are not the same on both sides, rows of them in a without an equal
        one in b, and in b): multisets of rows."""
        keys, values = ", ".join(self.keys), [f"c{i}" for i in range(len(self.pairing.values))]
        row = ", ".join([*self.keys, *values])
        sides = " UNION ALL ".join(
            f"SELECT {self._keys_of(s, grouping=True)}{self._comparable_values(s)}, {int(s == 'a')} AS na, {int(s == 'b')} AS nb "
            f"FROM {self.input(s).relation} AS t WHERE {self.input(s).where}"
            for s in "ab"
        )
        known = " AND ".join(f"dup.{k} = u.{k}" for k in self.keys)
        rows = (
            f"SELECT {row}, sum(na) AS na, sum(nb) AS nb FROM ({sides}) AS u WHERE EXISTS (SELECT 1 FROM dup WHERE {known}) "
            f"GROUP BY {row} HAVING sum(na) <> sum(nb)"
        )
        more = [
            f"sum(CASE WHEN {x} > {y} THEN {x} - {y} ELSE 0 END) AS {x}"
            for x, y in (("na", "nb"), ("nb", "na"))
        ]
        each = f"SELECT {keys}, {', '.join(more)} FROM ({rows}) AS g GROUP BY {keys}"
        return (
            f"WITH dup AS {self.grammar.cte}({self.duplicates()}) "
            f"SELECT count(*), coalesce(sum(na), 0), coalesce(sum(nb), 0) FROM ({each}) AS e"
        )

    def _comparable_values(self, side: str) -> str:
        """The compared columns in the form in which equal means no difference: without tolerances and rules,
        which make no classes of equal values."""
        quoted, at = self.grammar.quoted, "ab".index(side)
        found = []
        for i, pair in enumerate(self.pairing.values):
            raw = f"t.{quoted(pair.a.name)}", f"t.{quoted(pair.b.name)}"
            found.append(f", {comparable(pair, raw, self.spec, self.grammar)[at]} AS c{i}")
        return "".join(found)

    def is_duplicate(self, side: str) -> str:
        """Whether a row `t` of the side has a key that is there more than once on this side."""
        keys = ", ".join(self.keys)
        several = f"SELECT {keys} FROM ({self.key_rows(side)}) AS r WHERE {self._complete()} GROUP BY {keys} HAVING count(*) > 1"
        same = " AND ".join(
            f"d.k{i} = {self.grammar.key(f't.{self.grammar.quoted(_column(p, side))}', _kinds(p))}"
            for i, p in enumerate(self.pairing.key)
        )
        return f"EXISTS (SELECT 1 FROM ({several}) AS d WHERE {same})"

    def side_rows(self, side: str, *, unique: bool, within: str = "") -> str:
        """Rows that take part in the join: complete keys, and (unless known to be `unique`) none that is
        duplicated anywhere.

        `within` is a further condition on k0, k1 …
        """
        source = self.input(side)
        quoted = self.grammar.quoted
        values = "".join(f", t.{quoted(_column(p, side))} AS c{i}" for i, p in enumerate(self.pairing.values))
        rows = f"SELECT {self._keys_of(side, grouping=False)}{values} FROM {source.relation} AS t WHERE {source.where}"
        alone = "" if unique else f" AND NOT EXISTS (SELECT 1 FROM dup WHERE {self._in_dup('r')})"
        more = f" AND {within}" if within else ""
        barrier = "" if unique else self.grammar.barrier
        return f"SELECT * FROM ({rows}) AS r WHERE {self._complete('r.')}{alone}{more}{barrier}"

    def _in_dup(self, row: str) -> str:
        return " AND ".join(
            f"dup.k{i} = {self.grammar.key(f'{row}.k{i}', _kinds(p))}" for i, p in enumerate(self.pairing.key)
        )

    def same(self, left: str, right: str) -> str:
        """Equality of two rows' keys."""
        return " AND ".join(
            self.grammar.same_key(f"{left}.k{i}", f"{right}.k{i}", _kinds(p), _alike(p))
            for i, p in enumerate(self.pairing.key)
        )

    @property
    def flags(self) -> list[str]:
        """One boolean expression per compared column."""
        return [differs(p, i, self.spec, self.grammar) for i, p in enumerate(self.pairing.values)]

    def join(self, select: str, *, unique: bool, within: str = "", dup: str | None = None) -> str:
        """The full outer join with a select list over a, b; only rows that differ. `dup`: the keys to leave
        out are in a table of that name."""
        with_ = "" if unique or dup else f"WITH dup AS {self.grammar.cte}({self.duplicates()}) "
        a, b = (self.side_rows(side, unique=unique, within=within) for side in "ab")
        on = self.same("a", "b")
        changed = " OR ".join(self.flags) or "1 = 0"
        if self.sampled < 1:
            return with_ + self._apart(select, a, b, on, changed)
        if self.grammar.full_join:
            where = f"a.k0 IS NULL OR b.k0 IS NULL OR {changed}"
            return f"{with_}SELECT {select} FROM ({a}) AS a FULL JOIN ({b}) AS b ON {on} WHERE {where}"
        return (
            f"{with_}SELECT {select} FROM ({a}) AS a LEFT JOIN ({b}) AS b ON {on} WHERE b.k0 IS NULL OR {changed} "
            f"UNION ALL SELECT {select} FROM ({b}) AS b LEFT JOIN ({a}) AS a ON {on} WHERE a.k0 IS NULL"
        )

    def _apart(self, select: str, a: str, b: str, on: str, changed: str) -> str:
        """Keys of one side alone, then the sampled shared ones; the first two look at keys only, the third at
        a part of the rows only."""
        parts = []
        for s, o, rows, others in (("a", "b", a, b), ("b", "a", b, a)):
            keys = ", ".join(f"o.{k}" for k in self.keys)
            absent = f"NOT EXISTS (SELECT 1 FROM (SELECT {keys} FROM ({others}) AS o) AS x WHERE {self.same(s, 'x')})"
            parts.append(
                f"SELECT {select} FROM ({rows}) AS {s} LEFT JOIN (SELECT * FROM ({others}) AS n WHERE 1 = 0) AS {o} ON {on} WHERE {absent}"
            )
        few = [f"SELECT * FROM ({rows}) AS s WHERE {self.in_sample('s')}" for rows in (a, b)]
        parts.append(f"SELECT {select} FROM ({few[0]}) AS a JOIN ({few[1]}) AS b ON {on} WHERE {changed}")
        return " UNION ALL ".join(parts)

    def in_sample(self, row: str) -> str:
        """Whether a key belongs to the sample: the same keys on both sides."""
        keys = [self.grammar.key(f"{row}.k{i}", _kinds(p)) for i, p in enumerate(self.pairing.key)]
        return f"{self.grammar.key_hash(keys)} < {int(self.sampled * HASH_SPAN)}"

    def sampled_rows(self, *, unique: bool) -> str:
        """(shared keys that belong to the sample)."""
        with_ = "" if unique else f"WITH dup AS {self.grammar.cte}({self.duplicates()}) "
        few = [
            f"SELECT * FROM ({self.side_rows(s, unique=unique)}) AS s WHERE {self.in_sample('s')}"
            for s in "ab"
        ]
        return f"{with_}SELECT count(*) FROM ({few[0]}) AS a JOIN ({few[1]}) AS b ON {self.same('a', 'b')}"

    @property
    def status(self) -> str:
        """Which of the three kinds a joined row is; keys are never NULL in the join."""
        return (
            f"CASE WHEN b.k0 IS NULL THEN '{ONLY_A}' WHEN a.k0 IS NULL THEN '{ONLY_B}' ELSE '{CHANGED}' END"
        )

    def bad_rows(self, side: str, what: str, limit: int) -> str:
        """A few keys that are incomplete (`null`) or not alone (`duplicate`), with how many rows each has."""
        keys, full = ", ".join(self.keys), self._complete()
        test = f"WHERE NOT ({full})" if what == "null" else f"WHERE {full}"
        having = "" if what == "null" else " HAVING count(*) > 1"
        return (
            f"SELECT {keys}, count(*) AS n FROM ({self.key_rows(side)}) AS r {test} GROUP BY {keys}{having} "
            f"ORDER BY n DESC LIMIT {limit}"
        )


def _column(pair: Pair, side: str) -> str:
    return pair.a.name if side == "a" else pair.b.name


def _kinds(pair: Pair) -> frozenset[Kind]:
    return frozenset({pair.a.kind, pair.b.kind})


def _alike(pair: Pair) -> bool:
    return bool(pair.a.collation) and pair.a.collation == pair.b.collation
