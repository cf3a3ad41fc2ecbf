"""Liquid in LookML: Looker's tags, and budgets for hostile templates."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from runyard.tasks.lookml.language.templating import LiquidProblem, check, render


class Asked:
    """Facts that write down what they are asked."""

    def __init__(self) -> None:
        self.names: Mapping[str, object] = {
            "_model": {"_name": "m"},
            "v": {"f": {"_is_filtered": True}},
            "n": 2,
        }
        self.user_attributes: Mapping[str, str] = {"region": "e'u"}

    def parameter(self, name: str) -> str:
        return f"<{name}>"

    def condition(self, name: str, body: str) -> str:
        return f"[{name}: {body.strip()}]"

    def bound(self, name: str, which: str) -> str:
        return f"<{which} of {name}>"


FACTS = Asked()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% parameter v.p %} AND {% parameter q %}", "<v.p> AND <q>"),
        (
            "x {% condition v.f %} any{% if n == 2 %}thing{% endif %} ${y} {% endcondition %} z",
            "x [v.f: anything ${y}] z",
        ),
        ("{% incrementcondition %} at {% endincrementcondition %}", "1=1"),
        ("a > {% date_start f %} AND a < {% date_end f %}", "a > <start of f> AND a < <end of f>"),
        # What Ruby's Liquid overlooks.
        ("{% if (n == 2) %}yes{% endif %}", "yes"),
        ("{% if {{ n }} > 1 %}yes{% endif %}", "yes"),
        ("{% if ${v.f}._is_filtered %}yes{% else %}no{% endif %}", "yes"),
        ("{% if n == 2\n  # or n == 3\n %}yes{% endif %}", "yes"),
        ("{% if '(a) #1' == '(a) #1' %}yes{% endif %}", "yes"),
        ("{% if 'a' == '(a) #1' %}yes{% else %}no{% endif %}", "no"),
        ("{{ _user_attributes['region'] | sql_quote }}", "'e''u'"),
        ("{{ _user_attributes['none'] }}", ""),
        ("{% if _model._name == 'm' %}yes{% else %}no{% endif %}", "yes"),
        ("{% assign x = 'a' %}{{ x | upcase }}", "A"),
    ],
)
def test_lookers_tags(text: str, expected: str) -> None:
    assert render(text, FACTS) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\n{% if %}{% endif %}", 3),
        ("{% condition f %} x", 1),
        ("\n{% parameter %}", 2),
        ("{% include 'secret' %}", 1),
        ("{% render 'secret' %}", 1),
        ("{{ a | no_such_filter }}", 1),
        ("{{", 1),
        ("{% if a %}" * 20_000, 1),
        ("\n{% if " + " " * 200_000 + "a %}{% endif %}", 2),
        ("{% if a " + "#" * 200_000 + " %}{% endif %}", 1),
        ("{% for i in (1..10000000) %}x{% endfor %}", 1),
        (
            "{% for i in (1..4999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' | append: 'y' }}{% endfor %}"
            * 10,
            1,
        ),
        ("x" * (2 << 20), 1),
    ],
)
def test_bad_and_hostile_templates_are_located_and_quick(text: str, line: int) -> None:
    started = time.monotonic()
    with pytest.raises(LiquidProblem) as caught:
        check(text)
        render(text, FACTS)
    assert caught.value.line == line
    assert time.monotonic() - started < 5
