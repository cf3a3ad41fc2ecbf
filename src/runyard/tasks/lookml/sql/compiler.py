"""Compiles fields of one explore to SQL: `${}` references, Liquid, constants already in. Used by `query`; pure text, no database.

What a type makes of its `sql` is in `dimensions` and `measures`. References are resolved recursively, kept, and refused when circular.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from runyard.tasks.lookml.language import templating
from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.language.model import Explore, Field, View
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql.dimensions import dimension
from runyard.tasks.lookml.sql.expressions import Expression, Piece, Unresolved, joined, literal, plain, quoted
from runyard.tasks.lookml.sql.measures import measure
from runyard.tasks.lookml.sql.timeframes import Calendar, Dialect

MAX_REFERENCE_DEPTH = 60


@dataclass(eq=False)
class Context:
    """What one query is compiled for: an explore (or, inside a derived table, none) and the run's settings."""

    dialect: Dialect
    explore: Explore
    calendar: Calendar = field(default_factory=Calendar)
    user_attributes: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    selected: Collection[str] = ()
    fanned: frozenset[str] = frozenset()  # aliases whose rows this query's joins repeat
    depth: int = 0  # of explore_source inside explore_source


@dataclass(eq=False)
class FieldCompiler:
    """Compiles fields of one explore; keeps what it has compiled."""

    context: Context
    _done: dict[tuple[str, str], Expression] = field(default_factory=dict)
    _open: list[tuple[str, str]] = field(default_factory=list)

    def selected(self, alias: str, wanted: Field) -> Expression:
        """The field as it stands in a SELECT list."""
        found = self.field(alias, wanted)
        if wanted.type == "yesno" and not wanted.part:
            return found.wrapped("CASE WHEN ", " THEN 'Yes' ELSE 'No' END")
        return found

    def field(self, alias: str, wanted: Field) -> Expression:
        """The field as other SQL sees it; cached, cycles are refused."""
        key = (alias, wanted.name)
        if key in self._done:
            return self._done[key]
        line = wanted.node.line
        if key in self._open:
            chain = " → ".join(f"{a}.{n}" for a, n in [*self._open[self._open.index(key) :], key])
            raise Unresolved(f"circular reference: {chain}", wanted.node.file.path, line)
        if len(self._open) > MAX_REFERENCE_DEPTH:
            raise Unresolved("the chain of references is too long", wanted.node.file.path, line)
        self._open.append(key)
        try:
            found = self._typed(alias, wanted)
        finally:
            self._open.pop()
        found = replace(found, aliases=found.aliases | {alias})
        self._done[key] = found
        return found

    def _typed(self, alias: str, wanted: Field) -> Expression:
        """By type: what Looker makes of `sql`."""
        if wanted.kind == "parameter" or (wanted.kind == "filter" and not wanted.node.get("sql")):
            raise Unresolved(
                f'"{wanted.id}" is a {wanted.kind} and has no SQL value',
                wanted.node.file.path,
                wanted.node.line,
            )
        if wanted.kind == "measure":
            return measure(self, alias, wanted)
        return dimension(self, alias, wanted)

    def sql(self, alias: str, wanted: Field) -> Expression:
        """The `sql` of a field; a column of the field's name when it has none."""
        if not wanted.node.get("sql"):
            piece = Piece(f"{quoted(alias)}.{quoted(wanted.group or wanted.name)}", *self._origin(wanted))
            return Expression((piece,), frozenset({alias}))
        return self.raw(alias, wanted, "sql").grouped()

    def _origin(self, wanted: Field) -> tuple[str, int, str]:
        return wanted.node.file.path, wanted.node.line, wanted.id

    def raw(self, alias: str, wanted: Field, key: str) -> Expression:
        """A parameter of the field as SQL; Unresolved when it is missing."""
        node = wanted.node.get(key)
        if node is None:
            raise Unresolved(
                f'"{wanted.id}" of type {wanted.type} has no {key}', wanted.node.file.path, wanted.node.line
            )
        return self.expand(node, alias, wanted.id, wanted.view)

    def expand(self, node: Node, alias: str, field_id: str, view: View | None) -> Expression:
        """The SQL of a raw parameter: Liquid rendered, then `${}` replaced."""
        text, line = node.value, node.file.place(node.value_at)[0]
        if templating.is_template(text):
            text = self._rendered(node, alias, field_id, view)
        parts: list[Expression | str] = []
        at = 0
        while (start := text.find("${", at)) >= 0:
            end = text.find("}", start)
            if end < 0:
                break
            if start > at:
                parts.append(Expression((Piece(text[at:start], node.file.path, line, field_id),)))
            line += text.count("\n", at, start)
            parts.append(
                self._reference(text[start + 2 : end].strip(), node, start, line, alias, field_id, view)
            )
            at = end + 1
        if at < len(text):
            parts.append(Expression((Piece(text[at:], node.file.path, line, field_id),)))
        return joined(*parts)

    def _reference(
        self, name: str, node: Node, start: int, line: int, alias: str, field_id: str, view: View | None
    ) -> Expression:
        if name == "TABLE":
            return Expression((Piece(quoted(alias), node.file.path, line, field_id),), frozenset({alias}))
        if name == "EXTENDED":
            return plain("")
        if name.endswith(".SQL_TABLE_NAME"):
            return self.table_name(name.removesuffix(".SQL_TABLE_NAME"), node, line, alias)
        name, _, cast = name.partition("::")
        there_alias, there = self.lookup(name, alias, node, view, line, start)
        if there.kind == "measure" and len(self._open) > 0 and not self._in_measure():
            raise Unresolved(
                f'the dimension "{field_id}" refers to the measure "{name}"', node.file.path, line
            )
        found = self.field(there_alias, there).grouped()
        found = replace(
            found,
            pieces=tuple(
                p if p.file else replace(p, file=node.file.path, line=line, field=field_id)
                for p in found.pieces
            ),
        )
        if cast in ("date", "datetime", "timestamp"):
            return found.wrapped("CAST(", f" AS {'DATE' if cast == 'date' else 'TIMESTAMP'})")
        return found

    def _in_measure(self) -> bool:
        alias, name = self._open[-1]
        view = self.context.explore.views.get(alias)
        return bool(view and name in view.fields and view.fields[name].kind == "measure")

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
            piece = Piece(quoted(view.name), view.node.file.path, view.derived.line, view.name)
            return Expression((piece,), tables=frozenset({view.name}))
        named = view.node.get("sql_table_name")
        if named is None:
            return Expression((Piece(quoted(view.name), view.node.file.path, view.node.line, view.name),))
        return self.expand(named, alias, view.name, view)

    def _rendered(self, node: Node, alias: str, field_id: str, view: View | None) -> str:
        line = node.file.place(node.value_at)[0]
        try:
            return templating.render(node.value, self._facts(alias, field_id, view))
        except templating.LiquidProblem as problem:
            raise Unresolved(f"Liquid: {problem}", node.file.path, line + problem.line - 1) from None

    def _facts(self, alias: str, field_id: str, view: View | None) -> templating.Facts:
        explore = self.context.explore
        facts: list[templating.Facts] = []
        names: dict[str, object] = {}
        if view is not None:
            names |= {n: templating.FieldFacts(f"{alias}.{n}", lambda: facts[0]) for n in view.fields}
        names |= {a: _ViewFacts(a, v, lambda: facts[0]) for a, v in explore.views.items()}
        names |= {
            "_view": {"_name": alias},
            "_model": {"_name": explore.model.name},
            "_explore": {"_name": explore.name},
            "_field": {"_name": field_id},
            "_dialect": {"_name": "postgres" if self.context.dialect == "postgres" else "duckdb"},
            "_filters": {},
            "_query": {"_query_timezone": "UTC"},
        }
        made = templating.Facts(
            names,
            lambda n: self.parameter(n, alias, view),
            self.context.selected,
            self.context.user_attributes,
        )
        facts.append(made)
        return made

    def parameter(self, name: str, alias: str, own: View | None) -> str:
        """A parameter's value as SQL: the given one, its default, or NULL."""
        owner, _, short = name.rpartition(".")
        view = self.context.explore.views.get(owner or alias) or (
            own if own and owner in ("", own.name) else None
        )
        found = view.fields.get(short) if view else None
        if found is None:
            return "NULL"
        given = self.context.parameters.get(f"{owner or alias}.{short}")
        value = found.node.text("default_value") if given is None else given
        if not value:
            return "NULL"
        if found.type in ("unquoted", "number", "yesno"):
            # Only what Looker lets through unquoted: no quotes, spaces or signs that could leave the expression.
            return value if re.fullmatch(r"[\w.\-]+", value) else "NULL"
        return literal(value)


class _ViewFacts(Mapping[str, object]):
    """`view.…` in a template, made on demand: a view may have thousands of fields."""

    def __init__(self, alias: str, view: View, facts: Callable[[], templating.Facts]) -> None:
        self.alias = alias
        self.view = view
        self.facts = facts

    def __getitem__(self, key: str) -> object:
        if key == "_name":
            return self.alias
        if key in self.view.fields:
            return templating.FieldFacts(f"{self.alias}.{key}", self.facts)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.view.fields)

    def __len__(self) -> int:
        return len(self.view.fields)
