"""Volumes and memory file systems of a container, as options of bwrap. Called by `bubblewrap.py` before
anything of the job runs.

A volume without a path lives as long as its container and belongs to nobody else: so it is a folder of the
container's own writable files, with what the image has there, and costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runyard.runner.sandbox.box import ImageUnavailable
from runyard.syntax.containers import Container, Volume, is_taken

MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Places:
    """Where a box's files are: `root` and `temp` (its /tmp) as we see them, `visible_root` as bwrap does;
    roots are None when they stay the image's, `temp` when the job has been at work there. `owner` is root
    inside (uid, gid). `workspace` makes a path below /builds and answers what bwrap calls it."""

    root: Path | None
    visible_root: str
    temp: Path | None
    owner: tuple[int, int]
    home: str
    workspace: Callable[[str], str]


def arguments(container: Container, places: Places) -> list[str]:
    """ImageUnavailable for a place that cannot be had in this image."""
    found: list[str] = []
    for one in container.tmpfs:
        size = ("--size", str(one.size_bytes)) if one.size_bytes else ()
        found += ("--perms", f"{one.mode:04o}", *size, "--tmpfs", placed(places, one.target))
    for volume in container.volumes:
        found += _volume(volume, places, is_closed=container.read_only)
    if container.read_only and places.root is not None:
        if not is_taken(places.home):
            found += _volume(Volume("", places.home), places, is_closed=True)
        found += ("--remount-ro", "/")
    return found


def _volume(volume: Volume, places: Places, *, is_closed: bool) -> tuple[str, ...]:
    target = placed(places, volume.target)
    bind = "--bind" if volume.writable else "--ro-bind"
    if volume.is_path:
        return (bind, places.workspace(volume.source), target)
    if places.root is None:
        raise ImageUnavailable(
            f"the volume {volume.target} cannot be had here: images stay read-only on this runner (it needs root and Linux 5.19)"
        )
    is_own = not _is_temp(target) and (is_closed or not volume.writable)
    return (bind, places.visible_root + target, target) if is_own else ()


def _is_temp(path: str) -> bool:
    return path == "/tmp" or path.startswith("/tmp/")  # noqa: S108 - the box's own


def placed(places: Places, target: str) -> str:
    """The folder, made where it is missing, by the name that no link of the image leads elsewhere."""
    if places.root is None:
        return target
    done: list[str] = []
    todo, links = list(PurePosixPath(target).parts[1:]), 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        inside = [*done, part]
        here = places.root.joinpath(*inside)
        if inside[0] == "tmp":
            if places.temp is None:
                raise ImageUnavailable(f"{target} cannot be had in this image: it leads to /tmp")
            here = places.temp.joinpath(*inside[1:])
        if here.is_symlink():
            links += 1
            leads = here.readlink()
            done = [] if leads.is_absolute() else done
            todo = [*(p for p in leads.parts if p != "/"), *todo]
        else:
            _folder(here, places.owner, target)
            done = inside
        if links > MOST_LINKS:
            raise ImageUnavailable(f"{target} cannot be had in this image: its links lead in a circle")
    found = "/" + "/".join(done)
    if is_taken(found):
        raise ImageUnavailable(f"{target} cannot be had in this image: it leads to {found}")
    return found


def _folder(path: Path, owner: tuple[int, int], target: str) -> None:
    if not path.exists():
        path.mkdir(mode=0o755)
        os.chown(path, *owner)
    elif not path.is_dir():
        raise ImageUnavailable(f"{target} cannot be had in this image: there is a file on the way")
