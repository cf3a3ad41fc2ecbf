"""Which joins a query needs, what each is on, and which views they multiply. Called by `query`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runyard.tasks.lookml.language.model import Join
from runyard.tasks.lookml.sql.compiler import FieldCompiler
from runyard.tasks.lookml.sql.expressions import Expression, Unresolved, joined

MANY_RIGHT = frozenset({"one_to_many", "many_to_many"})
MANY_LEFT = frozenset({"many_to_one", "many_to_many"})
RELATIONSHIPS = MANY_RIGHT | MANY_LEFT | {"one_to_one"}


def on(compiler: FieldCompiler, join: Join) -> Expression:
    """The ON condition: `sql_on`, or the named foreign key of the base view against the joined view's primary
    key."""
    explore = compiler.context.explore
    written = join.node.get("sql_on")
    if written is not None:
        return compiler.expand(written, join.alias, join.alias, explore.views.get(join.alias))
    foreign = join.node.get("foreign_key")
    if foreign is None:
        raise Unresolved(
            f'join "{join.alias}" has neither sql_on nor foreign_key', join.node.file.path, join.node.line
        )
    view = explore.views[join.alias]
    key = view.primary_key
    if key is None:
        raise Unresolved(
            f'join "{join.alias}" uses foreign_key, and its view has no primary_key',
            foreign.file.path,
            foreign.line,
        )
    alias, field = compiler.lookup(foreign.value, explore.alias, foreign, explore.views.get(explore.alias))
    return joined(compiler.field(alias, field), " = ", compiler.field(join.alias, key))


def requirements(compiler: FieldCompiler, join: Join) -> frozenset[str]:
    """The aliases that must be joined before this one; worked out once per compiler."""
    known = compiler.requires.get(join.alias)
    if known is None:
        known = compiler.requires[join.alias] = _requirements(compiler, join)
    return known


def _requirements(compiler: FieldCompiler, join: Join) -> frozenset[str]:
    raw = join.node.get("sql")
    view = compiler.context.explore.views.get(join.alias)
    if raw is not None:
        found = compiler.expand(raw, join.alias, join.alias, view, "join").aliases
    elif join.type == "cross" or view is None:
        found = frozenset()
    else:
        found = on(compiler, join).aliases
    where = join.node.get("sql_where")
    if where is not None:
        found |= compiler.expand(where, join.alias, join.alias, view).aliases
    return (found | frozenset(join.node.words("required_joins"))) - {join.alias}


def needed(compiler: FieldCompiler, parts: Iterable[Expression]) -> list[Join]:
    """The joins that these expressions, the explore's conditions and always_join pull in, each after those it
    needs."""
    wanted = set(_always(compiler))
    for part in parts:
        wanted |= part.aliases
    joins = compiler.context.explore.joins
    by_alias = {join.alias: join for join in joins}
    requires: dict[str, frozenset[str]] = {}
    pending = [a for a in wanted if a in by_alias]
    while pending:
        alias = pending.pop()
        if alias not in requires:
            requires[alias] = requirements(compiler, by_alias[alias])
            pending += [a for a in requires[alias] if a in by_alias]
    if not requires:
        return []
    return _ordered([j for j in joins if j.alias in requires], requires)


def _always(compiler: FieldCompiler) -> frozenset[str]:
    """The aliases that every query of the explore needs."""
    known = compiler.requires.get("")
    if known is None:
        explore = compiler.context.explore
        known = frozenset(explore.node.words("always_join"))
        for key in ("sql_always_where", "sql_always_having"):
            node = explore.node.get(key)
            if node is not None:
                known |= compiler.condition(node).aliases
        compiler.requires[""] = known
    return known


def _ordered(joins: Sequence[Join], requires: dict[str, frozenset[str]]) -> list[Join]:
    """Declaration order, except that a join waits for those it needs."""
    placed: list[Join] = []
    left = list(joins)
    names = {j.alias for j in joins}
    done: set[str] = set()
    while left:
        ready = next((j for j in left if not (requires[j.alias] & names) - done), None)
        if ready is None:
            circle = ", ".join(j.alias for j in left)
            raise Unresolved(f"joins need each other: {circle}", left[0].node.file.path, left[0].node.line)
        left.remove(ready)
        placed.append(ready)
        done.add(ready.alias)
    return placed


def fanned(compiler: FieldCompiler, joins: Sequence[Join]) -> frozenset[str]:
    """The aliases whose rows these joins repeat: those from which some walk over the joins crosses to a
    "many" side."""
    explore = compiler.context.explore
    if explore.node.text("symmetric_aggregates") == "no":
        return frozenset()
    edges: dict[str, list[tuple[str, bool]]] = {}
    for join in joins:
        for left in requirements(compiler, join) or {explore.alias}:
            edges.setdefault(left, []).append((join.alias, join.relationship in MANY_RIGHT))
            edges.setdefault(join.alias, []).append((left, join.relationship in MANY_LEFT))
    return frozenset(a for a in edges if _crosses(a, edges))


def _crosses(start: str, edges: dict[str, list[tuple[str, bool]]]) -> bool:
    seen, pending = {start}, [start]
    while pending:
        for there, many in edges.get(pending.pop(), ()):
            if there not in seen:
                if many:
                    return True
                seen.add(there)
                pending.append(there)
    return False
