"""The folders of one slot on disk: made fresh for each box, owned by the slot's uid, removed in the background.

Promises: removal follows no link and survives any depth and any mode a job can make; a crash leaves only folders below `trash`,
which the next start removes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path

BUILDS, HOME, TEMP = "builds", "home", "tmp"
PAUSE_S = 1.0


class SlotFolders:
    """`renew` gives empty folders; `retire` takes them away at once and removes them later."""

    def __init__(self, base: Path, number: int, uid: int | None) -> None:
        self.path = base / f"slot{number}"
        self._trash = base / "trash"
        self._uid = uid
        self._count = 0
        self._bin = Bin.of(self._trash)

    def renew(self, project: str, owner: tuple[int, int] | None = None) -> None:
        """Empty builds, home and temp; the project's workspace and its `.tmp` twin inside builds. `owner`: not the slot's own user."""
        if owner is None and self._uid is not None:
            owner = (self._uid, self._uid)
        if self.path.exists():
            self.retire()
        self.path.mkdir(parents=True, mode=0o711)
        names = [BUILDS, HOME, TEMP]
        inside = Path(BUILDS)
        for part in project.split("/"):
            inside = inside / part
            names.append(str(inside))
        names.append(f"{BUILDS}/{project}.tmp")
        for name in names:
            folder = self.path / name
            folder.mkdir(mode=0o755)
            if owner is not None:
                os.chown(folder, *owner)

    def retire(self) -> None:
        """Moves the folders out of the way and lets the bin empty them."""
        self._count += 1
        target = self._trash / f"{self.path.name}-{os.getpid()}-{id(self):x}-{self._count}"
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(target)
            self._bin.throw(target)


class Bin:
    """One background thread per trash folder that removes trees, so that no job waits for its predecessor's files.

    It lets `PAUSE_S` pass first: the next job of a chain unpacks its inputs just then, and unlinking thousands of files beside it would double its time.
    """

    _all: dict[Path, Bin] = {}  # noqa: RUF012 - one bin per folder in this process
    _lock = threading.Lock()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: queue.SimpleQueue[tuple[float, Path]] = queue.SimpleQueue()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.iterdir():
            self._queue.put((0.0, left))
        threading.Thread(target=self._work, name="runyard-bin", daemon=True).start()

    @classmethod
    def of(cls, folder: Path) -> Bin:
        """The bin of this folder."""
        with cls._lock:
            if folder not in cls._all:
                cls._all[folder] = cls(folder)
            return cls._all[folder]

    def throw(self, path: Path) -> None:
        """Removes the tree soon."""
        self._queue.put((time.monotonic() + PAUSE_S, path))

    def _work(self) -> None:
        while True:
            due, path = self._queue.get()
            time.sleep(max(0.0, due - time.monotonic()))
            with contextlib.suppress(OSError):
                remove_tree(path)


def remove_tree(path: Path) -> None:
    """Removes a tree that a stranger made."""
    try:
        shutil.rmtree(path, onerror=_open_up)
    except (RecursionError, OSError):
        # Thousands of levels: rm walks without recursion.
        subprocess.run(
            ["rm", "-rf", "--one-file-system", "--", str(path)], check=False, stderr=subprocess.DEVNULL
        )


def _open_up(function: object, name: str, info: object) -> None:
    """rmtree's onerror: a folder without permissions, of our own uid, is opened and tried again."""
    parent = Path(name).parent
    for folder in (parent, Path(name)):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(folder.lstat().st_mode):
                folder.chmod(0o700)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(Path(name).lstat().st_mode):
            shutil.rmtree(name)
        else:
            Path(name).unlink()
