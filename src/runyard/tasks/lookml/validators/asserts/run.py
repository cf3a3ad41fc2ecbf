"""Runs data tests on databases: one query per test, its asserts evaluated over the rows here. Entry: `run`.

A test passes when each assert is yes in every row; null is not yes. No rows pass vacuously, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from runyard.tasks.lookml.connections import CannotConnect, Connection
from runyard.tasks.lookml.databases import Database, Refusal, Rows
from runyard.tasks.lookml.language.findings import hinted
from runyard.tasks.lookml.language.model import Explore, Field
from runyard.tasks.lookml.lexp.evaluate import Evaluation
from runyard.tasks.lookml.lexp.evaluate import Rows as Table
from runyard.tasks.lookml.lexp.parser import parse
from runyard.tasks.lookml.lexp.tree import LexpError, Value
from runyard.tasks.lookml.lexp.values import from_database, shown
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import Query, Wanted, build
from runyard.tasks.lookml.sql.results import finish
from runyard.tasks.lookml.validators.asserts.matching import matcher
from runyard.tasks.lookml.validators.asserts.tests import ROW_LIMIT, Assertion, DataTest
from runyard.tasks.lookml.validators.connecting import opened
from runyard.tasks.lookml.validators.selection import Selection
from runyard.tasks.lookml.validators.sessions import spread
from runyard.tasks.lookml.validators.sqlcheck import context
from runyard.tasks.lookml.validators.sqltrial import located, short

MAX_SAMPLES = 20
MAX_VALUE = 500


@dataclass(frozen=True, slots=True)
class TestError:
    """A failed assert (or a test that could not run: `assertion` ""). `rows` are the first failing rows,
    `failed_rows` counts all of them."""

    __test__ = False  # pytest

    test: str
    assertion: str
    message: str
    file: str = ""
    line: int = 0
    sql: str = ""
    rows: tuple[dict[str, str | None], ...] = ()
    failed_rows: int = 0


@dataclass(frozen=True, slots=True)
class TestSuccess:
    """A test whose asserts all hold."""

    __test__ = False  # pytest

    test: str
    file: str
    line: int
    assertions: int
    rows: int
    warning: str = ""


@dataclass(slots=True)
class TriedTests:
    """The tests of one explore. `status`: passed, failed or errored; `problem` says why it errored."""

    model: str
    explore: str
    status: str = "passed"
    skip_reason: str = ""
    problem: str = ""
    errors: list[TestError] = field(default_factory=list)
    successes: list[TestSuccess] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AssertOptions:
    """As in a suite. `now` is the moment that `now()` means."""

    now: datetime
    selection: Selection = field(default_factory=Selection)
    concurrency: int = 10
    timeout_s: float = 60.0
    user_attributes: Mapping[str, str] = field(default_factory=dict)


Verdict = tuple[list[TestError], TestSuccess | None]


def run(
    found: Sequence[DataTest],
    connections: Mapping[str, Connection],
    options: AssertOptions,
    say: Callable[[DataTest, Verdict], None] = lambda _test, _verdict: None,
) -> list[TriedTests]:
    """Runs the selected tests, grouped by explore in order of first appearance; `say` hears each verdict as
    it comes."""
    chosen = [t for t in found if options.selection.lets(t.model.name, t.explore)]
    tried: dict[tuple[str, str], TriedTests] = {}
    for test in chosen:
        tried.setdefault((test.model.name, test.explore), TriedTests(test.model.name, test.explore))
    for model in dict.fromkeys(t.model for t in chosen):
        own = [t for t in chosen if t.model is model]
        try:
            with opened(model, connections, options.timeout_s) as database:
                verdicts = spread(database, own, options.concurrency, lambda d, t: run_one(t, d, options))
                for test, verdict in zip(own, verdicts, strict=True):
                    say(test, verdict)
                    _note(tried[(model.name, test.explore)], verdict)
        except CannotConnect as problem:
            for test in own:
                one = tried[(model.name, test.explore)]
                one.status, one.problem = "errored", str(problem)
    return list(tried.values())


def _note(tried: TriedTests, verdict: Verdict) -> None:
    errors, success = verdict
    tried.errors += errors
    if errors:
        tried.status = "failed"
    if success is not None:
        tried.successes.append(success)


def run_one(test: DataTest, database: Database, options: AssertOptions) -> Verdict:
    """One test on one session."""
    explore = test.target()
    if explore is None:
        return [_broken(test, f'unknown explore "{test.explore}"')], None
    try:
        wanted = [_wanted(explore, field, test) for _, field in test.columns]
        query = _query(test, explore, wanted, database, options)
    except Unresolved as problem:
        place = (problem.file, problem.line)
        if not problem.file or place == (explore.node.file.path, explore.node.line):
            place = (
                test.file,
                test.line,
            )  # what is wrong with the query as such, a filter say, is the test's
        return [TestError(test.name, "", hinted(problem.message, problem.suggestion), *place)], None
    answer = database.run(query.sql, test.limit or ROW_LIMIT)
    if isinstance(answer, Refusal):
        piece = located(query, answer)
        place = (piece.file, piece.line) if piece is not None else (test.file, test.line)
        return [TestError(test.name, "", short(answer.message), *place, query.sql)], None
    errors, success = _judged(test, query, wanted, answer, options)
    if success is not None and not success.warning:
        success = replace(success, warning=_unrestricted(explore, options.user_attributes))
    return errors, success


def _unrestricted(explore: Explore, user_attributes: Mapping[str, str]) -> str:
    """A warning when an access filter lets all rows through, because this run gives its user attribute no
    value."""
    asked = [block.text("user_attribute") for block in explore.node.all("access_filter")]
    missing = [name for name in asked if name and not user_attributes.get(name)]
    return f"all rows were tested: {', '.join(missing)} of access_filter has no value" if missing else ""


def _broken(test: DataTest, message: str) -> TestError:
    return TestError(test.name, "", message, test.file, test.line)


def _wanted(explore: Explore, name: str, test: DataTest) -> Wanted:
    found = explore.find(name)
    if found is None:
        raise Unresolved(f'unknown field "{name}" in test "{test.name}"', test.file, test.line)
    return name.rpartition(".")[0], found


def _query(
    test: DataTest, explore: Explore, wanted: list[Wanted], database: Database, options: AssertOptions
) -> Query:
    if not wanted:
        raise Unresolved(f'the explore_source of test "{test.name}" has no column', test.file, test.line)
    made = context(explore, database.dialect, options.user_attributes, wanted, database.written)
    return build(made, wanted, test.limit or ROW_LIMIT, filters=dict(test.filters), sorts=test.sorts)


def _judged(
    test: DataTest, query: Query, wanted: list[Wanted], answer: Rows, options: AssertOptions
) -> Verdict:
    rows = finish(query, answer.rows)
    columns = {}
    for index, (alias, found) in enumerate(wanted):
        kind = _kind(found)
        columns[f"{alias}.{found.name}"] = [from_database(row[index], kind) for row in rows]
    table = Table(columns, len(rows), options.now, matcher(options.now))
    evaluation = Evaluation(table)
    errors = [e for a in test.assertions if (e := _asserted(test, a, evaluation, query)) is not None]
    if errors:
        return errors, None
    warning = "the query gave no rows, so nothing was tested" if not rows else ""
    if answer.is_cut and test.limit is None:
        warning = f"only the first {ROW_LIMIT} rows were tested"
    return [], TestSuccess(test.name, test.file, test.line, len(test.assertions), len(rows), warning)


_DATES = frozenset(
    {"time", "date", "week", "month", "quarter", "hour", "minute", "second", "raw", "date_time"}
)


def _kind(found: Field) -> str:
    if found.type == "yesno":
        return "yesno"
    is_date = found.part in _DATES or (not found.part and found.type.removeprefix("date_") in _DATES)
    return "date" if is_date and not found.is_duration else ""


def _asserted(test: DataTest, assertion: Assertion, evaluation: Evaluation, query: Query) -> TestError | None:
    node = assertion.expression
    if node is None:
        return TestError(
            test.name, assertion.name, "the assert has no expression", test.file, assertion.node.line
        )
    try:
        verdicts = evaluation.asserted(parse(node.value))
    except LexpError as problem:
        line = node.file.place(min(node.value_at + problem.at, len(node.file.text)))[0]
        return TestError(test.name, assertion.name, problem.message, node.file.path, line, query.sql)
    failing = [row for row, verdict in enumerate(verdicts) if verdict is not True]
    if not failing:
        return None
    nulls = sum(verdicts[row] is None for row in failing)
    unknown = f" ({nulls} null)" if nulls else ""
    first = ", ".join(
        f"{name} = {_cell(column[failing[0]])}" for name, column in evaluation.rows.columns.items()
    )
    message = f"{' '.join(node.value.split())[:300]} does not hold in {len(failing)} of {len(verdicts)} rows{unknown}; first: {first}"
    samples = tuple(
        {name: _sample(column[row]) for name, column in evaluation.rows.columns.items()}
        for row in failing[:MAX_SAMPLES]
    )
    return TestError(
        test.name, assertion.name, message, node.file.path, node.line, query.sql, samples, len(failing)
    )


def _cell(value: Value) -> str:
    return "null" if value is None else shown(value)[:100]


def _sample(value: Value) -> str | None:
    return None if value is None else shown(value)[:MAX_VALUE]
