"""Which variant of a value holds where: all of its conditions, the most specific, the newest."""

from __future__ import annotations

import pytest

from runyard.model.variants import Circumstances, Variant, chosen

HERE = Circumstances("Group/App", branch="main", environment="production", workflow=".depot/workflows/ci.yml")


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, True),
        ({"repository": ["group/app"]}, True),  # case means nothing in a repository's name
        ({"repository": ["group/other", "group/app"]}, True),
        ({"repository": ["group/other"]}, False),
        ({"branch": ["main"]}, True),
        ({"branch": ["Main"]}, False),
        ({"branch": ["ma*n", "release/*"]}, True),
        ({"branch": ["main*"]}, True),
        ({"branch": ["*/main"]}, False),
        ({"branch": ["mai*ain"]}, False),
        ({"workflow": ["ci.yml"]}, True),
        ({"workflow": ["ci"]}, True),
        ({"workflow": [".depot/workflows/ci.yml"]}, True),
        ({"workflow": ["other.yml"]}, False),
        ({"environment": ["Production"]}, True),
        ({"environment": [""]}, False),
        ({"branch": ["main"], "environment": ["staging"]}, False),
        ({"moon": ["full"]}, False),
        ({"branch": []}, False),
    ],
)
def test_conditions(when: dict[str, list[str]], holds: bool) -> None:
    assert HERE.meet(when) is holds


def test_what_is_not_known_meets_no_condition() -> None:
    nowhere = Circumstances("group/app")
    assert not any(nowhere.meet({key: [""]}) for key in ("branch", "environment", "workflow"))


def test_the_most_specific_wins_then_the_newest() -> None:
    variants = [
        Variant("K", "org", rank=9),
        Variant("K", "branch", {"branch": ["main"]}, rank=1),
        Variant("K", "newer", {"repository": ["group/app"]}, rank=2),
        Variant("K", "elsewhere", {"repository": ["x/y"], "branch": ["main"]}, rank=3),
        Variant("L", "l"),
    ]
    assert chosen(variants, HERE) == {"K": "newer", "L": "l"}
    assert chosen(reversed(variants), HERE) == {"K": "newer", "L": "l"}
