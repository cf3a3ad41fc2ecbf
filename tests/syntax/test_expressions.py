"""The ${{ }} language: every coercion and function, the errors, and the budgets against bombs.

The expected values were compared with the vendor's own evaluator (npm @actions/expressions) on 24,000 random
expressions.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from runyard.syntax.expressions import (
    ExpressionError,
    Status,
    condition,
    condition_functions,
    condition_references,
    evaluate,
    functions_in,
    is_expression,
    references,
    render,
    render_value,
    to_string,
    with_late,
)

CONTEXT: dict[str, Any] = {
    "a": {
        "o": {"p": {"n": 2}, "q": 3},
        "x": [1, 2],
        "Key": "V",
        "e": [],
        "t": True,
        "l": [{"n": "A"}, {"n": "b", "m": [1]}, 5],
    },
    "github": {"event": {"commits": [{"id": "a"}, {"id": "b"}]}, "ref": "refs/heads/main"},
    "needs": {
        "build": {"result": "success", "outputs": {"v": "1"}},
        "lint": {"result": "skipped", "outputs": {}},
    },
    "s": "Text",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.o.*.n", [2]),
        ("a.x.*.n[0]", []),
        ("a.l.*.n", ["A", "b"]),
        ("a.l.*.m[0]", [1]),
        ("a.*.*", [{"n": 2}, 3, 1, 2, {"n": "A"}, {"n": "b", "m": [1]}, 5]),
        ("github.event.commits.*.id", ["a", "b"]),
        ("contains(github.event.commits.*.id, 'B')", True),
        ("a.key", "V"),
        ("a['KEY']", "V"),
        ("A.o.p.n", 2),
        ("a.x['1']", 2),
        ("a.x[1.9]", 2),
        ("a.x[5]", None),
        ("a.x[-1]", None),
        ("a[0]", None),
        ("a.nothing.at.all", None),
        ("s.x", None),
        ("s.*", []),
        ("a.o[format('{0}', 'q')]", 3),
        ("fromJSON('[1,2]')[0]", 1),
        ("(a.o).q", 3),
        ("0x1F", 31),
        ("0o17", 15),
        ("-.5", -0.5),
        ("+1", 1),
        ("1e3", 1000),
        ("Infinity > 1e308", True),
        ("'it''s'", "it's"),
        ("1 && 0", 0),
        ("'' || 'd'", "d"),
        ("null && 'x'", None),
        ("1 || fromJSON('')", 1),
        ("false == false && true", True),
        ("1 < 2 == true", True),
        ("!false == true", True),
        ("true || false && false", True),
        ("(true || false) && false", False),
        ("'b' > 'A'", True),
        ("'abc' == 'ABC'", True),
        ("'\u00e4' == '\u00c4'", True),
        ("'\u0131' == 'I'", False),
        ("null == 0", True),
        ("null == ''", True),
        ("true == 1", True),
        ("'0x10' == 16", True),
        ("' 12 ' == 12", True),
        ("'x' == 0", False),
        ("'1_0' == 10", False),
        ("NaN == NaN", False),
        ("a.x > 1", False),
        ("a.x == a.x", True),
        ("a.x == fromJSON('[1,2]')", False),
        ("a.x == 'Array'", False),
        ("a >= a", True),
        ("!a.e", False),
        ("contains('Hello', 'LL')", True),
        ("contains(a.x, '2')", True),
        ("contains(a, 'x')", False),
        ("contains(123, 2)", True),
        ("startsWith(12, 1)", True),
        ("endsWith('Hello', 'LO')", True),
        ("startsWith(a, 'O')", False),
        ("format('{0} {{1}}', 1)", "1 {1}"),
        ("format('{1}{0}{0}', 'a', null)", "aa"),
        ("format('{0} {1} {2}', true, a.x, a)", "true Array Object"),
        ("join('s')", "s"),
        ("join(a.x)", "1,2"),
        ("join(a.x, ' - ')", "1 - 2"),
        ("join(a)", ""),
        ("join(a.l)", "Object,Object,5"),
        ("toJSON(a.o)", '{\n  "p": {\n    "n": 2\n  },\n  "q": 3\n}'),
        ("toJSON(a.e)", "[]"),
        ("toJSON('\u00e4\"')", '"\u00e4\\""'),
        ("toJSON(NaN)", "null"),
        ('fromJSON(\'{"A":1,"a":2}\').a', 2),
        ("fromJSON('true')", True),
        ("fromJSON('1.0')", 1.0),
        ("case(false, 1, true, 2, 3)", 2),
        ("case(false, fromJSON(''), 'else')", "else"),
        ("a . o\n.q", 3),
        ("a.true", None),
    ],
)
def test_values(text: str, value: object) -> None:
    found = evaluate(text, CONTEXT)
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1", "1"),
        ("1.50", "1.5"),
        ("-0", "0"),
        ("1234567890123456789", "1.23456789012346E+18"),
        ("1e15", "1E+15"),
        ("123456789012345", "123456789012345"),
        ("0.00001", "1E-05"),
        ("1e400", "Infinity"),
        ("NaN", "NaN"),
    ],
)
def test_numbers_print_with_fifteen_digits_as_the_runner_prints_them(number: str, text: str) -> None:
    assert to_string(evaluate(number, {})) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Unexpected end of expression"),
        ("'x'[0]", "Unexpected symbol: '['"),
        ("[1]", "Unexpected symbol"),
        ("1/2", "Unexpected symbol: '1/2'"),
        ("1 + 2", "Unexpected symbol: '+'"),
        ("a..b", "Unexpected symbol"),
        ("a.", "Unexpected end of expression"),
        ("a[", "Unexpected end of expression"),
        ("a b", "Unexpected symbol: 'b'. Located at position 3 within expression: a b"),
        ("a = b", "Unexpected symbol: '='"),
        ("a & b", "Unexpected symbol"),
        ('"a"', "Unexpected symbol"),
        ("'open", "Unexpected symbol"),
        ("*", "Unexpected symbol"),
        ("True", "Unrecognized named-value: 'True'"),
        ("false && typo.x", "Unrecognized named-value: 'typo'"),
        ("nope(1)", "Unrecognized function"),
        ("contains(1)", "Too few parameters"),
        ("contains(1, 2, 3)", "Too many parameters"),
        ("case(true, 1, false, 2)", "Even number of parameters"),
        ("case(1, 1, 2)", "boolean"),
        ("fromJSON('')", "not JSON"),
        ("fromJSON('NaN')", "not JSON"),
        ("format('{0', 1)", "invalid"),
        ("format('{1}', 1)", "more arguments"),
        ("format('{a}', 1)", "invalid"),
        ("success()", "Unrecognized function"),
        ("hashFiles('x')", "Unrecognized function"),
    ],
)
def test_errors_name_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, CONTEXT)
    assert message in caught.value.message


def test_errors_never_quote_a_value_of_a_context() -> None:
    secret = {"secrets": {"KEY": "{hunter2"}}
    for text in ("fromJSON(secrets.KEY)", "format(secrets.KEY, 1)"):
        with pytest.raises(ExpressionError) as caught:
            evaluate(text, secret)
        assert "hunter2" not in str(caught.value)


def test_an_error_inside_a_template_is_placed_in_the_template() -> None:
    with pytest.raises(ExpressionError) as caught:
        render("abc ${{ a.x }} ${{ nope }}", CONTEXT)
    assert caught.value.offset == "abc ${{ a.x }} ${{ nope }}".index("nope")
    with pytest.raises(ExpressionError, match="not closed"):
        render("x ${{ 'a }}' ", CONTEXT)


def test_templates_render_and_a_whole_expression_keeps_its_type() -> None:
    assert render("v=${{ a.x[0] }}, ${{ '}}' }}!${{ null }}", CONTEXT) == "v=1, }}!"
    assert render_value("${{ a.x }}", CONTEXT) == [1, 2]
    assert (
        render_value("${{ a.x }}\n", CONTEXT) == "Array\n"
    )  # as `|` ends it; npm's parser: format('{0}\n', …)
    assert render_value("x${{ a.x }}", CONTEXT) == "xArray"
    assert render_value("plain {{ text }}", CONTEXT) == "plain {{ text }}"
    assert is_expression("${{ a }}")
    assert not is_expression("${{ a }}${{ a }}")


@pytest.mark.parametrize(
    ("text", "status", "holds"),
    [
        (None, Status(), True),
        ("", Status(success=False, failure=True), False),
        ("true", Status(success=False, failure=True), False),
        ("${{ true }}", Status(), True),
        ("a.t", Status(), True),
        ("failure()", Status(success=False, failure=True), True),
        ("!cancelled()", Status(success=False, failure=True), True),
        ("always() && a.e", Status(success=False, cancelled=True), True),
        ("${{ false }} == 'x'", Status(), True),
        ("${{ false }}\n", Status(), True),
        ("success('build')", Status(results={"Build": "success", "lint": "skipped"}), True),
        ("success('build', 'lint')", Status(results={"build": "success", "lint": "skipped"}), False),
        ("failure('lint')", Status(results={"lint": "failure"}), True),
        ("needs.build.outputs.v == 1 && needs.lint.result == 'skipped'", Status(), True),
    ],
)
def test_conditions(text: str | None, status: Status, holds: bool) -> None:
    assert condition(text, CONTEXT, status) is holds


def test_what_a_text_refers_to() -> None:
    text = (
        "${{ github.event.number }} x ${{ needs.*.result[0] }} ${{ a[github.ref].z }} ${{ HashFiles('**') }}"
    )
    assert references(text) == {"github.event.number", "needs.*.result.*", "a", "github.ref"}
    assert functions_in(text) == {"hashfiles"}
    assert references("no expressions: github.ref") == frozenset()
    assert condition_references("secrets['A'] && env.B") == {"secrets.A", "env.B"}
    assert condition_functions("always() || ${{ x }}") == frozenset()


def test_the_callers_functions_are_called() -> None:
    found = evaluate(
        "hashFiles('a', 'b')", {}, functions={"hashfiles": lambda names: "-".join(map(str, names))}
    )
    assert found == "a-b"


@pytest.mark.parametrize(
    "text",
    [
        "(" * 1000 + "1" + ")" * 1000,
        "!" * 1000 + "1",
        "a" + ".b" * 1000,
        "a" + "[a" * 1000 + "]" * 1000,
        "==".join(["1"] * 1000),
        "contains(" * 500 + "1" + ",1)" * 500,
        "1 || " * 5000 + "1",
        "fromJSON('" + "[" * 1000 + "]" * 1000 + "')",
    ],
)
def test_nesting_bombs_end_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ExpressionError):
        evaluate(text, CONTEXT)
    assert time.process_time() - began < 1


def test_a_long_chain_costs_no_depth() -> None:
    assert evaluate(" || ".join(["a.none"] * 1500 + ["'x'"]), CONTEXT) == "x"


def test_output_bombs_end_at_once() -> None:
    big = {"a": {"s": "x" * 700_000, "l": [["y" * 1000] * 1000] * 1000, "m": list(range(150_000))}}
    doubling = "a.s"
    for _ in range(12):
        doubling = f"format('{{0}}{{0}}', {doubling})"
    for text in (
        doubling,
        "toJSON(a.l)",
        "join(a.l.*.*.*)",
        "fromJSON(format('{0}{0}', a.s))",
        "a.m.*.x || a.m.*.y",
        " || ".join(["contains(a.m, 'z')"] * 100),
    ):
        began = time.process_time()
        with pytest.raises(ExpressionError, match=r"bytes|steps"):
            evaluate(text, big)
        assert time.process_time() - began < 1
    with pytest.raises(ExpressionError, match="bytes"):
        render("${{ a.s }}" * 3, big)


def test_late_places_are_filled_without_touching_the_facts() -> None:
    facts = {"github": {"sha": "abc", "event": {"a": 1}}, "run": {"id": 7}}
    late = {
        "github.run_id": "${{ run.id }}",
        "github.event.x": "${{ github.sha }}",
        "github.workspace": "${{ runner.workspace }}",
    }
    filled = with_late(facts, late)
    assert filled["github"] == {"sha": "abc", "event": {"a": 1, "x": "abc"}, "run_id": 7, "workspace": None}
    assert facts["github"] == {"sha": "abc", "event": {"a": 1}}
    again = with_late({**filled, "runner": {"workspace": "/w"}}, late)
    assert again["github"]["workspace"] == "/w"


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff": 1}', '["a", {"b": "\\udc00x"}]'])
def test_half_a_surrogate_pair_is_refused_where_it_is_read(text: str) -> None:
    with pytest.raises(ExpressionError):
        render("${{ toJSON(fromJSON('" + text + "')) }}", {})
    assert render("${{ fromJSON('\"\\ud83d\\ude00\"') }}", {}) == "\U0001f600"
