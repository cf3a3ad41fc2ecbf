"""One slow image holds up nobody who wants another."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from runyard.model.plan import Image
from runyard.runner.sandbox import container
from runyard.runner.sandbox.box import RootFs
from runyard.runner.sandbox.container import Images, Wanted

LIMIT_S = 60


def test_a_slow_pull_holds_up_only_who_wants_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    found: list[str] = []

    def find(wanted: Wanted, work: Path) -> RootFs:
        found.append(wanted.name)
        if wanted.name == "slow":
            begun.set()
            assert go_on.wait(LIMIT_S)
        return RootFs(work, {})

    monkeypatch.setattr(container, "_find", find)
    images = Images(tmp_path)

    def ask(name: str) -> None:
        with images.root(Image(name)):
            pass

    waiting = [threading.Thread(target=ask, args=("slow",)) for _ in range(2)]
    waiting[0].start()
    assert begun.wait(LIMIT_S)
    waiting[1].start()
    quick = threading.Thread(target=ask, args=("quick",), daemon=True)
    quick.start()
    quick.join(LIMIT_S)
    assert not quick.is_alive()
    go_on.set()
    for thread in waiting:
        thread.join(LIMIT_S)
    assert sorted(found) == ["quick", "slow"], "who waited has what the other found"
    assert len(images._turns) == 0
