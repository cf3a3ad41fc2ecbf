"""Filter expressions: the 137 of Looker's published grammars, each with the ranges or the rows that it means,
and what is refused.

Dates are asked on Wednesday 2018-06-13 14:15:16 in a model whose fiscal year starts in February. Numbers and
strings are asked of rows in DuckDB and PostgreSQL: the expectation is which rows stay.
"""

from __future__ import annotations

from datetime import datetime

import duckdb
import psycopg
import pytest

from runyard.tasks.lookml.sql.dialects import Dialect, literal
from runyard.tasks.lookml.sql.expressions import plain
from runyard.tasks.lookml.sql.filter_dates import ranges
from runyard.tasks.lookml.sql.filter_text import BadFilter
from runyard.tasks.lookml.sql.filters import Setting, condition, problem
from runyard.tasks.lookml.sql.timeframes import Calendar

NOW = datetime(2018, 6, 13, 14, 15, 16, 999)  # noqa: DTZ001 - filters are local to the query's zone
SETTING = Setting(NOW, Calendar(0, 1))

DATES = """
3 days                                     | 2018-06-11 .. 2018-06-14
3 days ago                                 | 2018-06-10 .. 2018-06-11
7 year ago                                 | 2011-01-01 .. 2012-01-01
3 months ago for 2 days                    | 2018-03-01 .. 2018-03-03
before 3 days ago                          | .. 2018-06-10
before 2018-01-01 12:00:00                 | .. 2018-01-01 12:00:00
after 2018-10-05                           | 2018-10-05 ..
2018-05-18 12:00:00 to 2018-05-18 14:00:00 | 2018-05-18 12:00:00 .. 2018-05-18 14:00:00
next week                                  | 2018-06-18 .. 2018-06-25
last week                                  | 2018-06-04 .. 2018-06-11
not null                                   | not null
null                                       | null
2018-05-18                                 | 2018-05-18 .. 2018-05-19
                                           | ..
2018                                       | 2018-01-01 .. 2019-01-01
2018/01                                    | 2018-01-01 .. 2018-02-01
monday                                     | 2018-06-11 .. 2018-06-12
before 2 months from now                   | .. 2018-08-01
after 2 weeks from now                     | 2018-06-25 ..
after 1 month ago                          | 2018-05-01 ..
this year to second                        | 2018-01-01 .. 2018-06-13 14:15:16
this year to day                           | 2018-01-01 .. 2018-06-13
this day                                   | 2018-06-13 .. 2018-06-14
this week                                  | 2018-06-11 .. 2018-06-18
this month                                 | 2018-06-01 .. 2018-07-01
this quarter                               | 2018-04-01 .. 2018-07-01
this fiscal quarter                        | 2018-05-01 .. 2018-08-01
this year                                  | 2018-01-01 .. 2019-01-01
this fiscal year                           | 2018-02-01 .. 2019-02-01
next day                                   | 2018-06-14 .. 2018-06-15
next week                                  | 2018-06-18 .. 2018-06-25
next month                                 | 2018-07-01 .. 2018-08-01
next quarter                               | 2018-07-01 .. 2018-10-01
next fiscal quarter                        | 2018-08-01 .. 2018-11-01
next year                                  | 2019-01-01 .. 2020-01-01
next fiscal year                           | 2019-02-01 .. 2020-02-01
last second                                | 2018-06-13 14:15:15 .. 2018-06-13 14:15:16
last minute                                | 2018-06-13 14:14:00 .. 2018-06-13 14:15:00
last hour                                  | 2018-06-13 13:00:00 .. 2018-06-13 14:00:00
last day                                   | 2018-06-12 .. 2018-06-13
last week                                  | 2018-06-04 .. 2018-06-11
last month                                 | 2018-05-01 .. 2018-06-01
last quarter                               | 2018-01-01 .. 2018-04-01
last fiscal quarter                        | 2018-02-01 .. 2018-05-01
last year                                  | 2017-01-01 .. 2018-01-01
last fiscal year                           | 2017-02-01 .. 2018-02-01
before this day                            | .. 2018-06-13
before this week                           | .. 2018-06-11
before this month                          | .. 2018-06-01
before next day                            | .. 2018-06-14
before next quarter                        | .. 2018-07-01
before next year                           | .. 2019-01-01
before last day                            | .. 2018-06-12
before last week                           | .. 2018-06-04
before last month                          | .. 2018-05-01
after this day                             | 2018-06-13 ..
after this week                            | 2018-06-11 ..
after this month                           | 2018-06-01 ..
after next day                             | 2018-06-14 ..
after next week                            | 2018-06-18 ..
after next month                           | 2018-07-01 ..
after last day                             | 2018-06-12 ..
after last quarter                         | 2018-01-01 ..
after last year                            | 2017-01-01 ..
"""
MORE_DATES = """
7 days ago for 7 days                      | 2018-06-06 .. 2018-06-13
1 week from now for 3 days                 | 2018-06-18 .. 2018-06-21
2 hours                                    | 2018-06-13 13:00:00 .. 2018-06-13 15:00:00
last 3 months                              | 2018-04-01 .. 2018-07-01
next 2 weeks                               | 2018-06-18 .. 2018-07-02
2018-Q1                                    | 2018-01-01 .. 2018-04-01
FY2018                                     | 2018-02-01 .. 2019-02-01
FY2018-Q4                                  | 2018-11-01 .. 2019-02-01
2018-01 for 2 days                         | 2018-01-01 .. 2018-01-03
2018-05-18 for 2 weeks                     | 2018-05-18 .. 2018-06-01
2018-05-18 12:30                           | 2018-05-18 12:30:00 .. 2018-05-18 12:31:00
2018/05/18 to 2018/05/20                   | 2018-05-18 .. 2018-05-20
today                                      | 2018-06-13 .. 2018-06-14
Yesterday                                  | 2018-06-12 .. 2018-06-13
tomorrow for 2 days                        | 2018-06-14 .. 2018-06-16
before today                               | .. 2018-06-13
sunday                                     | 2018-06-10 .. 2018-06-11
wednesday                                  | 2018-06-13 .. 2018-06-14
1 quarter ago                              | 2018-01-01 .. 2018-04-01
2016, 2018-06                              | 2016-01-01 .. 2017-01-01; 2018-06-01 .. 2018-07-01
"""


def table(text: str) -> list[tuple[str, str]]:
    return [
        (left.strip(), right.strip())
        for left, _, right in (r.partition("|") for r in text.strip("\n").splitlines())
    ]


def shown(moment: datetime | None) -> str:
    return (
        ""
        if moment is None
        else f"{moment:%Y-%m-%d}"
        if f"{moment:%H%M%S}" == "000000"
        else f"{moment:%Y-%m-%d %H:%M:%S}"
    )


def test_there_are_as_many_cases_as_published() -> None:
    assert (len(table(DATES)), len(NUMBERS), len(STRINGS)) == (64, 35, 38)


@pytest.mark.parametrize(("text", "expected"), table(DATES) + table(MORE_DATES))
def test_date_filters_are_half_open_ranges(text: str, expected: str) -> None:
    found = [
        r.null or f"{shown(r.start)} .. {shown(r.end)}".strip() for r in ranges(text, NOW, Calendar(0, 1))
    ]
    assert "; ".join(found) == expected
    assert problem("date", text) == ""


VALUES = [
    None,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    5.5,
    7,
    9,
    10,
    15,
    20,
    23,
    29,
    30,
    42,
    43,
    50,
    66,
    80.44,
    90,
    99,
    100,
    500,
    600,
    850,
    900,
    1000,
    2000,
]


def some(test: str) -> list[float | None]:
    return [v for v in VALUES if v is not None and eval(test, {"x": v})]


def without(test: str) -> list[float | None]:
    """Excluding keeps NULL."""
    return [v for v in VALUES if v is None or not eval(test, {"x": v})]


NUMBERS: list[tuple[str, list[float | None]]] = [
    ("5", some("x == 5")),
    ("not 5", without("x == 5")),
    ("<> 5", without("x == 5")),
    ("1, 3, 5, 7", some("x in (1, 3, 5, 7)")),
    ("not 66, 99, 4", without("x in (66, 99, 4)")),
    ("5.5 to 10", some("5.5 <= x <= 10")),
    ("not 3 to 80.44", without("3 <= x <= 80.44")),
    ("1 to", some("x >= 1")),
    ("to 100", some("x <= 100")),
    (">= 5.5 AND <=10", some("5.5 <= x <= 10")),
    ("<3 OR >80.44", some("x < 3 or x > 80.44")),
    (">10 AND <=20 OR 90", some("10 < x <= 20 or x == 90")),
    (">=50 AND <=100 OR >=500 AND <=1000", some("50 <= x <= 100 or 500 <= x <= 1000")),
    ("NULL", [None]),
    ("NOT NULL", some("True")),
    ("(1,100)", some("1 < x < 100")),
    ("(1,100]", some("1 < x <= 100")),
    ("[1,100)", some("1 <= x < 100")),
    ("[1,100]", some("1 <= x <= 100")),
    ("[0,9],[20,29]", some("0 <= x <= 9 or 20 <= x <= 29")),
    ("[0,10],20", some("0 <= x <= 10 or x == 20")),
    ("NOT 10,[1,5)", some("1 <= x < 5 and x != 10")),
    (
        "(1,100],500,600,(800,900],[2000,)",
        some("1 < x <= 100 or x in (500, 600) or 800 < x <= 900 or x >= 2000"),
    ),
    ("(1, inf)", some("x > 1")),
    ("(1,)", some("x > 1")),
    ("(-inf,100]", some("x <= 100")),
    ("(,100)", some("x < 100")),
    ("[,10]", some("x <= 10")),
    (">5", some("x > 5")),
    ("23, not 42, not 42", some("x == 23")),
    ("23, not 42, 43", without("x in (23, 42, 43)")),
    ("23, not 42, not 43", some("x == 23")),
    ("23,NOT [30,40]", some("x == 23")),
    ("23,NOT NULL", some("x == 23")),
    ("23,NOT NULL,NOT NULL", some("x == 23")),
]

WORDS = [
    None, "", "FOO", "BAR", "FOOD", "SEAFOOD", "SEAFOO", "FOD", "FOULOD", "TUF", "UF", "foo", "  hello  ", "hello", "hello ", "hello  ", "t-shirt", "-FOO",
    "100%_^ FOO 100%_^", "a 100%_^ FOO 100%_^ b", "100%_^ FOO b", "a FOO 100%_^", 't-shirt "new" style', " whitespace ", " whitespace  ", "a whitespace b",
    '100% Silk Camisole "Angelina Jolie\'s Favorite" By Mary Green', '"DANCE" Tube Socks,T1418,multi-co...', "Intentional^caret", "sub_region", "subXregion",
    "quoted_underscore", "quotedXunderscore", "a,b", "17",
]  # fmt: skip


def like(test: str) -> list[str | None]:
    return [w for w in WORDS if w is not None and eval(test, {"x": w})]


def unlike(test: str) -> list[str | None]:
    return [w for w in WORDS if w is None or not eval(test, {"x": w})]


STRINGS: list[tuple[str, list[str | None]]] = [
    ("FOO", ["FOO"]),
    ("FOO,BAR", ["FOO", "BAR"]),
    ("%FOO%", like("'FOO' in x")),
    (" %FOO%", []),  # white space at the ends of the whole expression counts
    ("%100^%^_^^ FOO 100^%^_^^%", like("'100%_^ FOO 100%_^' in x")),
    ("FOO%", like("x.startswith('FOO')")),
    ("100^%^_^^ FOO%", like("x.startswith('100%_^ FOO')")),
    ("%FOO", like("x.endswith('FOO')")),
    ("%FOO 100^%^_^^", like("x.endswith('FOO 100%_^')")),
    ("EMPTY", [None, ""]),
    ("empty", [None, ""]),
    ("NULL", [None]),
    ("null", [None]),
    ("-FOO", unlike("x == 'FOO'")),
    ("-FOO,-BAR", unlike("x in ('FOO', 'BAR')")),
    ("-%FOO%", unlike("'FOO' in x")),
    ("-FOO%", unlike("x.startswith('FOO')")),
    ("-%FOO", unlike("x.endswith('FOO')")),
    ("-EMPTY", like("x != ''")),
    ("-empty", like("x != ''")),
    ("-null", like("True")),
    ("FOO%,BAR", like("x.startswith('FOO') or x == 'BAR'")),
    ("FOO%,-FOOD", like("x.startswith('FOO') and x != 'FOOD'")),
    ("F%OD", like("x in ('FOOD', 'FOD', 'FOULOD')")),
    ("_UF", ["TUF"]),
    ("  hello  ", ["  hello  "]),
    ("", WORDS),
    ("t-shirt", ["t-shirt"]),
    (r'"t-shirt \"new\" style"', ['t-shirt "new" style']),
    (
        r'"100% Silk Camisole \"Angelina Jolie' + r"'s Favorite\" By Mary Green" + '"',
        like("x.startswith('100% Silk')"),
    ),
    (r'"\"DANCE\" Tube Socks,T1418,multi-co..."', like("'Tube Socks' in x")),
    ('"Intentional^caret"', ["Intentional^caret"]),
    ("{{ _user_attributes['id'] }}", ["17"]),
    ("sub^_region", ["sub_region"]),
    ('"quoted_underscore"', ["quoted_underscore"]),
    ("hello^ ^ ", ["hello  "]),
    ("^ whitespace^ ^ ", [" whitespace  "]),
    ("%^ whitespace^ %", like("' whitespace ' in x")),
]


def kept(run, dialect: Dialect, kind: str, values: list, type_: str, text: str) -> list:
    setting = Setting(NOW, user_attributes={"id": "17"})
    rows = ", ".join(
        f"({i}, CAST({'NULL' if v is None else literal(v, 'duckdb') if isinstance(v, str) else v} AS {type_}))"
        for i, v in enumerate(values)
    )
    test = condition(plain("x"), kind, text, setting, dialect).text
    return [values[i] for (i,) in run(f"SELECT i FROM (VALUES {rows}) AS t(i, x) WHERE {test} ORDER BY i")]


@pytest.fixture(scope="module")
def duck():
    with duckdb.connect() as database:
        yield lambda sql: database.execute(sql).fetchall()


@pytest.mark.parametrize(("text", "expected"), NUMBERS, ids=[t for t, _ in NUMBERS])
def test_number_filters_keep_these_rows(duck, text: str, expected: list[float | None]) -> None:
    assert kept(duck, "duckdb", "number", VALUES, "DOUBLE", text) == expected
    assert problem("number", text) == ""


@pytest.mark.parametrize(("text", "expected"), STRINGS, ids=[t for t, _ in STRINGS])
def test_string_filters_keep_these_rows(duck, text: str, expected: list[str | None]) -> None:
    assert kept(duck, "duckdb", "string", WORDS, "VARCHAR", text) == expected
    assert problem("string", text) == ""


def test_postgresql_keeps_the_same_rows(fresh_postgres_url: str) -> None:
    with psycopg.connect(fresh_postgres_url) as connection:

        def run(sql: str):
            return connection.execute(sql.encode()).fetchall()

        for text, numbers in NUMBERS:
            assert kept(run, "postgres", "number", VALUES, "DOUBLE PRECISION", text) == numbers, text
        for text, words in STRINGS:
            assert kept(run, "postgres", "string", WORDS, "VARCHAR", text) == words, text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("yes", [True]), ("No", [False, None]), ("TRUE,false", [True, False, None]), ("", [True, False, None])],
)
def test_yesno_filters(duck, text: str, expected: list[bool | None]) -> None:
    assert kept(duck, "duckdb", "yesno", [True, False, None], "BOOLEAN", text) == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("number", "one"), ("number", ">"), ("number", "1;2"), ("number", "[1"), ("number", "1 AND 2"), ("date", "2018-13-01"), ("date", "3 dayz"),
        ("date", "before"), ("date", "99999 years ago"), ("date", "FY2018-03"), ("date", "x" * 100_000), ("number", "(" * 50_000), ("yesno", "maybe"),
        ("number", "1) OR (1=1"), ("date", "2018-01-01' OR '1'='1"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_grammar_is_refused(kind: str, text: str) -> None:
    with pytest.raises(BadFilter):
        condition(plain("x"), kind, text, SETTING)
    assert problem(kind, text) != ""


def test_case_may_be_ignored(duck) -> None:
    setting = Setting(NOW, folds_case=True)
    assert (
        condition(plain("x"), "string", "Foo%,-bar", setting).text
        == "UPPER(x) LIKE 'FOO%' ESCAPE '^' AND NOT COALESCE(UPPER(x) = 'BAR', FALSE)"
    )
