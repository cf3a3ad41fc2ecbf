"""Expansion of variables as GitLab and its runner do it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.syntax.variables import (
    MAX_VALUE_BYTES,
    Value,
    VariableError,
    expand,
    expand_all,
    expand_known,
    references,
)

KNOWN = {"A": "1", "B_2": "two", "E": ""}


@pytest.mark.parametrize(
    ("text", "final", "kept"),
    [
        ("$A", "1", "1"),
        ("${A}x", "1x", "1x"),
        ("%A%", "1", "1"),
        ("$AB", "", "$AB"),
        ("$A$B_2", "1two", "1two"),
        ("$$A", "$A", "$$A"),
        ("$$$A", "$1", "$$1"),
        ("$E|", "|", "|"),
        ("$NO|${NO}|%NO%", "||%NO%", "$NO|${NO}|%NO%"),
        ("date +%Y%m%d 100%%", "date +%Y%m%d 100%%", "date +%Y%m%d 100%%"),
        ("$", "$", "$"),
        ("$1 ${ } ${A", "$1 ${ } ${A", "$1 ${ } ${A"),
        ("a$(cmd)", "a$(cmd)", "a$(cmd)"),
    ],
)
def test_texts_expand(text: str, final: str, kept: str) -> None:
    assert expand(text, KNOWN) == final
    assert expand_known(text, KNOWN) == kept


def test_values_expand_in_dependency_order_and_keep_their_places() -> None:
    result = expand_all([Value("C", "$B!"), Value("B", "${A}${A}"), Value("A", "x"), Value("D", "$GONE")])
    assert dict(result.values) == {"C": "xx!", "B": "xx", "A": "x", "D": "$GONE"}
    assert list(result.values) == ["C", "B", "A", "D"]
    assert not result.error


def test_the_last_of_equal_keys_wins() -> None:
    assert expand_all([Value("A", "1"), Value("B", "$A"), Value("A", "2")]).values["B"] == "2"


def test_raw_values_are_spliced_as_they_stand_and_file_names_stay() -> None:
    values = [Value("R", "$A", raw=True), Value("F", "$A", file=True), Value("A", "x"), Value("B", "<$R|$F>")]
    result = expand_all(values)
    assert dict(result.values) == {"R": "$A", "F": "$A", "A": "x", "B": "<$$A|$F>"}
    assert expand(result.values["B"], {"A": "x", "F": "/tmp/F"}) == "<$A|/tmp/F>"


def test_a_cycle_names_its_members_and_leaves_everything_unexpanded() -> None:
    result = expand_all(
        [Value("X", "$Y"), Value("A", "$B"), Value("B", "$C"), Value("C", "$A"), Value("Y", "y")]
    )
    assert result.error == "circular variable reference detected: A, B, C"
    assert result.values["X"] == "$Y"


def test_naming_oneself_is_no_cycle() -> None:
    assert dict(expand_all([Value("PATH", "/x:$PATH")]).values) == {"PATH": "/x:$PATH"}


def test_doubling_values_hit_a_budget_not_memory() -> None:
    bomb = [Value("A0", "x" * 100), *(Value(f"A{i}", f"$A{i - 1}$A{i - 1}") for i in range(1, 60))]
    with pytest.raises(VariableError, match="variable A11: the text expands to more"):
        expand_all(bomb)
    many = [Value("A", "x" * (MAX_VALUE_BYTES - 1)), *(Value(f"B{i}", "$A") for i in range(20))]
    with pytest.raises(VariableError, match="the set expands"):
        expand_all(many)


def test_a_long_chain_needs_no_python_stack() -> None:
    chain = [Value("A0", "x"), *(Value(f"A{i}", f"$A{i - 1}") for i in range(1, 5000))]
    assert expand_all(reversed(chain)).values["A4999"] == "x"


@given(st.dictionaries(st.sampled_from("ABCD"), st.text(alphabet="ABCD$%{} ", max_size=10)))
def test_expansion_ends_and_leaves_no_known_reference(values: dict[str, str]) -> None:
    result = expand_all(Value(key, text) for key, text in values.items())
    if result.cycle:
        assert dict(result.values) == values
    assert set(result.values) == set(values)


@given(st.text(alphabet="AB$%{}_1 ", max_size=20))
def test_what_has_no_references_stays(text: str) -> None:
    if not list(references(text)):
        assert expand_known(text, {"A": "?"}) == text
