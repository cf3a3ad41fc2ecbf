# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Finds a key when none was given: constraints, then customary names, then values. Says where it found it,
because a guess must look like one.

Order of contracts/datafold.md §8.3 as far as it applies to tables: catalog constraints · `id`, `pk`, `pkey`,
`<table>_id` · unique in both tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import Grammar
from runyard.tasks.datadiff.kinds import Column, Kind, datatype_name, joinable
from runyard.tasks.datadiff.names import match, path_of
from runyard.tasks.datadiff.pairing import Pair
from runyard.tasks.datadiff.servers import Promise
from runyard.tasks.datadiff.spec import Spec
from runyard.tasks.datadiff.statements import Input

_CANDIDATES = frozenset(
    {Kind.INTEGER, Kind.DECIMAL, Kind.STRING, Kind.FIXED, Kind.UUID, Kind.DATE}
)  # Datafold never proposes floats, timestamps, arrays, booleans, binaries
_FIRST_ROWS = 20_000
_SINGLES, _IN_PAIRS = 16, 6  # how many columns are tried alone, and in twos and threes

Promises = Sequence[Promise]
Rows = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Found:
    """A key and where it comes from: `given`, a constraint of a side, `column name`, `unique values`."""

    columns: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Search:
    """What is known when a key is looked for."""

    pairs: Sequence[Pair]
    promises: tuple[Promises, Promises]
    inputs: tuple[Input, Input]
    spec: Spec
    rows: Rows
    grammar: Grammar

    def key(self) -> Found:
        """The key; CouldNot when there is none."""
        return self._promised() or self._by_values() or self._named() or self._none()

    @property
    def _pool(self) -> list[Pair]:
        avoided = {name.casefold() for name in self.spec.avoid_key_names}
        return [
            p
            for p in self.pairs
            if p.name.casefold() not in avoided and joinable(p.a, p.b) and not self._avoided_type(p.a)
        ]

    def _avoided_type(self, column: Column) -> bool:
        """Datafold's `infer_pk_avoid_types`: a DatatypeName, or `db:RAW` for the database's own word."""
        raw = column.exact.casefold()
        names = {
            datatype_name(column),
            f"db:{raw}",
            f"db:{raw.split('(', 1)[0]}",
            f"db:{column.base.casefold()}",
        }
        return any(t.casefold() in names for t in self.spec.avoid_key_types)

    def _promised(self) -> Found | None:
        for side, promises in zip("AB", self.promises, strict=True):
            by_name = {(p.a if side == "A" else p.b).name: p.name for p in self._pool}
            for source, columns in promises:
                if columns <= by_name.keys():
                    order = [p.name for p in self.pairs if p.name in {by_name[c] for c in columns}]
                    return Found(tuple(order), f"{source} of {side}")
        return None

    @property
    def _customary(self) -> list[str]:
        tables = [path_of(side.table)[-1] for side in (self.spec.a, self.spec.b) if side.table]
        wishes = [
            "id",
            "pk",
            "pkey",
            *(f"{t}_id" for t in tables),
            *(f"{t.removesuffix('s')}_id" for t in tables),
        ]
        names = [p.name for p in self._pool if p.a.kind in _CANDIDATES]
        found = (match(wish, names) for wish in wishes)
        return list(dict.fromkeys(name for name in found if name))

    def _named(self) -> Found | None:
        """A customary name even if it is not unique: the report then shows its duplicates."""
        named = self._customary
        return Found((named[0],), "column name") if named else None

    def _by_values(self) -> Found | None:
        pool = {p.name: p for p in self._pool if p.a.kind in _CANDIDATES and p.b.kind in _CANDIDATES}
        order = [*self._customary, *(name for name in pool if name not in self._customary)][:_SINGLES]
        if not order:
            return None
        singles = [n for n in order if n in self._complete([pool[n] for n in order])]
        for name in singles:
            if self._unique([pool[name]]):
                return Found((name,), "column name" if name in self._customary else "unique values")
        some = [pool[n] for n in singles[:_IN_PAIRS]]
        for size in (2, 3):
            for group in combinations(some, size):
                if self._unique(group):
                    return Found(tuple(p.name for p in group), "unique values")
        return None

    def _complete(self, pairs: Sequence[Pair]) -> set[str]:
        """Names of columns without nulls on both sides."""
        complete = {p.name for p in pairs}
        for index, source in enumerate(self.inputs):
            counts = ", ".join(f"count(t.{self.grammar.quoted((p.a, p.b)[index].name)})" for p in pairs)
            total, *filled = self.rows(
                f"SELECT count(*), {counts} FROM {source.relation} AS t WHERE {source.where}"
            )[0]
            complete -= {p.name for p, n in zip(pairs, filled, strict=True) if n != total}
        return complete

    def _unique(self, pairs: Sequence[Pair]) -> bool:
        """A look at some rows first: most columns that are not unique show it there, and whole tables may be
        large."""
        return all(
            not self._repeats(pairs, index, limit)
            for limit in (f" LIMIT {_FIRST_ROWS}", "")
            for index in range(2)
        )

    def _repeats(self, pairs: Sequence[Pair], index: int, limit: str) -> bool:
        source = self.inputs[index]
        names = [f"k{i}" for i in range(len(pairs))]
        columns = ", ".join(
            f"t.{self.grammar.quoted((p.a, p.b)[index].name)} AS {k}"
            for k, p in zip(names, pairs, strict=True)
        )
        rows = f"SELECT {columns} FROM {source.relation} AS t WHERE {source.where}{limit}"
        keys = ", ".join(names)
        return bool(self.rows(f"SELECT 1 FROM ({rows}) AS r GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"))

    def _none(self) -> Found:
        raise CouldNot(
            Fault.NO_KEY,
            "The primary key is not set, and no column or group of columns is unique in both: name the columns of the key, or compare a query that has one.",
        )
