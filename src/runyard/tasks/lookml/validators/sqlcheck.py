"""The SQL validator: every dimension of every explore in one query without rows, bound by the real database. Entry: `validate`.

When the database refuses, joins are tried one by one and the dimensions are halved until each failing one stands alone: k failing of n
cost about k·log2(n) queries. Options are those of Looker CI's SQL validator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runyard.tasks.lookml.databases import CannotConnect, Connection, Database, Refusal, open_database
from runyard.tasks.lookml.language.model import Explore, Field, Join, Model
from runyard.tasks.lookml.sql.compiler import Context, FieldCompiler
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.joins import needed
from runyard.tasks.lookml.sql.query import Query, Wanted, probe
from runyard.tasks.lookml.sql.timeframes import DAYS, Calendar, Dialect

_IGNORED = re.compile(r"(?:ci|spectacles)\s*+:\s*+ignore", re.IGNORECASE)
MAX_ERRORS = 200
MAX_WORDS = 100


@dataclass(frozen=True, slots=True)
class SqlError:
    """One refusal. `dimension` "" is an error of the explore itself; `line` is in the LookML file, `sql_line` in `sql`."""

    message: str
    dimension: str = ""
    sql: str = ""
    file: str = ""
    line: int = 0
    sql_line: int = 0
    sql_column: int = 0


@dataclass(slots=True)
class TriedExplore:
    """One explore's result. `status`: passed, failed, skipped or errored; `problem` says why it errored."""

    model: str
    explore: str
    status: str = "passed"
    skip_reason: str = ""
    problem: str = ""
    dimensions: int = 0
    queries: int = 0
    errors: list[SqlError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Options:
    """As in a suite. Selectors are `model/explore` with `*` for any."""

    selectors: tuple[str, ...] = ()
    exclusions: tuple[str, ...] = ()
    fail_fast: bool = False
    ignore_hidden: bool = False
    chunk_size: int = 500
    timeout_s: float = 60.0
    user_attributes: Mapping[str, str] = field(default_factory=dict)


def selected(explore: Explore, options: Options) -> bool:
    """Whether selectors and exclusions let the explore through."""
    chosen = any(_matches(s, explore) for s in options.selectors) if options.selectors else True
    return chosen and not any(_matches(s, explore) for s in options.exclusions)


def _matches(selector: str, explore: Explore) -> bool:
    model, _, name = selector.partition("/")
    return model in ("*", explore.model.name) and name in ("*", explore.name)


def validate(
    models: Sequence[Model],
    connections: Mapping[str, Connection],
    options: Options,
    say: Callable[[TriedExplore], None] = lambda _tested: None,
) -> list[TriedExplore]:
    """Tests every selected explore; `say` hears each result as it comes."""
    results = []
    for model in models:
        chosen = [e for e in model.all_explores() if selected(e, options)]
        database: Database | None = None
        problem = ""
        try:
            if chosen:
                database = _database(model, connections, options)
        except CannotConnect as error:
            problem = str(error)
        for explore in chosen:
            if database is None:
                tested = TriedExplore(model.name, explore.name, "errored", problem=problem)
            else:
                tested = try_explore(explore, database, options)
            results.append(tested)
            say(tested)
        if database is not None:
            database.close()
    return results


def _database(model: Model, connections: Mapping[str, Connection], options: Options) -> Database:
    if not model.connection:
        raise CannotConnect(f'model "{model.name}" names no connection')
    wanted = connections.get(model.connection)
    if wanted is None:
        known = ", ".join(sorted(connections)) or "none"
        raise CannotConnect(
            f'connection "{model.connection}" of model "{model.name}" does not exist here (there are: {known})'
        )
    return open_database(wanted, options.timeout_s)


def context(
    explore: Explore, dialect: Dialect, user_attributes: Mapping[str, str], wanted: Sequence[Wanted] = ()
) -> Context:
    """How the explore is compiled, with the calendar of its model."""
    start = explore.model.parameter("week_start_day")
    offset = explore.model.parameter("fiscal_month_offset")
    calendar = Calendar(
        DAYS.index(start) if start in DAYS else 0, int(offset) if re.fullmatch(r"-?\d{1,2}", offset) else 0
    )
    chosen = frozenset(f"{a}.{f.name}" for a, f in wanted)
    return Context(dialect, explore, calendar, user_attributes, selected=chosen)


def dimensions(explore: Explore, options: Options) -> list[Wanted]:
    """What is tested: visible dimensions without an ignore mark."""
    return [
        (alias, f)
        for alias, f in explore.visible()
        if f.kind == "dimension"
        and not _ignored(f)
        and not (options.ignore_hidden and f.node.is_yes("hidden"))
    ]


def _ignored(field: Field) -> bool:
    return any(_IGNORED.search(tag) for tag in field.node.words("tags")) or bool(
        _IGNORED.search(field.node.text("sql"))
    )


def try_explore(explore: Explore, database: Database, options: Options) -> TriedExplore:
    """One explore against an open database."""
    wanted = dimensions(explore, options)
    tested = TriedExplore(explore.model.name, explore.name, dimensions=len(wanted))
    tested.errors += _missing_views(explore)
    if explore.alias not in explore.views:
        tested.status = "failed"
        return tested
    if not wanted and not tested.errors:
        tested.status, tested.skip_reason = "skipped", "no_dimensions"
        return tested
    compiler = FieldCompiler(context(explore, database.dialect, options.user_attributes, wanted))
    _Trial(compiler, database, options, tested).run(wanted)
    tested.status = "failed" if tested.errors else "passed"
    return tested


def _missing_views(explore: Explore) -> list[SqlError]:
    """Their dimensions cannot be tested, and nobody who switched only this validator on may take that for success."""
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


class _Trial:
    """The search for what a database refuses in one explore."""

    def __init__(
        self, compiler: FieldCompiler, database: Database, options: Options, tested: TriedExplore
    ) -> None:
        self.compiler = compiler
        self.database = database
        self.options = options
        self.tested = tested

    def run(self, wanted: list[Wanted]) -> None:
        """Fast path: one query per chunk. Else the explore's frame first, then the dimensions."""
        whole = [w for w in wanted if self._compiles(w)]
        if self.options.fail_fast and self.tested.errors:
            return
        size = max(1, self.options.chunk_size)
        chunks = [whole[i : i + size] for i in range(0, len(whole), size)]
        refused = [chunk for chunk in chunks if not self._accepted(chunk)]
        if not refused or self.options.fail_fast:
            return
        broken = self._broken_aliases(self._joins(whole))
        if broken is None:
            return
        for chunk in refused:
            self._halve([w for w in chunk if not (self._aliases(w) & broken)])
        if not self.tested.errors:
            # Each dimension binds alone, all together do not (an ambiguous column, say): that is the explore's error.
            self._accepted(refused[0], keep=True)

    def _compiles(self, wanted: Wanted) -> bool:
        """Whether the dimension and its joins become SQL; if not, that is its error."""
        alias, field = wanted
        try:
            needed(self.compiler, [self.compiler.selected(alias, field)])
        except Unresolved as problem:
            self._add(
                SqlError(
                    problem.message + _hint(problem), f"{alias}.{field.name}", "", problem.file, problem.line
                )
            )
            return False
        return True

    def _aliases(self, wanted: Wanted) -> frozenset[str]:
        expression = self.compiler.selected(*wanted)
        return expression.aliases | frozenset(j.alias for j in needed(self.compiler, [expression]))

    def _joins(self, wanted: Sequence[Wanted]) -> list[Join]:
        return needed(self.compiler, [self.compiler.selected(*w) for w in wanted])

    def _accepted(self, wanted: Sequence[Wanted], *, keep: bool = False) -> bool:
        """Asks the database; with fail_fast or `keep` a refusal is recorded as the explore's error."""
        query, refusal = self._ask(wanted)
        if refusal is None:
            return True
        if keep or self.options.fail_fast:
            self._refused(refusal, query, wanted[0] if len(wanted) == 1 else None)
        return False

    def _ask(
        self, wanted: Sequence[Wanted], joins: Sequence[Join] | None = None
    ) -> tuple[Query | None, Refusal | None]:
        try:
            query = probe(self.compiler, wanted, joins)
        except Unresolved as problem:
            line = f" ({problem.file}:{problem.line})" if problem.file else ""
            return None, Refusal(problem.message + _hint(problem) + line)
        self.tested.queries += 1
        return query, self.database.bind(query.sql)

    def _broken_aliases(self, joins: Sequence[Join]) -> frozenset[str] | None:
        """Joins that the database refuses, each reported once; None when not even the explore's frame binds.

        The frame is the base table with the joins that every query carries (sql_always_where, always_join).
        """
        frame = needed(self.compiler, [])
        query, refusal = self._ask([], frame)
        if refusal is not None:
            self._refused(refusal, query, None)
            return None
        if self._ask([], joins)[1] is None:
            return frozenset()
        good = list(frame)
        broken: set[str] = set()
        for join in [j for j in joins if j not in frame]:
            query, refusal = self._ask([], [*good, join])
            if refusal is None:
                good.append(join)
            else:
                broken.add(join.alias)
                self._refused(refusal, query, None)
        return frozenset(broken)

    def _halve(self, wanted: Sequence[Wanted]) -> None:
        """Narrows a refused list down to single dimensions, left half first; an explicit stack keeps the order."""
        stack = [list(wanted)] if wanted else []
        while stack and len(self.tested.errors) < MAX_ERRORS:
            part = stack.pop()
            query, refusal = self._ask(part)
            if refusal is None:
                continue
            if len(part) == 1:
                self._refused(refusal, query, part[0])
            else:
                half = len(part) // 2
                stack += [part[half:], part[:half]]

    def _refused(self, refusal: Refusal, query: Query | None, wanted: Wanted | None) -> None:
        file, line = self._origin(refusal, query, wanted)
        name = f"{wanted[0]}.{wanted[1].name}" if wanted else ""
        sql = query.sql if query else ""
        self._add(SqlError(_short(refusal.message), name, sql, file, line, refusal.line, refusal.column))

    def _origin(self, refusal: Refusal, query: Query | None, wanted: Wanted | None) -> tuple[str, int]:
        """The LookML behind the place that the database names, else the field's or explore's own place."""
        if query is not None and refusal.line:
            piece = query.locate(query.offset(refusal.line, max(1, refusal.column)))
            if piece is not None:
                return piece.file, piece.line
        node = (wanted[1].node.get("sql") or wanted[1].node) if wanted else self.compiler.context.explore.node
        return node.file.path, node.line

    def _add(self, error: SqlError) -> None:
        if len(self.tested.errors) < MAX_ERRORS:
            self.tested.errors.append(error)


def _hint(problem: Unresolved) -> str:
    return f" Did you mean {problem.suggestion}?" if problem.suggestion else ""


def _short(message: str) -> str:
    """At most a hundred words, as Spectacles shows them."""
    words = message.split()
    return " ".join(words[:MAX_WORDS]) + (" …" if len(words) > MAX_WORDS else "")
