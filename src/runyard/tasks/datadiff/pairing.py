"""Which columns belong together: keys, compared pairs, and the differences of the two schemas. Pure; called
once per diff."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from runyard.syntax.ignores import Ignores
from runyard.syntax.patterns import PatternError
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.kinds import Column, comparable, joinable
from runyard.tasks.datadiff.names import instead, match
from runyard.tasks.datadiff.spec import Spec


@dataclass(frozen=True, slots=True)
class Pair:
    """One column on both sides, under the name the report uses (a's)."""

    name: str
    a: Column
    b: Column


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """How the two column lists differ, after include and exclude. Types alone, order and presence;
    constraints are not compared."""

    counts: tuple[int, int]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    retyped: tuple[Pair, ...]  # values are not compared
    resized: tuple[Pair, ...]  # the same type with another length or precision; values are compared
    reordered: int

    @property
    def any(self) -> bool:
        """Whether the schemas differ at all."""
        return bool(self.only_a or self.only_b or self.retyped or self.resized or self.reordered)


@dataclass(frozen=True, slots=True)
class Pairing:
    """All that the SQL builders need to know of columns."""

    key: tuple[Pair, ...]
    values: tuple[Pair, ...]
    schema: SchemaChange
    warnings: tuple[str, ...] = ()


def common(a: Sequence[Column], b: Sequence[Column], spec: Spec) -> list[Pair]:
    """Every column that exists on both sides, in a's order."""
    renamed = _renames(a, b, spec)
    free = [c.name for c in b if c.name not in renamed.values()]
    by_name = {c.name: c for c in b}
    pairs = []
    for column in a:
        other = renamed.get(column.name) or match(column.name, free)
        if other is not None:
            pairs.append(Pair(column.name, column, by_name[other]))
    return pairs


def _renames(a: Sequence[Column], b: Sequence[Column], spec: Spec) -> dict[str, str]:
    found = {}
    for before, after in spec.mapping:
        left, right = match(before, (c.name for c in a)), match(after, (c.name for c in b))
        if left is None or right is None:
            raise CouldNot(
                Fault.NO_COLUMN, f"The mapping {before} → {after} names a column that is not there."
            )
        found[left] = right
    for before, after in spec.renames:
        left, right = match(before, (c.name for c in a)), match(after, (c.name for c in b))
        gone = match(before, (c.name for c in b)) is None and match(after, (c.name for c in a)) is None
        if left is not None and right is not None and gone and right not in found.values():
            found.setdefault(left, right)
    return found


def pair(a: Sequence[Column], b: Sequence[Column], key: Sequence[str], spec: Spec, *, same: bool) -> Pairing:
    """Joins the two column lists. `same`: both sides are compared by the engine they live in."""
    pairs = common(a, b, spec)
    keys = tuple(_key_pair(name, pairs, a, b) for name in key)
    key_names = {p.a.name for p in keys}
    wanted, warnings = _chooser(spec, key_names, a, b)
    left = [c for c in a if wanted(c.name)]
    taken = {p.b.name: p.name for p in pairs}
    right = [c for c in b if wanted(taken.get(c.name, c.name)) and wanted(c.name, strict=False)]
    right_names = {c.name for c in right}
    both = [p for p in pairs if wanted(p.name) and p.b.name in right_names]
    alike = [p for p in both if comparable(p.a, p.b, same_engine=same)]
    values = tuple(p for p in alike if p.a.name not in key_names)
    schema = SchemaChange(
        counts=(len(left), len(right)),
        only_a=_without(left, {p.a.name for p in both}),
        only_b=_without(right, {p.b.name for p in both}),
        retyped=tuple(p for p in both if p not in alike),
        resized=tuple(p for p in alike if same and p.a.exact != p.b.exact),
        reordered=_moved([p.b.name for p in both], [c.name for c in right]),
    )
    return Pairing(keys, values, schema, tuple(warnings))


def _without(columns: Sequence[Column], names: set[str]) -> tuple[str, ...]:
    return tuple(c.name for c in columns if c.name not in names)


def _key_pair(name: str, pairs: Sequence[Pair], a: Sequence[Column], b: Sequence[Column]) -> Pair:
    found = match(name, (p.name for p in pairs)) or _by_other_name(name, pairs)
    if found is None:
        missing = " and ".join(
            side for side, columns in (("A", a), ("B", b)) if match(name, (c.name for c in columns)) is None
        )
        other = instead(name, (p.name for p in pairs))
        raise CouldNot(
            Fault.NO_COLUMN, f"The key column {name!r} does not exist in {missing or 'both'}.{other}"
        )
    chosen = next(p for p in pairs if p.name == found)
    if not joinable(chosen.a, chosen.b):
        raise CouldNot(
            Fault.KEY_TYPES, f"The key column {name!r} is {chosen.a.exact} in A and {chosen.b.exact} in B."
        )
    return chosen


def _by_other_name(name: str, pairs: Sequence[Pair]) -> str | None:
    other = match(name, (p.b.name for p in pairs))
    return next((p.name for p in pairs if p.b.name == other), None)


class _Chooser:
    """Include and exclude, case-blind; keys are always wanted, exclude is ignored when include is given
    (Datafold's rule).

    `ignored` are patterns in gitignore's style over column names.
    """

    def __init__(self, include: set[str], exclude: set[str], keys: set[str], ignored: Sequence[str]) -> None:
        self.include, self.exclude, self.keys = include, exclude, {k.casefold() for k in keys}
        self.ignored = _ignores(ignored)

    def __call__(self, name: str, *, strict: bool = True) -> bool:
        """`strict` false looks at exclude alone (for a renamed column's second name)."""
        folded = name.casefold()
        if folded in self.keys:
            return True
        if strict and self.ignored.ignores(folded):
            return False
        if self.include:
            return folded in self.include or not strict
        return folded not in self.exclude


def _chooser(
    spec: Spec, keys: set[str], a: Sequence[Column], b: Sequence[Column]
) -> tuple[_Chooser, list[str]]:
    known = {c.name.casefold() for c in (*a, *b)}
    unknown = [n for n in (*spec.include, *spec.exclude) if n.casefold() not in known]
    warnings = [f"There is no column {name!r} on either side." for name in unknown]
    if spec.include and not {n.casefold() for n in spec.include} & known:
        raise CouldNot(Fault.NO_COLUMN, f"None of the columns to include exists: {', '.join(spec.include)}.")
    include, exclude = ({n.casefold() for n in names} for names in (spec.include, spec.exclude))
    return _Chooser(include, exclude, keys, spec.ignore_columns), warnings


def _ignores(patterns: Sequence[str]) -> Ignores:
    try:
        return Ignores([pattern.casefold() for pattern in patterns])
    except PatternError as error:
        raise CouldNot(Fault.BAD_SPEC, f"The columns to ignore cannot be read: {error}.") from None


def _moved(in_a_order: Sequence[str], b_order: Sequence[str]) -> int:
    """How few columns must move to turn one order into the other: all but the longest increasing run."""
    where = {name: position for position, name in enumerate(b_order)}
    tails: list[int] = []
    for position in (where[name] for name in in_a_order):
        at = bisect_left(tails, position)
        tails[at : at + 1] = [position]
    return len(in_a_order) - len(tails)
