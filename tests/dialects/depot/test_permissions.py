"""What `permissions` leave of a job's token, through any depth of calls."""

from __future__ import annotations

import pytest

from runyard.dialects.depot.workflow.permissions import DEFAULT, beyond, level, narrowed

READ_ALL, WRITE_ALL, NOTHING = {"*": "read"}, {"*": "write"}, {"*": "none"}


@pytest.mark.parametrize(
    ("limit", "own", "scope", "left"),
    [
        (WRITE_ALL, {"*": "none", "contents": "write"}, "contents", "write"),
        (WRITE_ALL, {"*": "none", "contents": "write"}, "actions", "none"),
        (READ_ALL, {"*": "none", "contents": "write"}, "contents", "read"),
        (DEFAULT, WRITE_ALL, "contents", "read"),
        (DEFAULT, WRITE_ALL, "id-token", "none"),
        (NOTHING, WRITE_ALL, "contents", "none"),
        ({"*": "none", "actions": "write"}, READ_ALL, "actions", "read"),
    ],
)
def test_a_call_gets_the_less_of_both(
    limit: dict[str, str], own: dict[str, str], scope: str, left: str
) -> None:
    assert level(narrowed(limit, own), scope) == left
    assert level(narrowed(own, limit), scope) == left


def test_what_is_more_than_there_is_is_named() -> None:
    assert beyond(DEFAULT, {"*": "none", "contents": "write", "packages": "read"}) == ["contents: write"]
    assert beyond(WRITE_ALL, {"*": "none", "contents": "write"}) == []
