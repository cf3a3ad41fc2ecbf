"""The grammar and the quirks of `rules:if`."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.dialects.gitlab.config.expression import ExpressionError, parse

VARS = {
    "A": "a", "EMPTY": "", "BLANK": "  ", "MAIN": "main", "TAG": "v1.2.3", "RE": "/^ma/", "PLAIN": "the main road", "N": "5",
    "BAD": "/(/", "_x1": "u", "PATH_RE": "/a\\/b/",
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("$A", True), ("$NO", False), ("$EMPTY", False), ("$BLANK", False), ('"x"', True), ('""', False), ("null", False),
        ('$A == "a"', True), ("$A == 'a'", True), ('$A=="a"', True), ('$A != "a"', False), ('$A == "b"', False),
        ("$NO == null", True), ("$EMPTY == null", False), ('$EMPTY == ""', True), ('$NO == ""', False), ("$NO != null", False),
        ("$A != null", True), ("null == null", True), ('"a" == $A', True), ("$A == $A", True), ("$NO == $GONE", True),
        ("$MAIN =~ /^main$/", True), ("$MAIN =~ /MAIN/", False), ("$MAIN =~ /MAIN/i", True), ("$MAIN !~ /^dev/", True),
        ("$TAG =~ /^v\\d+\\.\\d+/", True), ("$NO =~ /xx/", False), ("$NO !~ /xx/", True), ("$NO =~ /^$/", True),
        ("$MAIN =~ $RE", True), ("$A =~ $RE", False), ("$MAIN =~ $NO", False), ("$MAIN !~ $NO", True), ("$MAIN =~ $BAD", False),
        ("$MAIN =~ $PLAIN", True), ("$TAG =~ $PLAIN", False), ('$MAIN =~ "/^ma/"', True), ('"a/b" =~ $PATH_RE', True),
        ("$A =~ /$MAIN/", False),
        ('"a/b" =~ /a\\/b/', True),
        ("$A && $MAIN", True), ("$A && $NO", False), ("$NO || $A", True), ("$NO || $GONE", False),
        ("$EMPTY || $A", False), ("$EMPTY && $A", True), ("$A && $EMPTY", False), ("$NO || $EMPTY", False),
        ('$A == "b" || $MAIN == "main" && $N == "5"', True), ('($A == "b" || $MAIN == "main") && $N == "6"', False),
        ('$A == "a" || $NO && $GONE', True), ('($A == "a" || $NO) && $GONE', False),
        ("($A)", True), ("(($A))", True), ("  $A  \n && $MAIN", True), ("$_x1 == 'u'", True), ("'it is \"quoted\"'", True),
        ('$A == "a" == "x"', False), ("$A == ($B == $C)", False), ("null && $A", False), ("$A || null", True),
    ],
)  # fmt: skip
def test_expressions_hold_as_in_gitlab(source: str, holds: bool) -> None:
    assert parse(source).holds(VARS) is holds


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "empty"), ("  ", "empty"), ("${A}", "without braces"), ("$A ==", "too early"), ("== $A", "not expected"), ("$A $B", "not expected"),
        ("($A", "parenthesis is missing"), ("$A)", "not expected"), ("$A = 'a'", "with `==`"), ("$A & $B", "`&&`"), ('"abc', "closing quote"),
        ("$A =~ /a/", "not expected"), ("$A =~ /(/xyz/", "not"), ("$A =~ /(ab/", "invalid pattern"), ("$A =~ /(?=ab)/", "invalid pattern"), ("$", "not expected"),
        ("true", "are texts"), ("$A == main", "in quotes"), ("$A and $B", "`&&`"), ("$A > 3", "compare"), ("1 == 1", "not expected"), ("!$A", "there is no `!`"), ("$A && || $B", "not expected"), ("nullable", "not expected"),
        ("()", "not expected"), (" && ".join(["$A"] * 51), "fewer than 100"), ("(" * 99, "too early"), ("(" * 100, "fewer than 100"), ("(" * 100_000, "fewer than 100"),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(source: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(source)
    assert message in f"{caught.value} ({caught.value.suggestion})"


def test_99_parts_are_still_fine() -> None:
    assert parse(" && ".join(["$A"] * 50)).holds(VARS)


def test_hostile_patterns_end() -> None:
    start = time.process_time()
    parsed = parse("$V =~ /(x+x+)+y/")
    assert not parsed.holds({"V": "x" * 100_000})
    for text in ("/" + "\\/" * 100_000, '"' * 100_001, "$A =~ /" + "a" * 100_000):
        with pytest.raises(ExpressionError):
            parse(text)
    assert time.process_time() - start < 2


ALPHABET = st.sampled_from(
    ["$A", "$NO", '"a"', "/ab/", "null", "==", "!=", "=~", "!~", "&&", "||", "(", ")", " "]
)


@given(st.lists(ALPHABET, max_size=14).map("".join) | st.text(max_size=30))
def test_any_text_parses_and_evaluates_or_is_an_expression_error(source: str) -> None:
    try:
        parsed = parse(source)
    except ExpressionError:
        return
    assert parsed.holds(VARS) in (True, False)
