"""Compiles fields of one explore to SQL: `${}` references, Liquid, constants already in. Used by `query`;
pure text, no database.

What a type makes of its `sql` is in `dimensions` and `measures`. References are resolved recursively, kept,
and refused when circular.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from runyard.tasks.lookml.language import templating
from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.language.model import Explore, Field, View
from runyard.tasks.lookml.language.references import field_name
from runyard.tasks.lookml.language.timeframes import DAYS
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql import transpile
from runyard.tasks.lookml.sql.dialects import Dialect, type_name
from runyard.tasks.lookml.sql.dimensions import dimension
from runyard.tasks.lookml.sql.expressions import Expression, Piece, Unresolved, identifier, joined, plain
from runyard.tasks.lookml.sql.filter_text import BadFilter
from runyard.tasks.lookml.sql.filters import Setting
from runyard.tasks.lookml.sql.liquid import LiquidFacts
from runyard.tasks.lookml.sql.measures import measure
from runyard.tasks.lookml.sql.timeframes import Calendar

MAX_REFERENCE_DEPTH = 60
_CASTS = {
    "date": "DATE",
    "datetime": "TIMESTAMP",
    "timestamp": "TIMESTAMP",
    "number": "DOUBLE PRECISION",
    "string": "VARCHAR",
}


@dataclass(eq=False)
class Context:
    """What one query is compiled for: an explore and the run's settings.

    `dialect` is the database's; `written` the dialect that the project's own SQL is in when it is another (""
    is the same): its fragments are then transpiled. `filters` are expressions by `alias.field`; `now` is the
    moment that relative dates count from, in the zone of the query.
    """

    dialect: Dialect
    explore: Explore
    calendar: Calendar = field(default_factory=Calendar)
    user_attributes: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    selected: Collection[str] = ()
    fanned: frozenset[str] = frozenset()  # aliases whose rows this query's joins repeat
    depth: int = 0  # of explore_source inside explore_source
    filters: Mapping[str, str] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    timezone: str = ""
    database_timezone: str = "UTC"
    written: Dialect | None = None
    shifts: Mapping[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """(alias, dimension_group) → how many units its moments are moved on"""
    until_now: Collection[tuple[str, Field]] = ()  # (alias, field) of times that may not lie after `now`

    @property
    def source(self) -> Dialect:
        """The dialect that the project's own SQL is written in, and what templates put into it too."""
        return self.written or self.dialect

    @cached_property
    def setting(self) -> Setting:
        """What filter expressions are read with."""
        sensitive = self.explore.node.text("case_sensitive") or self.explore.model.parameter("case_sensitive")
        return Setting(self.now, self.calendar, sensitive == "no", self.user_attributes)


def context_of(
    explore: Explore,
    dialect: Dialect,
    user_attributes: Mapping[str, str] | None = None,
    *,
    timezone: str = "",
    written: Dialect | None = None,
) -> Context:
    """How an explore is compiled, with the calendar of its model. `timezone` is the query's; "" leaves times
    as they are stored."""
    start = explore.model.parameter("week_start_day").lower()
    offset = explore.model.parameter("fiscal_month_offset")
    bare = offset.removeprefix("-")
    calendar = Calendar(
        DAYS.index(start) if start in DAYS else 0, int(offset) if bare.isdigit() and len(bare) < 3 else 0
    )
    return Context(
        dialect,
        explore,
        calendar,
        user_attributes or {},
        timezone=timezone,
        written=written if written != dialect else None,
    )


@dataclass(eq=False)
class FieldCompiler:
    """Compiles fields of one explore; keeps what it has compiled."""

    context: Context
    requires: dict[str, frozenset[str]] = field(default_factory=dict)  # what each join needs, kept by `joins`
    _done: dict[tuple[str, str], Expression] = field(default_factory=dict)
    _open: list[tuple[str, str]] = field(default_factory=list)
    _kinds: list[str] = field(default_factory=list)

    def name(self, text: str) -> str:
        """An identifier as the database writes it."""
        return identifier(text, self.context.dialect)

    def selected(self, alias: str, wanted: Field) -> Expression:
        """The field as it stands in a SELECT list."""
        found = self.field(alias, wanted)
        if (wanted.type == "yesno" and not wanted.part) or wanted.part == "yesno":
            return found.wrapped("CASE WHEN ", " THEN 'Yes' ELSE 'No' END")
        return found

    def field(self, alias: str, wanted: Field) -> Expression:
        """The field as other SQL sees it; cached, cycles are refused."""
        key = (alias, wanted.name)
        done = self._done.get(key)
        if done is not None:
            return done
        if key in self._open:
            chain = " → ".join(f"{a}.{n}" for a, n in [*self._open[self._open.index(key) :], key])
            raise _refuse(wanted, f"circular reference: {chain}")
        if len(self._open) > MAX_REFERENCE_DEPTH:
            raise _refuse(wanted, "the chain of references is too long")
        self._open.append(key)
        self._kinds.append(wanted.kind)
        try:
            found = self._typed(alias, wanted)
        finally:
            self._open.pop()
            self._kinds.pop()
        if alias not in found.aliases:
            found = found._replace(aliases=found.aliases | {alias})
        self._done[key] = found
        return found

    def _typed(self, alias: str, wanted: Field) -> Expression:
        """By type: what Looker makes of `sql`."""
        if wanted.kind == "parameter" or (wanted.kind == "filter" and not wanted.node.get("sql")):
            raise _refuse(wanted, f'"{wanted.id}" is a {wanted.kind} and has no SQL value')
        if wanted.kind == "measure":
            return measure(self, alias, wanted)
        return dimension(self, alias, wanted)

    def sql(self, alias: str, wanted: Field) -> Expression:
        """The `sql` of a field; a column of the field's name when it has none."""
        node = wanted.node.get("sql")
        if node is None:
            text = f"{self.name(alias)}.{self.name(wanted.group or wanted.name)}"
            piece = Piece(text, wanted.node.file.path, wanted.node.line, wanted.id)
            return Expression((piece,), frozenset({alias}))
        return self.expand(node, alias, wanted.id, wanted.view).grouped()

    def raw(self, alias: str, wanted: Field, key: str) -> Expression:
        """A parameter of the field as SQL; Unresolved when it is missing."""
        node = wanted.node.get(key)
        if node is None:
            raise _refuse(wanted, f'"{wanted.id}" of type {wanted.type} has no {key}')
        return self.expand(node, alias, wanted.id, wanted.view)

    def condition(self, node: Node) -> Expression:
        """A condition of the explore itself (sql_always_where, sql_always_having)."""
        explore = self.context.explore
        self._kinds.append("measure" if node.key == "sql_always_having" else "dimension")
        try:
            return self.expand(node, explore.alias, explore.name, explore.views.get(explore.alias))
        finally:
            self._kinds.pop()

    def expand(
        self, node: Node, alias: str, field_id: str, view: View | None, form: transpile.Form = "expression"
    ) -> Expression:
        """The SQL of a raw parameter: Liquid rendered, `${}` replaced, and said in the database's dialect."""
        text, line = node.value, node.file.place(node.value_at)[0]
        if templating.is_template(text):
            text = self._rendered(node, alias, field_id, view)
        # A comment at the end must not swallow what we write after it.
        text += "\n" if "--" in text.rpartition("\n")[2] else ""
        if self.context.written:
            return self._translated(text, node, line, alias, field_id, view, form)
        parts: list[Expression | str] = []
        at = 0
        while (start := text.find("${", at)) >= 0:
            end = text.find("}", start)
            if end < 0:
                break
            start = text.rfind("${", start, end)  # of `${a ${b}` the inner one is closed
            if start > at:
                parts.append(Expression((Piece(text[at:start], node.file.path, line, field_id),)))
                line += text.count("\n", at, start)
            name = text[start + 2 : end].strip()
            parts.append(self._reference(name, node, start, line, alias, field_id, view))
            at = end + 1
        if at < len(text):
            parts.append(Expression((Piece(text[at:], node.file.path, line, field_id),)))
        return joined(*parts)

    def _translated(
        self,
        text: str,
        node: Node,
        line: int,
        alias: str,
        field_id: str,
        view: View | None,
        form: transpile.Form,
    ) -> Expression:
        """The same in the database's dialect: references stand as names while the fragment is transpiled."""
        written = self.context.written or self.context.dialect
        try:
            pieces = transpile.fragment(text, written, self.context.dialect, form)
        except transpile.Untranslatable as problem:
            raise Unresolved(str(problem), node.file.path, line + problem.line - 1) from None
        parts: list[Expression | str] = []
        for is_reference, piece in pieces:
            if is_reference:
                parts.append(self._reference(piece, node, 0, line, alias, field_id, view))
            else:
                parts.append(Expression((Piece(piece, node.file.path, line, field_id),)))
        return joined(*parts)

    def _reference(
        self, name: str, node: Node, start: int, line: int, alias: str, field_id: str, view: View | None
    ) -> Expression:
        if name == "TABLE":
            return Expression((Piece(self.name(alias), node.file.path, line, field_id),), frozenset({alias}))
        if name == "EXTENDED":
            return plain("")
        if name.endswith(".SQL_TABLE_NAME"):
            return self.table_name(name.removesuffix(".SQL_TABLE_NAME"), node, line, alias)
        name, _, cast = name.partition("::")
        name = field_name(name)
        there_alias, there = self.lookup(name, alias, node, view, line, start)
        if there.kind == "measure" and self._kinds and self._kinds[-1] != "measure":
            raise Unresolved(
                f'the dimension "{field_id}" refers to the measure "{name}"', node.file.path, line
            )
        found = self.field(there_alias, there).grouped()
        if any(not p.file for p in found.pieces):
            pieces = (p if p.file else Piece(p.text, node.file.path, line, field_id) for p in found.pieces)
            found = found._replace(pieces=tuple(pieces))
        if cast in _CASTS:
            return found.wrapped("CAST(", f" AS {type_name(_CASTS[cast], self.context.dialect)})")
        return found

    def lookup(
        self, name: str, alias: str, node: Node, view: View | None, line: int = 0, start: int = 0
    ) -> tuple[str, Field]:
        """(alias, field) that a reference means; Unresolved in Looker's words otherwise."""
        explore = self.context.explore
        owner, _, short = name.strip().rpartition(".")
        # A view's own name means the alias it is being used under, as in `from:` joins.
        if view is not None and owner == view.name and owner not in explore.views:
            owner = alias
        owner = owner or alias
        target = explore.views.get(owner)
        found = target.fields.get(short) if target else None
        if found is not None:
            return owner, found
        guess = nearest(short, target.fields) if target is not None else nearest(owner, explore.views)
        place = node.file.place(min(node.value_at + start, len(node.file.text)))
        message = f'Unknown or inaccessible field "{owner}.{short}". Check for typos and missing joins.'
        raise Unresolved(
            message, node.file.path, line or place[0], place[1] if not line or place[0] == line else 0, guess
        )

    def table_name(self, view_name: str, node: Node, line: int, alias: str) -> Expression:
        """`${view.SQL_TABLE_NAME}`: the table, or the name under which the derived table stands in WITH."""
        explore = self.context.explore
        view = explore.views.get(view_name) or explore.model.view(view_name)
        if view is None:
            guess = nearest(view_name, explore.model.views.roots)
            raise Unresolved(f'unknown view "{view_name}"', node.file.path, line, suggestion=guess)
        return self.table(view, alias)

    def table(self, view: View, alias: str) -> Expression:
        """What stands for the view in FROM."""
        if view.derived is not None:
            piece = Piece(self.name(view.name), view.node.file.path, view.derived.line, view.name)
            return Expression((piece,), tables=frozenset({view.name}))
        named = view.node.get("sql_table_name")
        if named is None:
            return Expression((Piece(self.name(view.name), view.node.file.path, view.node.line, view.name),))
        return self.expand(named, alias, view.name, view, "table")

    def _rendered(self, node: Node, alias: str, field_id: str, view: View | None) -> str:
        line = node.file.place(node.value_at)[0]
        try:
            return templating.render(node.value, LiquidFacts(self.context, alias, field_id, view))
        except templating.LiquidProblem as problem:
            raise Unresolved(f"Liquid: {problem}", node.file.path, line + problem.line - 1) from None
        except BadFilter as problem:
            raise Unresolved(f"Liquid: {problem}", node.file.path, line) from None


def _refuse(wanted: Field, message: str) -> Unresolved:
    return Unresolved(message, wanted.node.file.path, wanted.node.line)
