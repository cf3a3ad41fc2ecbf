"""A push reaches the dialects that keep their wishes in the store; one that refuses takes nothing from the
others."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runyard.dialects.looker import DIALECT
from runyard.engine.ports import RefUpdate
from runyard.model.errors import Conflict
from runyard.model.trigger import ZERO_SHA, Push
from runyard.model.work import Project, Run, User
from tests.services import services_of


def test_every_hearer_hears_of_a_branch_and_every_loser_of_a_deletion(tmp_path: Path) -> None:
    services, _ = services_of(DIALECT, tmp_path)
    launcher: Any = services.start.__self__  # type: ignore[attr-defined]
    heard: list[tuple[str, str]] = []

    async def refuses(push: Push) -> Sequence[Run]:
        raise Conflict("not now")

    async def hears(push: Push) -> Sequence[Run]:
        heard.append((push.ref, push.after))
        return [Run(7, push.project.id, 1, "looker", "push", push.ref, push.after)]

    lost: list[str] = []

    async def misses(push: Push) -> None:
        lost.append(push.ref)

    async def fails(push: Push) -> None:
        raise Conflict("not now")

    launcher.hearers.extend([refuses, hears])
    launcher.losers.extend([fails, misses])
    work = tmp_path / "work"
    for argv in (
        ["init", "-qb", "main", str(work)],
        ["-C", str(work), "commit", "-qm", "x", "--allow-empty"],
    ):
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *argv], check=True)
    project = services.db.submit_write(lambda tx: tx.add(Project(0, "a/b"))).result()
    services.source.create(project.id, "main")
    services.source.mirror(project.id, str(work))
    sha = services.source.branches(project.id)[0][1].sha
    moved = [RefUpdate("refs/heads/main", ZERO_SHA, sha), RefUpdate("refs/heads/old", sha, ZERO_SHA)]
    runs = asyncio.run(launcher.pushed(project, User(1, "root"), moved, ()))
    assert heard == [("main", sha)] and lost == ["old"]
    assert [run.id for run in runs] == [7]
    services.db.close()
