"""A push whose server ends between git and its runs: told again it starts what is missing, and nothing
twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pygit2
import pytest

from runyard.dialects.gitlab import DIALECT
from runyard.engine.ports import Page, RefUpdate, RunFilter
from runyard.http.launch import Launcher
from runyard.http.projects import create_project
from runyard.http.pushes import KEPT_MS, KIND, QUIET_MS, Pushes
from runyard.model.errors import Away
from runyard.model.trigger import ZERO_SHA
from runyard.model.work import Project, Run, User
from tests.services import services_of

MAIN = "refs/heads/main"


class Forge:
    """A project and the pushes to it; `crash` says where the server ends."""

    def __init__(self, folder: Path) -> None:
        self.services, self.time = services_of(DIALECT, folder)
        s = self.services
        self.launcher = Launcher(s.terms, s.db, s.source, s.vault, s.now, {"gitlab": DIALECT})
        self.source: Any = s.source
        self.pushes = Pushes(s.db, self.source, self.launcher, s.now)
        root = s.db.submit_read(lambda tx: tx.user_by_name("root")).result()
        assert root is not None
        self.user: User = root
        self.project: Project = asyncio.run(create_project(s.db, s.source, s.now, "team/app", owner=root))
        self.tip = ZERO_SHA

    def push(self, crash: str = "", ref: str = MAIN) -> None:
        repository = pygit2.Repository(str(self.source.git_dir(self.project.id)))
        after = self._commit(repository)

        async def go() -> None:
            key, before = await self.pushes.announce(self.project.id, self.user, {ref: after}, [])
            update = RefUpdate(ref, before[ref], after)
            if crash == "before git":
                return
            repository.references.create(ref, after, force=True)
            self.tip = after
            if crash == "before the runs":
                return
            if crash == "before it is forgotten":
                await self.launcher.pushed(self.project, self.user, [update], [], key)
                return
            await self.pushes.heard(key, self.project, self.user, [update], [])

        asyncio.run(go())

    def _commit(self, repository: Any) -> str:
        tree = repository.TreeBuilder()
        text = b"job: {script: [echo]}\n"
        tree.insert(".gitlab-ci.yml", repository.create_blob(text), pygit2.enums.FileMode.BLOB)
        who = pygit2.Signature("a", "a@example.invalid", self.time[0] // 1000, 0)
        parents = [] if self.tip == ZERO_SHA else [self.tip]
        self.time[0] += 1000
        return str(repository.create_commit(None, who, who, "x", tree.write(), parents))

    def round(self, later_ms: int = QUIET_MS + 1) -> None:
        self.time[0] += later_ms
        asyncio.run(self.pushes.round())

    def runs(self) -> list[Run]:
        return self.services.db.submit_read(lambda tx: tx.runs(RunFilter(), Page(limit=100))).result()

    def left(self) -> int:
        found = self.services.db.submit_read(lambda tx: tx.records(KIND, None, None, Page(limit=100)))
        return len(found.result())


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    made = Forge(tmp_path)
    yield made
    made.services.db.close()


def test_a_push_that_was_heard_is_forgotten(forge: Forge) -> None:
    forge.push()
    assert (len(forge.runs()), forge.left()) == (1, 0)
    forge.round()
    assert len(forge.runs()) == 1


@pytest.mark.parametrize("crash", ["before the runs", "before it is forgotten"])
def test_what_git_has_stored_is_heard_once(forge: Forge, crash: str) -> None:
    forge.push(crash)
    assert forge.left() == 1
    for _ in range(2):
        forge.round()
    assert ([run.sha for run in forge.runs()], forge.left()) == ([forge.tip], 0)


@pytest.mark.parametrize("crash", ["before the runs", "before it is forgotten"])
def test_the_next_push_hears_the_one_before_it_first(forge: Forge, crash: str) -> None:
    forge.push(crash)
    first = forge.tip
    forge.push()
    assert sorted(run.sha for run in forge.runs()) == sorted([first, forge.tip])
    assert forge.left() == 0


def test_what_git_never_stored_is_no_push(forge: Forge) -> None:
    """It may still be under way, so it is kept for a while; the same commits pushed again start one run."""
    forge.push("before git")
    forge.round()
    assert (forge.runs(), forge.left()) == ([], 1)
    forge.push()
    forge.round()
    assert (len(forge.runs()), forge.left()) == (1, 0)
    forge.push("before git")
    forge.round(KEPT_MS + 1)
    assert (len(forge.runs()), forge.left()) == (1, 0)


def test_a_push_while_the_database_is_away_is_heard_when_it_is_back(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise Away("It is away.")

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "_accept", away)
        with pytest.raises(Away):
            forge.push()
        forge.round()
    assert (forge.runs(), forge.left()) == ([], 1)
    forge.round()
    assert (len(forge.runs()), forge.left()) == (1, 0)


def test_a_git_that_outlives_its_server_is_heard_once(forge: Forge) -> None:
    """It moves the ref after the start: another branch's push leaves it its time, the same one's looks."""
    forge.push("before git")
    (left,) = forge.services.db.submit_read(lambda tx: tx.records(KIND, None, None, Page(limit=9))).result()
    ((_, _, late),) = left.data["refs"]
    forge.push(ref="refs/heads/other")
    assert forge.left() == 1
    repository = pygit2.Repository(str(forge.source.git_dir(forge.project.id)))
    repository.references.create(MAIN, late)
    key, before = asyncio.run(forge.pushes.announce(forge.project.id, forge.user, {MAIN: late}, []))
    assert before == {MAIN: late}, "so that the second push of the same moves nothing"
    asyncio.run(forge.pushes.forget(forge.project.id, key))
    forge.round()
    assert sorted(run.sha for run in forge.runs()) == sorted([late, forge.tip])


def test_a_push_that_cannot_be_heard_keeps_nobody_from_pushing(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be asked for ever, and every later push to the project be refused."""
    heard = Launcher.pushed
    broken: list[str] = []

    async def breaks(self: Launcher, *given: Any) -> list[Run]:
        if not broken or broken == [given[2][0].after]:
            broken[:] = [given[2][0].after]
            raise RecursionError
        return await heard(self, *given)

    monkeypatch.setattr(Launcher, "pushed", breaks)
    with pytest.raises(RecursionError):
        forge.push()
    forge.push()
    assert ([run.sha for run in forge.runs()], forge.left()) == ([forge.tip], 0)


def test_a_round_goes_on_after_a_push_that_cannot_be_heard(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.push("before the runs")
    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "pushed", lambda *_: 1 / 0)
        forge.round()
    assert forge.left() == 0
