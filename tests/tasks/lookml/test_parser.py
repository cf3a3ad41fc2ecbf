"""The parser: what it reads, where it says things are, and how it stays calm with hostile text."""

from __future__ import annotations

import time

import pytest

from runyard.tasks.lookml.language.parser import parse
from runyard.tasks.lookml.language.tree import Kind, SourceFile


def read(text: str):
    return parse(SourceFile("a.view.lkml", text))


def test_every_form_of_value_is_read_with_its_place() -> None:
    root, findings = read(
        '# heading\nview: orders {\n  label: "The \\"orders\\""\n  dimension: id { primary_key: yes sql: ${TABLE}.id -- ; #x\n ;; tags: ["a", "b",] }\n'
        '  measure: m { filters: [a.b: "x", c: ">1"] }\n}\n'
    )
    assert findings == []
    view = root.children[0]
    assert (view.key, view.value, view.place) == ("view", "orders", (2, 1))
    assert view.text("label") == 'The "orders"'
    dimension = view.get("dimension")
    assert dimension is not None
    assert dimension.get("sql").value == "${TABLE}.id -- ; #x"
    assert dimension.words("tags") == ["a", "b"]
    filters = view.get("measure").get("filters")
    assert filters.kind is Kind.LIST
    assert [(i.key, i.value, i.place) for i in filters.children] == [
        ("a.b", "x", (6, 26)),
        ("c", ">1", (6, 36)),
    ]


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ('view: a {\n label: "never closed\n}', "the string is never closed", 2, 9),
        ("view: a {\n dimension: b {", 'of "dimension: b" is never closed', 2, 15),
        ("view: a {\n}\n}", 'no open block for this "}"', 3, 1),
        ("view: a {\n dimension: b { sql: ${TABLE}.b }\n}", '"sql" is not closed by ";;"', 2, 17),
        ("view: a {\n label\n}", '":" expected after "label"', 3, 1),
        ("view: a { tags: [b }", "the list is not closed", 1, 20),
        ("view: a { label: }", 'a value for "label" expected', 1, 18),
    ],
)
def test_a_syntax_error_has_its_line_and_column(text: str, message: str, line: int, column: int) -> None:
    _, findings = read(text)
    assert [(f.line, f.column) for f in findings] == [(line, column)]
    assert message in findings[0].message


def test_a_forgotten_end_of_sql_is_found_before_it_swallows_the_next_field() -> None:
    root, findings = read(
        "view: a {\n dimension: x { sql: ${TABLE}.x\n }\n dimension: y { sql: ${TABLE}.y ;; }\n}"
    )
    assert (findings[0].line, findings[0].column) == (2, 17)
    assert "before the next block" in findings[0].message
    assert root.children[0].value == "a"


@pytest.mark.parametrize(
    "text",
    [
        "view: a {" * 10_000,
        "a: [" * 10_000,
        'label: "' + '\\"' * 500_000,
        "#" * 1_000_000 + "\n" + "####\n" * 100_000,
        "sql: " + "x " * 500_000,
        "view: a { dimension: x { sql: y \n measure: z { } } }\n" * 20_000 + ";;",
        "}" * 100_000,
        "[" * 100_000,
        "\0" * 100_000,
        "view: " * 100_000,
    ],
)
def test_hostile_text_ends_quickly_with_a_located_error(text: str) -> None:
    started = time.process_time()
    _, findings = read(text)
    assert time.process_time() - started < 2
    assert all(f.line > 0 and f.column > 0 for f in findings)
    assert findings or text.startswith("#")


def test_reading_is_linear() -> None:
    unit = 'view: a {\n dimension: b { label: "B" sql: ${TABLE}.b ;; }\n}\n'
    spent = []
    for times in (2_000, 16_000):
        best = 1e9
        for _ in range(3):
            started = time.process_time()
            _, findings = read(unit * times)
            best = min(best, time.process_time() - started)
            assert findings == []
        spent.append(best)
    assert spent[1] < spent[0] * 8 * 4
