"""The search for what a database refuses in one explore: the frame, then the joins, then dimensions (and
measures) by halving.

k failing of n fields cost about k·log2(n) queries. What breaks the explore or a join is told once, and the
fields that need it are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runyard.tasks.lookml.databases import Database, Refusal
from runyard.tasks.lookml.language.findings import hinted
from runyard.tasks.lookml.language.model import Join
from runyard.tasks.lookml.sql.compiler import FieldCompiler
from runyard.tasks.lookml.sql.expressions import Piece, Unresolved
from runyard.tasks.lookml.sql.joins import needed
from runyard.tasks.lookml.sql.query import Query, Wanted, build, probe

MAX_ERRORS = 200
MAX_WORDS = 100

Ask = Callable[[Sequence[Wanted]], Query]


@dataclass(frozen=True, slots=True)
class SqlError:
    """One refusal. `dimension` "" is an error of the explore itself; `line` is in the LookML file, `sql_line`
    in `sql`."""

    message: str
    dimension: str = ""
    sql: str = ""
    file: str = ""
    line: int = 0
    sql_line: int = 0
    sql_column: int = 0


@dataclass(slots=True)
class Trial:
    """One explore against one database. `errors` and `queries` are its result."""

    compiler: FieldCompiler
    database: Database
    chunk_size: int = 500
    fail_fast: bool = False
    errors: list[SqlError] = field(default_factory=list)
    queries: int = 0

    def run(self, dimensions: Sequence[Wanted], measures: Sequence[Wanted] = ()) -> None:
        """Fast path: one query per chunk. Else the explore's frame first, then the fields."""
        unmade = self._unmade_joins({alias for alias, _ in (*dimensions, *measures)})
        broken = self._search([d for d in dimensions if not self._hits(d, unmade)], self._probe)
        if measures and broken is not None and not (self.fail_fast and self.errors):
            self._search([m for m in measures if not self._hits(m, broken | unmade)], self._measured)

    def _unmade_joins(self, aliases: set[str]) -> frozenset[str]:
        """Joins that do not become SQL, each told once, however many fields come through it."""
        found = set()
        for join in self.compiler.context.explore.joins:
            if join.alias in aliases and join.alias in self.compiler.context.explore.views:
                try:
                    probe(self.compiler, [], [join])
                except Unresolved as problem:
                    found.add(join.alias)
                    self.add(
                        SqlError(
                            hinted(problem.message, problem.suggestion), "", "", problem.file, problem.line
                        )
                    )
        return frozenset(found)

    def _search(self, wanted: Sequence[Wanted], ask: Ask) -> frozenset[str] | None:
        """Finds the refused ones. The aliases whose joins are broken; None when nothing more can be asked of
        this explore."""
        try:
            ask([])
        except Unresolved as problem:
            # What every query of the explore carries: its base table, its filters.
            self.add(
                SqlError(hinted(problem.message, problem.suggestion), "", "", problem.file, problem.line)
            )
            return None
        chunks, queries = self._chunks(wanted, ask)
        if any(isinstance(query, Refusal) for query in queries):
            wanted = [w for w in wanted if self._compiles(w, ask)]
            if self.fail_fast and self.errors:
                return None
            chunks, queries = self._chunks(wanted, ask)
        refused = [c for c, query in zip(chunks, queries, strict=True) if not self._accepted(c, query)]
        if not refused:
            return frozenset()
        if self.fail_fast or (ask == self._measured and self._filters_are_broken()):
            return None
        broken = self._broken_aliases(self._joins(wanted))
        if broken is None:
            return None
        before = len(self.errors)
        for chunk in refused:
            self._halve([w for w in chunk if not self._hits(w, broken)], ask)
        if len(self.errors) == before and not broken:
            # Each field binds alone, all together do not (an ambiguous column, say): that is the explore's
            # error. Measures that cannot be compiled together, because one multiplies the rows of another,
            # are asked for alone by everybody else as well.
            self._accepted(refused[0], self._made(lambda: ask(refused[0])), keep=True)
        return broken

    def _filters_are_broken(self) -> bool:
        """Whether the database refuses what every query with measures carries (always_filter and the like);
        told once, if its cause is not yet."""
        query, refusal = self._ask(lambda: self._measured([]))
        if refusal is not None and short(refusal.message) not in {e.message for e in self.errors}:
            self._refused(refusal, query, None)
        return refusal is not None

    def _probe(self, wanted: Sequence[Wanted]) -> Query:
        return probe(self.compiler, wanted)

    def _measured(self, wanted: Sequence[Wanted]) -> Query:
        return build(self.compiler.context, wanted, 0, where="1=2")

    def _chunks(
        self, wanted: Sequence[Wanted], ask: Ask
    ) -> tuple[list[Sequence[Wanted]], list[Query | Refusal]]:
        """The fields in chunks, and their queries: nearly always all of them become SQL, and a query for each
        field costs more than binding."""
        size = max(1, self.chunk_size)
        chunks = [wanted[i : i + size] for i in range(0, len(wanted), size)]
        return chunks, [self._made(lambda tried=chunk: ask(tried)) for chunk in chunks]  # type: ignore[misc]

    def _compiles(self, wanted: Wanted, ask: Ask) -> bool:
        """Whether the field and its joins become SQL; if not, that is its error."""
        try:
            ask([wanted])
        except Unresolved as problem:
            name = f"{wanted[0]}.{wanted[1].name}"
            error = SqlError(
                hinted(problem.message, problem.suggestion), name, "", problem.file, problem.line
            )
            if self._is_own(wanted) or not any(not e.dimension for e in self._same(error)):
                self.add(error)
            return False
        return True

    def _is_own(self, wanted: Wanted) -> bool:
        """Whether the field itself has no SQL, rather than a join that it needs."""
        try:
            self.compiler.selected(*wanted)
        except Unresolved:
            return True
        return False

    def _hits(self, wanted: Wanted, broken: frozenset[str]) -> bool:
        """Whether the field needs one of the broken joins."""
        if not broken or wanted[0] in broken:
            return bool(broken)
        try:
            expression = self.compiler.selected(*wanted)
            aliases = expression.aliases | frozenset(j.alias for j in needed(self.compiler, [expression]))
        except Unresolved:
            return False  # told when it is compiled
        return bool(aliases & broken)

    def _joins(self, wanted: Sequence[Wanted]) -> list[Join]:
        return needed(self.compiler, [self.compiler.selected(*w) for w in wanted])

    def _accepted(self, wanted: Sequence[Wanted], made: Query | Refusal, *, keep: bool = False) -> bool:
        """Asks the database; with fail_fast or `keep` a refusal is recorded as the explore's error."""
        query, refusal = self._bound(made)
        if refusal is None:
            return True
        if (keep and query is not None) or self.fail_fast:
            self._refused(refusal, query, wanted[0] if len(wanted) == 1 else None)
        return False

    def _ask(self, make: Callable[[], Query]) -> tuple[Query | None, Refusal | None]:
        return self._bound(self._made(make))

    def _made(self, make: Callable[[], Query]) -> Query | Refusal:
        """The query, or why there is none."""
        try:
            return make()
        except Unresolved as problem:
            line = f" ({problem.file}:{problem.line})" if problem.file else ""
            return Refusal(hinted(problem.message, problem.suggestion) + line)

    def _bound(self, made: Query | Refusal) -> tuple[Query | None, Refusal | None]:
        """What the database says of it."""
        if isinstance(made, Refusal):
            return None, made
        self.queries += 1
        return made, self.database.bind(made.sql)

    def _broken_aliases(self, joins: Sequence[Join]) -> frozenset[str] | None:
        """Joins that the database refuses, each reported once; None when not even the explore's frame binds.

        The frame is the base table with the joins that every query carries (sql_always_where, always_join).
        """
        frame = needed(self.compiler, [])
        query, refusal = self._ask(lambda: probe(self.compiler, [], frame))
        if refusal is not None:
            self._refused(refusal, query, None)
            return None
        if self._ask(lambda: probe(self.compiler, [], joins))[1] is None:
            return frozenset()
        good = list(frame)
        broken: set[str] = set()
        for join in [j for j in joins if j not in frame]:
            query, refusal = self._ask(lambda tried=join: probe(self.compiler, [], [*good, tried]))  # type: ignore[misc]
            if refusal is None:
                good.append(join)
            else:
                broken.add(join.alias)
                self._refused(refusal, query, None)
        return frozenset(broken)

    def _halve(self, wanted: Sequence[Wanted], ask: Ask) -> None:
        """Narrows a refused list down to single fields, left half first; an explicit stack keeps the
        order."""
        stack = [list(wanted)] if wanted else []
        while stack and len(self.errors) < MAX_ERRORS:
            part = stack.pop()
            query, refusal = self._ask(lambda tried=part: ask(tried))  # type: ignore[misc]
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
        self.add(SqlError(short(refusal.message), name, sql, file, line, refusal.line, refusal.column))

    def _origin(self, refusal: Refusal, query: Query | None, wanted: Wanted | None) -> tuple[str, int]:
        """The LookML behind the place that the database names, else the field's or explore's own place."""
        piece = located(query, refusal) if query is not None else None
        if piece is not None:
            return piece.file, piece.line
        node = (wanted[1].node.get("sql") or wanted[1].node) if wanted else self.compiler.context.explore.node
        return node.file.path, node.line

    def add(self, error: SqlError) -> None:
        """Keeps an error, up to a limit that no reader gets to."""
        if len(self.errors) < MAX_ERRORS and not self._is_known(error):
            self.errors.append(error)

    def _is_known(self, error: SqlError) -> bool:
        """Whether the error is the explore's own again, or a measure's whose cause is told already."""
        found = self.compiler.context.explore.find(error.dimension) if error.dimension else None
        return bool(self._same(error)) and (found is None or found.kind == "measure")

    def _same(self, error: SqlError) -> list[SqlError]:
        """Errors of the same cause."""
        return [
            e for e in self.errors if (e.message, e.file, e.line) == (error.message, error.file, error.line)
        ]


def located(query: Query, refusal: Refusal) -> Piece | None:
    """The LookML behind the place in the SQL that the database names."""
    if not refusal.line:
        return None
    return query.locate(query.offset(refusal.line, max(1, refusal.column)))


def short(message: str) -> str:
    """At most a hundred words, as Spectacles shows them."""
    words = message.split()
    return " ".join(words[:MAX_WORDS]) + (" …" if len(words) > MAX_WORDS else "")
