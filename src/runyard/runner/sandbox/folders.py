"""The folders of one slot on disk: fresh for each box, owned by the slot's uid, removed in the background.

Promises: removal follows no link and survives any depth and any mode a job can make; a crash leaves only
folders below `trash`, which the next start removes.
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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from runyard.runner.sandbox.box import FoldersMoved

BUILDS, HOME, TEMP = "builds", "home", "tmp"
PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Frame:
    """The folders that were made for a job. `inner` hold nothing but other folders of the frame, `leaves` are
    empty at first."""

    project: str
    owner: tuple[int, int] | None
    inner: tuple[str, ...]
    leaves: tuple[str, ...]

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, project: str, owner: tuple[int, int] | None) -> _Frame:
        """The project's workspace and its `.tmp` twin inside builds; home and temp."""
        above = [BUILDS, *(f"{BUILDS}/{parent}" for parent in reversed(PurePosixPath(project).parents[:-1]))]
        return cls(
            project, owner, tuple(above), (f"{BUILDS}/{project}", f"{BUILDS}/{project}.tmp", HOME, TEMP)
        )


class SlotFolders:
    """`renew` gives empty folders; `retire` takes away at once what a job has touched of them, and removes it
    later. What it has not touched is as good as new: making a folder costs more than looking whether its
    inode was changed since."""

    def __init__(self, base: Path, number: int, uid: int | None) -> None:
        self.path = base / f"slot{number}"
        self._place = str(self.path)  # this is asked for often, and a Path is dear
        self._trash = base / "trash"
        self._uid = uid
        self._count = 0
        self._bin = Bin.of(self._trash)
        self._frame: _Frame | None = None
        self._seen: dict[str, tuple[int, ...]] = {}

    def renew(self, project: str, owner: tuple[int, int] | None = None) -> None:
        """Empty builds, home and temp; the project's workspace and its `.tmp` twin inside builds. `owner`:
        not the slot's own user."""
        if owner is None and self._uid is not None:
            owner = (self._uid, self._uid)
        frame = _Frame.of(project, owner)
        if frame != self._frame:
            self.remove()
            self.path.mkdir(parents=True, mode=0o711)
        for name in (*frame.inner, *frame.leaves):
            if name not in self._seen:
                folder = f"{self._place}/{name}"
                os.mkdir(folder, 0o755)  # noqa: PTH102
                if owner is not None:
                    os.chown(folder, *owner)
        self._frame = frame
        self._look()

    def within(self, name: str) -> None:
        """A folder below these, made where it is missing. Nobody of the job lives yet."""
        made = self.path
        for part in PurePosixPath(name).parts:
            made /= part
            if not made.exists():
                made.mkdir(mode=0o755)
                if self._frame is not None and self._frame.owner is not None:
                    os.chown(made, *self._frame.owner)

    def check(self) -> None:
        """FoldersMoved when a link, or whatever else is no folder, stands where the job's folders were: as
        root we would read and write wherever it leads. The job must stand still."""
        assert self._frame is not None  # noqa: S101 - asked between `renew` and `retire`
        for name in (*self._frame.inner, *self._frame.leaves):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISDIR(os.lstat(f"{self._place}/{name}").st_mode):
                    raise FoldersMoved

    def opened(self, path: str) -> int:
        """A descriptor of this folder of the job's, for who cannot wait until the job stands still.
        FoldersMoved when it is no folder, or a link is on the way."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        found = os.open(self._place, flags)
        for part in PurePosixPath(path).relative_to(self._place).parts:
            above = found
            try:
                found = os.open(part, flags, dir_fd=above)
            except OSError as error:
                raise FoldersMoved from error
            finally:
                os.close(above)
        return found

    def drop(self, name: str) -> None:
        """Takes away a folder beside the job's own."""
        self._throw(self.path / name)

    def retire(self) -> None:
        """Nothing of the job lives any more."""
        if self._frame is None:
            return
        if set(os.listdir(self._place)) != {BUILDS, HOME, TEMP} or any(  # noqa: PTH208 - names
            self._was_touched(name) for name in self._frame.inner
        ):
            self.remove()
            return
        for name in self._frame.leaves:
            if self._was_touched(name):
                self._throw(self.path / name)
                del self._seen[name]
        for name in self._frame.inner:
            self._seen[name] = self._identity(name)

    def remove(self) -> None:
        """Everything, at once for who looks."""
        self._frame = None
        self._seen.clear()
        with contextlib.suppress(FileNotFoundError):
            self._throw(self.path)

    def _throw(self, folder: Path) -> None:
        self._count += 1
        target = self._trash / f"{self.path.name}-{os.getpid()}-{id(self):x}-{self._count}"
        folder.rename(target)
        self._bin.throw(target)

    def _look(self) -> None:
        assert self._frame is not None  # noqa: S101 - just set
        self._seen = {name: self._identity(name) for name in (*self._frame.inner, *self._frame.leaves)}

    def _was_touched(self, name: str) -> bool:
        return self._identity(name) != self._seen[name]

    def _identity(self, name: str) -> tuple[int, ...]:
        """Differs after any change of the folder: of its entries, owner, mode, attributes. Nobody but the
        kernel sets the change time."""
        info = os.lstat(f"{self._place}/{name}")
        return (info.st_ino, info.st_ctime_ns, info.st_mode, info.st_uid, info.st_gid, info.st_nlink)


class Bin:
    """One background thread per trash folder that removes trees, so that no job waits for its predecessor's
    files.

    It lets `PAUSE_S` pass first: the next jobs of a run unpack their inputs just then. Unlinking thousands of
    files beside it would double their time, and ext4 makes new files the slower the more it has just removed.
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


def empty(spool: Path) -> None:
    """Before anything is on its way: removes what was when an earlier process was killed."""
    for left in spool.iterdir() if spool.is_dir() else ():
        if left.is_dir() and not left.is_symlink():
            remove_tree(left)
        else:
            left.unlink(missing_ok=True)
