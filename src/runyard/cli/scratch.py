"""The folder that a run works in, removed with it; what a killed run has left of its own, the next one
removes. Called by `run`.

A run makes about twenty files and folders for each job. On ext4 that takes ten times as long beside files
that were deleted within the last minutes, because their inodes are not reused at once and each search passes
over them. So the folder that holds all runs of a user is marked as the top of a hierarchy (chattr +T): ext4
then gives each run a part of the disk of its own. Other file systems know no such flag, and need none.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

GET_FLAGS, SET_FLAGS, TOP_OF_HIERARCHY = 0x80086601, 0x40086602, 0x20000
OURS = "live-"


class Scratch(tempfile.TemporaryDirectory[str]):
    """A new folder that only this user can enter. Its maker holds a lock on it for as long as it lives,
    however it ends."""

    def __init__(self) -> None:
        self._lock: int | None = None
        shelf = _shelf()
        if shelf is None:
            super().__init__(prefix=OURS, ignore_cleanup_errors=True)
            return
        with _turn(shelf):  # else it could be found before it is locked
            left = _left_behind(shelf)
            super().__init__(prefix=OURS, dir=str(shelf), ignore_cleanup_errors=True)
            self._lock = _locked(Path(self.name))
        if left:
            threading.Thread(target=_remove, args=(left,), name="sweep", daemon=True).start()

    def cleanup(self) -> None:
        """Removes it."""
        super().cleanup()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _shelf() -> Path | None:
    """The folder of this user's runs; None where somebody else has taken its name, and runs lie among all
    temporary files."""
    shelf = Path(tempfile.gettempdir(), f"runyard-{os.getuid()}")
    try:
        shelf.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(shelf, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
            return None
        with contextlib.suppress(OSError):
            _mark(handle)
        return shelf
    finally:
        os.close(handle)


def _mark(handle: int) -> None:
    flags = array.array("l", [0])
    fcntl.ioctl(handle, GET_FLAGS, flags)
    if not flags[0] & TOP_OF_HIERARCHY:
        flags[0] |= TOP_OF_HIERARCHY
        fcntl.ioctl(handle, SET_FLAGS, flags)


@contextlib.contextmanager
def _turn(shelf: Path) -> Iterator[None]:
    """One run at a time looks there and adds its folder."""
    handle = os.open(shelf, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds it; None when another process does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _left_behind(shelf: Path) -> list[Path]:
    """Folders of runs that no longer live."""
    found = []
    for folder in shelf.glob(f"{OURS}*"):
        with contextlib.suppress(OSError):
            handle = _locked(folder)
            if handle is not None:
                os.close(handle)
                found.append(folder)
    return found


def _remove(folders: list[Path]) -> None:
    from runyard.runner.sandbox.folders import remove_tree

    for folder in folders:
        remove_tree(folder)
