"""Who may clone and push: members by role, strangers not at all, and the first push only where one may put a
project."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runyard.dialects.gitlab import DIALECT
from runyard.http.gitdoor import RECEIVE, GitDoor
from runyard.http.launch import Launcher
from runyard.http.projects import create_project
from runyard.model.access import Role
from runyard.model.errors import Forbidden, NotFound, Unauthenticated
from tests.services import PLAIN, ROOT, join, services_of

UPLOAD = "git-upload-pack"


class Gate:
    """A door with one private project, asked on a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.services, _ = services_of(DIALECT, folder)
        s = self.services
        launcher = Launcher(s.terms, s.db, s.source, s.vault, s.now, {"gitlab": DIALECT})
        self.door = GitDoor(s.db, s.source, s.source, s.now, s.principal, launcher, "http://ci.test")
        root = s.db.submit_read(lambda tx: tx.user_by_name("root")).result()
        self.project = asyncio.run(create_project(s.db, s.source, s.now, "team/app", owner=root))

    def ask(self, path: str, service: str, token: str = "") -> Any:
        header = [(b"authorization", b"Basic " + base64.b64encode(f"u:{token}".encode()))] if token else []
        scope = {"type": "http", "headers": header, "path": f"/{path}.git/info/refs"}
        return asyncio.run(self.door.authorize(scope, path, service))

    def join(self, role: Role) -> None:
        self.services.db.submit_write(lambda tx: join(tx, "plain", "team/app", role)).result()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.services.db.close()


def test_a_stranger_may_not_know_that_it_is_there(gate: Gate) -> None:
    for service in (UPLOAD, RECEIVE):
        with pytest.raises(NotFound):
            gate.ask("team/app", service, PLAIN)
        with pytest.raises(Unauthenticated):
            gate.ask("team/app", service)
    assert gate.ask("team/app", RECEIVE, ROOT).project_id == gate.project.id


@pytest.mark.parametrize(
    ("role", "clones", "pushes"),
    [(Role.GUEST, False, False), (Role.REPORTER, True, False), (Role.DEVELOPER, True, True)],
)
def test_reporters_clone_and_developers_push(gate: Gate, role: Role, clones: bool, pushes: bool) -> None:
    gate.join(role)
    for service, may in ((UPLOAD, clones), (RECEIVE, pushes)):
        if may:
            assert gate.ask("team/app", service, PLAIN).project_id == gate.project.id
        else:
            with pytest.raises(Forbidden):
                gate.ask("team/app", service, PLAIN)


def test_a_first_push_makes_a_project_of_ones_own_but_none_in_a_strangers_group(gate: Gate) -> None:
    with pytest.raises(NotFound):
        gate.ask("team/mine", RECEIVE, PLAIN)
    for path in ("plain/mine", "newgroup/mine"):
        made = gate.ask(path, RECEIVE, PLAIN)
        assert gate.ask(path, RECEIVE, PLAIN).project_id == made.project_id
    with pytest.raises(NotFound):
        gate.ask("root/mine", RECEIVE, PLAIN)
