"""Checks that need an explore: views and joins exist, references across views resolve, keys where joins
multiply. Called by `checks`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.model import Explore, Field, Join, Model, View
from runyard.tasks.lookml.language.references import Reference, in_block, references
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.language.words import JOIN_TYPES
from runyard.tasks.lookml.sql.joins import MANY_LEFT, MANY_RIGHT, RELATIONSHIPS
from runyard.tasks.lookml.sql.measures import KEYED

MAX_EXPLORES = 20


def add_context(before: Finding, after: Finding) -> Finding:
    """The same finding seen from one more explore."""
    explores = tuple(dict.fromkeys([*before.explores, *after.explores]))[:MAX_EXPLORES]
    return replace(
        before, explores=explores, model=before.model or after.model, explore=before.explore or after.explore
    )


class ExploreChecks:
    """Checks of one model's explores."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def _find(
        self,
        explore: Explore,
        node: Node,
        code: str,
        message: str,
        severity: Severity = Severity.ERROR,
        *,
        field: str = "",
        suggestion: str = "",
        at: int | None = None,
    ) -> Finding:
        line, column = node.file.place(node.at if at is None else at)
        return Finding(
            code,
            message,
            severity,
            node.file.path,
            line,
            column,
            self.model.name,
            explore.name,
            field,
            suggestion,
            (explore.id,),
        )

    def explore(self, explore: Explore) -> Iterator[Finding]:
        """Everything about one explore."""
        if explore.alias not in explore.views:
            yield self._view_missing(explore, explore.node, explore.view_name, f'explore "{explore.name}"')
            return
        for join in explore.joins:
            yield from self._join(explore, join)
        yield from self._duplicate_aliases(explore)
        always = explore.node.get("sql_always_where")
        if always is not None:
            for reference in references(always):
                yield from self._reference(
                    explore, reference, explore.alias, f'sql_always_where of explore "{explore.name}"'
                )
        yield from self._fields_lists(explore)
        if any(view.outgoing for view in explore.views.values()):
            for alias, field in _needed(explore):
                if field.name in field.view.outgoing:
                    yield from self._field(explore, alias, field)
        yield from self._keys(explore)

    def _view_missing(self, explore: Explore, node: Node, name: str, user: str) -> Finding:
        named = node.get("from") or node.get("view_name")
        guess = nearest(name, self.model.views.roots)
        message = f'unknown view "{name}" in {user}'
        return self._find(explore, named or node, "unknown_view", message, suggestion=guess)

    def _join(self, explore: Explore, join: Join) -> Iterator[Finding]:
        node = join.node
        raw = node.get("sql")
        if join.alias not in explore.views and raw is None:
            yield self._view_missing(
                explore, node, join.view_name, f'join "{join.alias}" of explore "{explore.name}"'
            )
        if join.type not in JOIN_TYPES:
            guess = nearest(join.type, JOIN_TYPES)
            yield self._find(
                explore,
                node.get("type") or node,
                "unknown_type",
                f'unknown join type "{join.type}"',
                suggestion=guess,
            )
        if join.relationship not in RELATIONSHIPS:
            guess = nearest(join.relationship, RELATIONSHIPS)
            message = f'unknown relationship "{join.relationship}"'
            yield self._find(
                explore, node.get("relationship") or node, "unknown_relationship", message, suggestion=guess
            )
        if raw is None and join.type != "cross" and not (node.get("sql_on") or node.get("foreign_key")):
            message = f'join "{join.alias}" of explore "{explore.name}" has neither sql_on nor foreign_key'
            yield self._find(explore, node, "missing", message)
        for reference in in_block(node):
            yield from self._reference(
                explore, reference, join.alias, f'join "{join.alias}" of explore "{explore.name}"'
            )
        if node.get("sql_on") and raw is None and not _names_itself(join):
            message = f'sql_on of join "{join.alias}" does not mention "{join.alias}"'
            yield self._find(explore, node.get("sql_on") or node, "sql_on", message, Severity.INFO)
        known = {explore.alias, *(j.alias for j in explore.joins)}
        for word in node.words("required_joins"):
            if word not in known:
                yield self._find(
                    explore,
                    node,
                    "unknown_join",
                    f'unknown join "{word}" in required_joins',
                    suggestion=nearest(word, known),
                )

    def _duplicate_aliases(self, explore: Explore) -> Iterator[Finding]:
        for join in explore.joins:
            if join.alias == explore.alias:
                message = f'join "{join.alias}" has the name of the explore\'s own view'
                yield self._find(explore, join.node, "duplicate", message)

    def _reference(
        self, explore: Explore, reference: Reference, alias: str, user: str, view: View | None = None
    ) -> Iterator[Finding]:
        """One `${}` in the context of an explore."""
        if reference.name in ("TABLE", "EXTENDED"):
            return
        owner, _, short = reference.name.rpartition(".")
        if short == "SQL_TABLE_NAME":
            if owner not in explore.views and owner not in self.model.views.roots:
                guess = nearest(owner, self.model.views.roots)
                yield self._find(
                    explore,
                    reference.node,
                    "unknown_view",
                    f'unknown view "{owner}" in {user}',
                    suggestion=guess,
                    at=reference.at,
                )
            return
        owner = alias if not owner or (view and owner == view.name and owner not in explore.views) else owner
        target = explore.views.get(owner)
        if (target is not None and short in target.fields) or explore.is_open(owner):
            return
        guess = nearest(short, target.fields) if target else nearest(owner, explore.views)
        suggestion = f"{owner}.{guess}" if target and guess else f"{guess}.{short}" if guess else ""
        wanted = f"{owner}.{short}"
        message = f'Unknown or inaccessible field "{wanted}" referenced in {user}. Check for typos and missing joins.'
        yield self._find(
            explore, reference.node, "unknown_field", message, suggestion=suggestion, at=reference.at
        )

    def _field(self, explore: Explore, alias: str, field: Field) -> Iterator[Finding]:
        """What a field needs of other views; references inside its own view are checked once per view."""
        references, filters = field.view.outgoing[field.name]
        for reference in references:
            owner = reference.name.rpartition(".")[0]
            if reference.name.endswith(".SQL_TABLE_NAME"):
                continue
            if (
                owner not in explore.views
                and owner not in self.model.views.roots
                and owner not in self.model.aliases
            ):
                continue  # reported once per view
            name = f"{field.view.name}.{field.group or field.name}"
            yield from self._reference(explore, reference, alias, f'"{name}"', field.view)
        for name, _, node in filters:
            owner, _, short = name.rpartition(".")
            owner = alias if owner in ("", field.view.name) else owner
            target = explore.views.get(owner)
            if (target is None or short not in target.fields) and not explore.is_open(owner):
                guess = nearest(short, target.fields) if target else nearest(owner, explore.views)
                message = f'Unknown or inaccessible field "{owner}.{short}" referenced in filters of "{field.id}". Check for typos and missing joins.'
                yield self._find(explore, node, "unknown_field", message, field=field.id, suggestion=guess)

    def _fields_lists(self, explore: Explore) -> Iterator[Finding]:
        """Names in `fields` of the explore and its joins."""
        lists = [(explore.alias, explore.node.get("fields"), f'explore "{explore.name}"')]
        lists += [
            (j.alias, j.node.get("fields"), f'join "{j.alias}" of explore "{explore.name}"')
            for j in explore.joins
        ]
        for alias, node, user in lists:
            for item in node.children if node is not None else ():
                word = item.value.removeprefix("-")
                owner, _, short = word.rpartition(".")
                view = explore.views.get(owner or alias)
                if explore.is_open(owner or alias):
                    continue
                known = (view.sets() if short.endswith("*") else view.fields) if view else {}
                whole_view = word.endswith("*") and word.removesuffix("*") in explore.views
                if (
                    short == "ALL_FIELDS*"
                    or whole_view
                    or (view and (short.removesuffix("*") in known or short in view.groups))
                ):
                    continue
                kind = "set" if short.endswith("*") else "field"
                guess = nearest(short.removesuffix("*"), known) if view else nearest(owner, explore.views)
                yield self._find(
                    explore,
                    item,
                    f"unknown_{kind}",
                    f'unknown {kind} "{word}" in fields of {user}',
                    suggestion=guess,
                )

    def _keys(self, explore: Explore) -> Iterator[Finding]:
        """Aggregates of a view whose rows some declared join repeats need the view's primary key."""
        if explore.node.text("symmetric_aggregates") == "no":
            return
        repeated: set[str] = set()
        for join in explore.joins:
            if join.node.get("relationship"):
                repeated |= {explore.alias} if join.relationship in MANY_RIGHT else set()
                repeated |= {join.alias} if join.relationship in MANY_LEFT else set()
        for alias in sorted(repeated):
            view = explore.views.get(alias)
            if view is None or view.primary_key is not None:
                continue
            if any(a == alias and f.kind == "measure" and f.type in KEYED for a, f in explore.visible()):
                message = f'view "{view.name}" has measures and no primary_key, and joins repeat its rows'
                yield self._find(explore, view.node, "no_primary_key", message, Severity.WARNING)


def _needed(explore: Explore) -> list[tuple[str, Field]]:
    """The explore's fields, and those left out of it that they are made of."""
    found = explore.visible()
    if len(found) == sum(len(view.fields) for view in explore.views.values()):
        return found
    seen = {(alias, field.name) for alias, field in found}
    for alias, field in found:  # grows meanwhile
        for reference in field.view.references.get(field.node, ()):
            owner, _, short = reference.name.rpartition(".")
            there = alias if owner in ("", field.view.name) and owner not in explore.views else owner
            view = explore.views.get(there)
            if view is not None and short in view.fields and (there, short) not in seen:
                seen.add((there, short))
                found.append((there, view.fields[short]))
    return found


def _names_itself(join: Join) -> bool:
    """Whether sql_on names the joined view, by reference or by alias."""
    text = join.node.text("sql_on")
    return "${TABLE}" in text or any(spelling in text for spelling in (f"{join.alias}.", f"{{{join.alias}."))
