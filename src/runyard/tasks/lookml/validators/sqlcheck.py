"""The SQL validator: every dimension of every explore in one query without rows, bound by the real database.
Entry: `validate`.

Options are those of Looker CI's SQL validator, and `measures`, which Looker does not have. With a target
branch's models only errors that are new against them count, and an explore whose compiled SQL is the same
there is not asked at all (Spectacles' algorithm, looker.md §6).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runyard.tasks.lookml.connections import CannotConnect, Connection
from runyard.tasks.lookml.databases import Database
from runyard.tasks.lookml.language.model import Explore, Field, Model
from runyard.tasks.lookml.language.project import collection_paused
from runyard.tasks.lookml.sql.compiler import Context, FieldCompiler, context_of
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import Wanted, build, probe
from runyard.tasks.lookml.validators.connecting import opened
from runyard.tasks.lookml.validators.selection import Selection
from runyard.tasks.lookml.validators.sessions import spread
from runyard.tasks.lookml.validators.sqltrial import SqlError, Trial

_IGNORED = re.compile(r"(?:ci|spectacles)\s*+:\s*+ignore", re.IGNORECASE)


@dataclass(slots=True)
class TriedExplore:
    """One explore's result. `status`: passed, failed, skipped or errored; `problem` says why it errored."""

    model: str
    explore: str
    status: str = "passed"
    skip_reason: str = ""
    problem: str = ""
    dimensions: int = 0
    measures: int = 0
    queries: int = 0
    errors: list[SqlError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Options:
    """As in a suite. Selectors are `model/explore` with `*` for any."""

    selectors: tuple[str, ...] = ()
    exclusions: tuple[str, ...] = ()
    fail_fast: bool = False
    ignore_hidden: bool = False
    measures: bool = False
    chunk_size: int = 500
    concurrency: int = 10
    timeout_s: float = 60.0
    user_attributes: Mapping[str, str] = field(default_factory=dict)


def selected(explore: Explore, options: Options) -> bool:
    """Whether selectors and exclusions let the explore through."""
    return Selection(options.selectors, options.exclusions).lets(explore.model.name, explore.name)


@collection_paused()
def validate(
    models: Sequence[Model],
    connections: Mapping[str, Connection],
    options: Options,
    say: Callable[[TriedExplore], None] = lambda _tested: None,
    target: Sequence[Model] | None = None,
) -> list[TriedExplore]:
    """Tests every selected explore; `say` hears each result in order. With `target` only what is new against
    it."""
    results: list[TriedExplore] = []
    bases = {m.name: m for m in target or ()}
    same = {m.name for m in models if m.name in bases and _same_files(m, bases[m.name])}

    def one(database: Database, explore: Explore) -> TriedExplore:
        base = bases.get(explore.model.name)
        if explore.model.name in same:
            return TriedExplore(explore.model.name, explore.name, "skipped", "unmodified")
        before = base.explore(explore.name) if base is not None else None
        return (
            try_explore(explore, database, options)
            if before is None
            else try_changed(explore, before, database, options)
        )

    for model in models:
        chosen = [e for e in model.all_explores() if selected(e, options)]
        if not chosen:
            continue
        done = 0
        try:
            with opened(model, connections, options.timeout_s) as database:
                for tested in spread(database, chosen, options.concurrency, one):
                    done += 1
                    results.append(tested)
                    say(tested)
        except CannotConnect as problem:
            for explore in chosen[done:]:
                results.append(TriedExplore(model.name, explore.name, "errored", problem=str(problem)))
                say(results[-1])
    return results


def _same_files(model: Model, before: Model) -> bool:
    """Whether the model sees the same bytes and constants in both trees, so that nothing needs to be compiled
    to know."""
    keys = [[(path, m.project.file_key(path)) for path in m.files] for m in (model, before)]
    return keys[0] == keys[1]


def context(
    explore: Explore,
    dialect: Dialect,
    user_attributes: Mapping[str, str],
    wanted: Sequence[Wanted] = (),
    written: Dialect | None = None,
) -> Context:
    """How the explore is compiled, with the calendar of its model. `written`: the project's SQL is in another
    dialect."""
    chosen = frozenset(f"{a}.{f.name}" for a, f in wanted)
    return replace(context_of(explore, dialect, user_attributes, written=written), selected=chosen)


def dimensions(explore: Explore, options: Options, kind: str = "dimension") -> list[Wanted]:
    """What is tested: visible dimensions (or measures) without an ignore mark."""
    return [
        (alias, f)
        for alias, f in explore.visible()
        if f.kind == kind and not _ignored(f) and not (options.ignore_hidden and f.node.is_yes("hidden"))
    ]


def _ignored(field: Field) -> bool:
    return any(_IGNORED.search(tag) for tag in field.node.words("tags")) or bool(
        _IGNORED.search(field.node.text("sql"))
    )


def try_explore(explore: Explore, database: Database, options: Options) -> TriedExplore:
    """One explore against an open database."""
    wanted = dimensions(explore, options)
    measured = dimensions(explore, options, "measure") if options.measures else []
    tested = TriedExplore(explore.model.name, explore.name, dimensions=len(wanted), measures=len(measured))
    tested.errors += _missing_views(explore)
    if explore.alias not in explore.views:
        tested.status = "failed"
        return tested
    if not wanted and not measured and not tested.errors:
        tested.status, tested.skip_reason = "skipped", "no_dimensions"
        return tested
    compiler = FieldCompiler(
        context(explore, database.dialect, options.user_attributes, wanted, database.written)
    )
    trial = Trial(compiler, database, options.chunk_size, options.fail_fast, tested.errors)
    trial.run(wanted, measured)
    tested.queries = trial.queries
    tested.status = "failed" if tested.errors else "passed"
    return tested


def _missing_views(explore: Explore) -> list[SqlError]:
    """Their dimensions cannot be tested, and nobody who switched only this validator on may take that for
    success."""
    users = [("explore", explore.name, explore.alias, explore.view_name, explore.node)]
    users += [
        ("join", j.alias, j.alias, j.view_name, j.node) for j in explore.joins if j.node.get("sql") is None
    ]
    found = []
    for kind, name, alias, view, node in users:
        if alias not in explore.views:
            place = node.get("from") or node.get("view_name") or node
            message = f'unknown view "{view}" of {kind} "{name}"'
            found.append(SqlError(message, "", "", place.file.path, place.line))
    return found


def try_changed(explore: Explore, before: Explore, database: Database, options: Options) -> TriedExplore:
    """One explore against its state in the target branch: skipped when it compiles to the same SQL, else only
    its new errors."""
    dialect = database.dialect
    if _compiled(explore, dialect, options) == _compiled(before, dialect, options):
        return TriedExplore(explore.model.name, explore.name, "skipped", "unmodified")
    tested = try_explore(explore, database, options)
    if not tested.errors:
        return tested
    of_explore = {e.message for e in tested.errors if not e.dimension}
    if of_explore:
        of_explore &= {e.message for e in try_explore(before, database, options).errors if not e.dimension}
    tested.errors = [
        e
        for e in tested.errors
        if (
            not _same_field(e.dimension, explore, before, dialect, options)
            if e.dimension
            else e.message not in of_explore
        )
    ]
    tested.status = "failed" if tested.errors else "passed"
    return tested


def _compiled(explore: Explore, dialect: Dialect, options: Options) -> list[str]:
    """Everything that a trial would ask: the SQL of all dimensions, and of each measure; for what has no SQL,
    why."""
    wanted = dimensions(explore, options)
    found = [e.message for e in _missing_views(explore)]
    made = context(explore, dialect, options.user_attributes, wanted)
    if explore.alias in explore.views:
        found += _texts(FieldCompiler(made), wanted)
    for measure in dimensions(explore, options, "measure") if options.measures else ():
        found.append(_measure_text(made, measure))
    return found


def _texts(compiler: FieldCompiler, wanted: Sequence[Wanted]) -> list[str]:
    try:
        return [probe(compiler, wanted).sql]
    except Unresolved:
        return [_text(compiler, w) for w in wanted]


def _text(compiler: FieldCompiler, wanted: Wanted) -> str:
    name = f"{wanted[0]}.{wanted[1].name}"
    try:
        return f"{name}: {probe(compiler, [wanted]).sql}"
    except Unresolved as problem:
        return f"{name}! {problem.message}"


def _measure_text(made: Context, wanted: Wanted) -> str:
    name = f"{wanted[0]}.{wanted[1].name}"
    try:
        return f"{name}: {build(made, [wanted], 0, where='1=2').sql}"
    except Unresolved as problem:
        return f"{name}! {problem.message}"


def _same_field(name: str, explore: Explore, before: Explore, dialect: Dialect, options: Options) -> bool:
    """Whether the field compiles to the same SQL (or fails to for the same reason) in the target branch."""
    alias = name.rpartition(".")[0]
    now, then = explore.find(name), before.find(name)
    if now is None or then is None or now.kind != then.kind:
        return False
    texts = []
    for one, found in ((explore, now), (before, then)):
        made = context(one, dialect, options.user_attributes, dimensions(one, options))
        wanted = (alias, found)
        texts.append(
            _measure_text(made, wanted) if found.kind == "measure" else _text(FieldCompiler(made), wanted)
        )
    return texts[0] == texts[1]
