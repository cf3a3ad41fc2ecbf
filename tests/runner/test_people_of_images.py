"""Who a user is, by the tables of a stranger's image."""

from __future__ import annotations

from pathlib import Path

import pytest

from runyard.runner.sandbox.box import SandboxError
from runyard.runner.sandbox.overlay import person_of

LONG = "9" * 5000  # more digits than Python reads


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(
        f"long:x:{LONG}:0::/:\nraised:x:²:0::/:\napp:x:1234:2345::/home/app:/bin/sh\n"
    )
    (tmp_path / "etc" / "group").write_text(f"wide:x:{LONG}:app\nstaff:x:777:app\n")
    return tmp_path


def test_rows_that_are_none_are_left_out(root: Path) -> None:
    person = person_of(root, "app")
    assert (person.uid, person.gid, person.groups, person.home) == (1234, 2345, (777,), "/home/app")


@pytest.mark.parametrize("user", [LONG, "²", "long", "raised", f"app:{LONG}", "app:wide", "app:²"])
def test_a_user_that_is_nobody_is_refused(root: Path, user: str) -> None:
    with pytest.raises(SandboxError, match=r"the image has no (user|group)"):
        person_of(root, user)


def test_a_group_that_is_none_is_refused(root: Path) -> None:
    with pytest.raises(SandboxError, match="no group"):
        person_of(root, "app", [LONG])
