"""What a compiler may fetch: an operator's trust in this machine's networks is for administrators, not for
all who can push a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from runyard.http.reach import Elsewhere
from runyard.model.errors import Forbidden, TooLarge, Unavailable
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


def test_templates_are_files_of_the_operators_folder_and_of_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    (folder / "Jobs").mkdir(parents=True)
    (folder / "Jobs" / "Build.yml").write_text("a: 1")
    (folder / "big.yml").write_bytes(b"x" * (1 << 20 | 1))
    (tmp_path / "secret").write_text("hush")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "within.yml").symlink_to("Jobs/Build.yml")
    nobody = User(2, "ann")
    reach = replace(house(False), templates=folder).for_user(nobody, {})
    assert reach.template("Jobs/Build.yml") == reach.template("within.yml") == b"a: 1"
    for name in ("../secret", str(tmp_path / "secret"), "out", "Jobs", "", "none.yml", "a\0b", "x" * 5000):
        assert reach.template(name) is None, name
    with pytest.raises(TooLarge):
        reach.template("big.yml")
    assert house(False).for_user(nobody, {}).template("Jobs/Build.yml") is None
