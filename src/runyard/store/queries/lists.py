"""Windows on long lists: filters that an index answers, ordered by id, flat to millions of rows. Called by
the other queries."""
# ruff: noqa: S608 - only names of columns and marks are pasted into SQL; every value is bound

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runyard.engine.ports import Page
from runyard.model.state import Outcome, State
from runyard.store.link import Columns, Link

Wanted = Sequence[tuple[State, Outcome | None]]


@dataclass(slots=True)
class Conditions:
    """AND-ed conditions with their values, in order."""

    terms: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, term: str, *values: Any) -> None:
        self.terms.append(term)
        self.values.extend(values)

    def equal(self, column: str, value: Any) -> None:
        if value is not None:
            self.add(f"{column} = ?", value)

    @property
    def where(self) -> str:
        return " WHERE " + " AND ".join(self.terms) if self.terms else ""


def exact_pairs(wanted: Wanted) -> list[tuple[str, str | None]]:
    """(state, outcome) with every "any outcome" spelled out, so that each pair is one range of an index."""
    pairs: dict[tuple[str, str | None], None] = {}
    for state, outcome in wanted:
        if state is State.DONE and outcome is None:
            pairs.update({(state.value, o.value): None for o in Outcome})
        else:
            pairs[state.value, outcome.value if outcome else None] = None
    return list(pairs)


def any_pair(conditions: Conditions, wanted: Wanted) -> None:
    """The wanted states as a filter that no index is tried for: right where another condition is already
    narrow."""
    if wanted:
        pairs = [f"{state}:{outcome or ''}" for state, outcome in exact_pairs(wanted)]
        marks = ", ".join("?" * len(pairs))
        conditions.add(f"(state || ':' || coalesce(outcome, '')) IN ({marks})", *pairs)


def one_pair(conditions: Conditions, state: str, outcome: str | None) -> Conditions:
    """A copy of the conditions that also asks for this state."""
    copy = Conditions(list(conditions.terms), list(conditions.values))
    copy.add("state = ?", state)
    if state != State.DONE.value:
        copy.add("state <> 'done'")  # said literally, it lets a partial index of open work serve
    if outcome is None:
        copy.add("outcome IS NULL")
    else:
        copy.add("outcome = ?", outcome)
    return copy


def window(link: Link, select: str, conditions: Conditions, page: Page) -> list[Columns]:
    """One page of `select`, ordered by id."""
    direction = _bounded(conditions, page)
    sql = f"{select}{conditions.where} ORDER BY id {direction} LIMIT ? OFFSET ?"
    return link.rows(sql, (*conditions.values, page.limit, page.offset))


def window_of_states(
    link: Link, select: str, conditions: Conditions, wanted: Wanted, page: Page
) -> list[Columns]:
    """As `window`, for any of the wanted states: each is read in index order and the heads are merged, so
    that a rare state is as cheap as a common one."""
    pairs = exact_pairs(wanted)
    if not pairs:
        return window(link, select, conditions, page)
    if len(pairs) == 1:
        return window(link, select, one_pair(conditions, *pairs[0]), page)
    direction = _bounded(conditions, page)
    parts, values = [], []
    for pair in pairs:
        one = one_pair(conditions, *pair)
        parts.append(f"SELECT * FROM ({select}{one.where} ORDER BY id {direction} LIMIT ?) AS part")
        values += [*one.values, page.limit + page.offset]
    sql = f"{' UNION ALL '.join(parts)} ORDER BY id {direction} LIMIT ? OFFSET ?"
    return link.rows(sql, (*values, page.limit, page.offset))


def count_of_states(link: Link, table: str, conditions: Conditions, wanted: Wanted, most: int) -> int:
    """How many rows, but never counting beyond `most`."""
    pairs = exact_pairs(wanted)
    total = 0
    for one in [one_pair(conditions, *pair) for pair in pairs] or [conditions]:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {table}{one.where} LIMIT ?) AS found"
        total += int(link.rows(sql, (*one.values, most - total))[0][0])
        if total >= most:
            break
    return total


def _bounded(conditions: Conditions, page: Page) -> str:
    if page.after_id is not None:
        conditions.add("id < ?" if page.descending else "id > ?", page.after_id)
    return "DESC" if page.descending else "ASC"
