"""What a compiler may fetch: an operator's trust in this machine's networks is for administrators, not for
all who can push a file."""

from __future__ import annotations

from typing import Any, cast

import pytest

from runyard.http.reach import Elsewhere
from runyard.model.errors import Forbidden, Unavailable
from runyard.model.work import User

NOTHING = cast(Any, None)
CLOSED = "http://127.0.0.1:9/x"


def house(allow_local: bool) -> Elsewhere:
    return Elsewhere(NOTHING, NOTHING, NOTHING, allow_local, lambda: 0)


@pytest.mark.parametrize("allow_local", [True, False])
def test_a_person_reaches_no_private_network(allow_local: bool) -> None:
    with pytest.raises(Forbidden):
        house(allow_local).for_user(User(2, "ann"), {}).remote(CLOSED)


def test_an_administrator_does_where_the_operator_allows_it() -> None:
    with pytest.raises(Unavailable):  # it was tried
        house(True).for_user(User(1, "root", is_admin=True), {}).remote(CLOSED)
    with pytest.raises(Forbidden):
        house(False).for_user(User(1, "root", is_admin=True), {}).remote(CLOSED)
