"""Looker expressions: grammar, three-valued logic, exact numbers, dates, table functions, located problems,
bounded hostile texts."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from runyard.tasks.lookml.lexp.evaluate import Evaluation, Rows, problems
from runyard.tasks.lookml.lexp.parser import parse
from runyard.tasks.lookml.lexp.tree import LexpError, Value
from runyard.tasks.lookml.lexp.values import from_database, shown

NOW = datetime(2026, 11, 21, 12, 30, 15)  # noqa: DTZ001  expressions know no zones
COLUMNS: dict[str, list[Any]] = {
    "o.id": [1, 2, 3, 4],
    "o.price": [Decimal("1.10"), 2.5, None, 10],
    "o.name": ["bun", "rye bread", None, "cake"],
    "o.day": [date(2024, 1, 31), datetime(2024, 2, 29, 13, 5, 9, tzinfo=UTC), None, date(2023, 12, 1)],
}


def rows() -> Rows:
    columns = {name: [from_database(v) for v in values] for name, values in COLUMNS.items()}
    columns["o.open"] = [from_database(v, "yesno") for v in ("Yes", "No", None, "Yes")]
    columns["o.month"] = [from_database(v, "date") for v in ("2024-01", "2024-02", None, "2023-12")]
    return Rows(columns, 4, NOW, lambda text, values: [text == shown(v) for v in values])


def column(text: str) -> list[Value]:
    return Evaluation(rows()).column(parse(text))


def first(text: str) -> Value:
    return column(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", "7"), ("(1 + 2) * 3", "9"), ("10 - 2 - 3", "5"), ("2 / 4", "0.5"), ("-2 * -3", "6"), ("- - 2", "2"), ("0.1 + 0.2", "0.3"),
        ("1 / 0", ""), ("sqrt(-1)", ""), ("power(2, 10)", "1024"), ("power(10, 9999999)", ""), ("round(2.345, 2)", "2.35"), ("round(-2.5)", "-3"),
        ("round(1234, -2)", "1200"), ("floor(-1.5)", "-2"), ("ceiling(1.2)", "2"), ("mod(7, 3)", "1"), ("abs(-3)", "3"), ("max(1, 5, 3)", "5"), ("min(4, 2)", "2"),
        ('concat("a", 1, yes)', "a1Yes"), ('contains("signal", "gna")', "Yes"), ('length("été")', "3"), ('upper("a")', "A"), ('position("bread", "ea")', "3"),
        ('position("bread", "x")', "0"), ('replace("a-b-c", "-", "")', "abc"), ('substring("bread", 2, 3)', "rea"), ('substring("bread", 4)', "ad"),
        ('starts_with("bread", "br")', "Yes"), ('to_number("12.50")', "12.5"), ('to_number("x")', ""), ("to_string(12.50)", "12.5"), ('index(split("a,b,c", ","), 2)', "b"),
        ("date(2024, 2, 30)", ""), ("add_days(1, date(2024, 2, 28))", "2024-02-29"), ("add_months(1, date(2024, 1, 31))", "2024-02-29"),
        ("add_years(-1, date(2024, 2, 29))", "2023-02-28"), ("diff_days(date(2024, 1, 1), date(2024, 3, 1))", "60"), ("diff_months(date(2024, 1, 31), date(2024, 2, 29))", "0"),
        ("diff_years(date(2024, 6, 1), date(2022, 6, 1))", "-2"), ("diff_hours(date(2024, 1, 1), date_time(2024, 1, 1, 5, 59, 0))", "5"), ("extract_months(now())", "11"),
        ("trunc_hours(now())", "2026-11-21 12:00:00"), ("trunc_years(now())", "2026-01-01"), ('to_date("2024-05-06") = date(2024, 5, 6)', "Yes"),
        ("case(when(1 > 2, \"a\"), when(yes, \"b\"), \"c\")", "b"), ("case(when(no, 1))", ""), ("if(null, 1, 2)", "2"), ("coalesce(null, null, 3)", "3"), ("is_null(null)", "Yes"),
        ("NOT no AND yes OR no", "Yes"), ("not 1 = 2", "Yes"), ("null = null", ""), ("null AND no", "No"), ("null OR yes", "Yes"), ("NOT null", ""), ("yes # and so on\n", "Yes"),
        ('"a" < "b"', "Yes"), ("1 != 1.0", "No"), ("date(2024,1,1) < date(2024,1,2)", "Yes"),
    ],
)  # fmt: skip
def test_values(text: str, expected: str) -> None:
    assert shown(first(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${o.price} > 2", [False, True, None, True]),
        ("${o.price} * 2", ["2.2", "5", None, "20"]),
        ("is_null(${o.name})", [False, False, True, False]),
        ("${o.open} = yes", [True, False, None, True]),
        ('${o.open} = "Yes"', [True, False, None, True]),
        ("${o.month} = trunc_months(${o.day})", [True, True, None, True]),
        ("row()", ["1", "2", "3", "4"]),
        ("sum(${o.price})", ["13.6"] * 4),
        ("round(${o.price} / sum(${o.price}), 2)", ["0.08", "0.18", None, "0.74"]),
        ("running_total(${o.id})", ["1", "3", "6", "10"]),
        ("offset(${o.id}, 1)", ["2", "3", "4", None]),
        ("offset(${o.id}, -1)", [None, "1", "2", "3"]),
        ("sum(offset_list(${o.id}, -1, 2))", ["1", "3", "5", "7"]),
        ("count(${o.price})", ["3"] * 4),
        ("count_distinct(mod(${o.id}, 2))", ["2"] * 4),
        ("mean(${o.id})", ["2.5"] * 4),
        ("median(${o.price})", ["2.5"] * 4),
        ("percentile(${o.id}, 0.25)", ["1.75"] * 4),
        ("stddev_pop(${o.id}) > 1.118 AND var_samp(${o.id}) < 1.67", [True] * 4),
        ("max(${o.price})", ["10"] * 4),
        ("rank(${o.price}, ${o.price})", ["3", "2", None, "1"]),
        ('lookup("cake", ${o.name}, ${o.id})', ["4"] * 4),
        ("match(${o.id}, ${o.id}) = row()", [True] * 4),
        ("large(${o.id}, 2) - small(${o.id}, 2)", ["1"] * 4),
        ("matches_filter(${o.name}, `bun`)", [True, False, False, False]),
        ("if(${o.price} > 2, ${o.name}, \"cheap\")", ["cheap", "rye bread", "cheap", "cake"]),
    ],
)  # fmt: skip
def test_columns(text: str, expected: list[Any]) -> None:
    found = [v if v is None or isinstance(v, bool) else shown(v) for v in column(text)]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("1 == 2", 2, "write ="),
        ("1 &&  2", 2, "write AND"),
        ("'a' = 1", 0, "double quotes"),
        ("(1 + 2", 6, 'expected ")"'),
        ("1 +", 3, "expected a value, found the end"),
        ("1 2", 2, "expected an operator or the end"),
        ("price > 2", 0, "a field stands as ${view.price}"),
        ('"open', 0, "no closing quote"),
        ("${o.price:total} > 1", 0, "totals"),
        ("concat(1 2)", 9, 'expected ","'),
        ("(" * 5000, 0, "nested too deeply"),
        ("not " * 5000, 0, "nested too deeply"),
        ("1" + "+1" * 5000, 0, "too long a chain"),
    ],
)
def test_a_syntax_problem_has_its_place(text: str, at: int, message: str) -> None:
    with pytest.raises(LexpError) as caught:
        parse(text)
    assert message in caught.value.message
    assert not at or caught.value.at == at


@pytest.mark.parametrize(
    ("text", "message", "suggestion"),
    [
        ("lenght(${o.name}) > 1", 'unknown function "lenght"', "length"),
        ("round(1, 2, 3) = 1", "round() takes 1 to 2 arguments, found 3", ""),
        ("${o.prize} > 1", 'field "o.prize" is not a column', "o.price"),
        ("${o.price} + 1", "must be yes or no, this is a number", ""),
        ("pivot_row(${o.price}) = 1", "needs a pivot", ""),
        ("rand() < 2", "no place in a data test", ""),
    ],
)
def test_what_is_wrong_is_known_before_rows_are(text: str, message: str, suggestion: str) -> None:
    (problem,) = problems(parse(text), list(rows().columns))
    assert message in problem.message
    assert problem.suggestion == suggestion


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('1 = "1"', "cannot compare a number with a text; to_number()"),
        ('${o.day} = "2024-01-31"', "cannot compare a date with a text; date("),
        ('1 + "1"', "concat() joins texts"),
        ("upper(1)", "upper() needs a text as argument 1, found a number"),
        ("1 AND yes", "yes or no is needed here, found a number"),
        ("when(yes, 1)", "only inside case()"),
    ],
)
def test_a_wrong_kind_is_told_with_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(LexpError) as caught:
        column(text)
    assert message in caught.value.message


def test_damaged_expressions_raise_nothing_but_their_own_error() -> None:
    pieces = ["${o.id}", "${o.name}", "(", ")", ",", "if", "case(when(", "sum(", "-", "*", "/", "=", "AND", "not ", '"a"', "1e3", "null", "`x`", "date(2024,1,", "offset(", "power(", "replace("]  # fmt: skip
    for seed in range(3000):
        chance = random.Random(seed)
        text = " ".join(chance.choice(pieces) for _ in range(chance.randint(1, 14)))
        try:
            tree = parse(text)
            list(problems(tree, []))
            Evaluation(rows()).asserted(tree)
        except LexpError as problem:
            assert 0 <= problem.at <= len(text), text
