# ruff: noqa: S608 - this package makes SQL; every name goes through names.quoted, every text through names.text
"""The SQL of a diff, for DuckDB and PostgreSQL alike: one aggregate per side, and one full outer join that keeps only what differs.

Columns go by position inside (k0, k1 … for the key, c0, c1 … for values), so no name of a user can collide with ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from runyard.tasks.datadiff.equality import differs
from runyard.tasks.datadiff.names import quoted
from runyard.tasks.datadiff.pairing import Pair, Pairing
from runyard.tasks.datadiff.spec import Spec

CHANGED, ONLY_A, ONLY_B = "changed", "only_a", "only_b"


@dataclass(frozen=True, slots=True)
class Input:
    """One side as SQL: something that can stand after FROM, and a condition on its rows."""

    relation: str
    filter: str = ""

    @property
    def where(self) -> str:
        """The filter on lines of its own, so that a trailing comment in it ends there."""
        return f"(\n{self.filter}\n)" if self.filter else "true"


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes every statement of one diff."""

    a: Input
    b: Input
    pairing: Pairing
    spec: Spec
    dialect: str

    @property
    def keys(self) -> list[str]:
        """k0, k1, …"""
        return [f"k{i}" for i in range(len(self.pairing.key))]

    def _input(self, side: str) -> Input:
        return self.a if side == "a" else self.b

    def _keys_of(self, side: str) -> str:
        return ", ".join(f"t.{quoted(_column(p, side))} AS k{i}" for i, p in enumerate(self.pairing.key))

    def _complete(self, prefix: str = "") -> str:
        return " AND ".join(f"{prefix}{k} IS NOT NULL" for k in self.keys)

    def key_rows(self, side: str) -> str:
        """The keys alone, null ones too."""
        source = self._input(side)
        return f"SELECT {self._keys_of(side)} FROM {source.relation} AS t WHERE {source.where}"

    def count(self, side: str) -> str:
        """(total) where the catalog already promises a unique key without nulls."""
        source = self._input(side)
        return f"SELECT count(*) FROM {source.relation} AS t WHERE {source.where}"

    def key_counts(self, side: str) -> str:
        """(total, null keys, distinct keys, rows whose key is not alone)."""
        keys = ", ".join(self.keys)
        grouped = f"SELECT {keys}, count(*) AS n FROM ({self.key_rows(side)}) AS r GROUP BY {keys}"
        full = self._complete()
        return (
            f"SELECT coalesce(sum(n), 0), coalesce(sum(n) FILTER (WHERE NOT ({full})), 0), count(*) FILTER (WHERE {full}), "
            f"coalesce(sum(n) FILTER (WHERE {full} AND n > 1), 0) FROM ({grouped}) AS g"
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
        present = ", ".join(
            f"count(*) FILTER (WHERE {test})" for test in ("na > 0", "nb > 0", "nb = 0", "na = 0")
        )
        return f"SELECT {present} FROM ({self.duplicates()}) AS d"

    def side_rows(self, side: str, *, unique: bool) -> str:
        """Rows that take part in the join: complete keys, and (unless known to be `unique`) none that is duplicated anywhere."""
        source = self._input(side)
        values = "".join(f", t.{quoted(_column(p, side))} AS c{i}" for i, p in enumerate(self.pairing.values))
        rows = f"SELECT {self._keys_of(side)}{values} FROM {source.relation} AS t WHERE {source.where}"
        alone = "" if unique else f" AND NOT EXISTS (SELECT 1 FROM dup WHERE {self._same('dup', 'r')})"
        return f"SELECT * FROM ({rows}) AS r WHERE {self._complete('r.')}{alone}"

    def _same(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{k} = {right}.{k}" for k in self.keys)

    @property
    def flags(self) -> list[str]:
        """One boolean expression per compared column."""
        return [differs(p, i, self.spec, self.dialect) for i, p in enumerate(self.pairing.values)]

    def join(self, select: str, *, unique: bool) -> str:
        """The full outer join with a select list over a, b; only rows that differ."""
        with_ = "" if unique else f"WITH dup AS MATERIALIZED ({self.duplicates()}) "
        a, b = (self.side_rows(side, unique=unique) for side in "ab")
        where = " OR ".join(["a.k0 IS NULL", "b.k0 IS NULL", *self.flags])
        return f"{with_}SELECT {select} FROM ({a}) AS a FULL JOIN ({b}) AS b ON {self._same('a', 'b')} WHERE {where}"

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
