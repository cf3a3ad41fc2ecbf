"""A writable root file system over an image's layers, for one box: what `apt-get install` writes is the job's
alone and goes with it. Used by `bubblewrap.py`.

The image's users (0 to 65535) are a range of ours per slot that nobody else has: a user namespace maps them,
the layers are shown through ID-mapped mounts (Linux 5.19), and an overlay puts the slot's own folder on top.
Root inside is nobody outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runyard.runner.sandbox.box import HOSTNAME, RootFs, SandboxError
from runyard.runner.sandbox.spawner import LauncherGone, Range, Spawner, SpawnFailed, cloned_mount
from runyard.syntax.containers import Container

FIRST_BASE, USERS = 0x40000000, 65536
MOUNT_SETATTR, AT_EMPTY_PATH, MOUNT_ATTR_IDMAP = 442, 0x1000, 0x100000
FILE_BYTES = 1 << 20
_NUMBER = re.compile(r"[0-9]{1,10}")  # of a user or group: 32 bits
MOUNTED, FILES = ("builds", "tmp", "proc", "dev"), ("hosts", "resolv.conf")


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the image's processes run as."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"


@dataclass(frozen=True, slots=True)
class Upper:
    """A mounted root. `path` is its name in the launcher, `users` the launcher's descriptor of the user
    namespace. `owner` and `root`: who the person and root inside are outside (uid, gid)."""

    path: str
    users: int
    base: int
    person: Person
    owner: tuple[int, int]
    root: tuple[int, int]


def base_of(slot: int) -> int:
    """The first of the slot's users."""
    return FIRST_BASE + slot * USERS


def mounted(
    spawner: Spawner,
    slot: int,
    root: RootFs,
    folder: Path,
    person: Person,
    owner: tuple[int, int] | None = None,
) -> Upper:
    """The overlay of the layers and `folder`. SandboxError when this kernel cannot. The person is `owner`
    outside (uid, gid), when the files that it is to work on have one already; whoever was that in the slot's
    range is then who the person would have been."""
    base = base_of(slot)
    owner = owner or (base + person.uid, base + person.gid)
    uids, gids = _ranges(base, person.uid, owner[0]), _ranges(base, person.gid, owner[1])
    first = (_outside(uids, 0), _outside(gids, 0))
    try:
        users = spawner.users(uids, gids)
        try:
            mark = f"{uids} {gids}"
            lower = [_layer(spawner, layer, mark, users) for layer in root.layers]
            _prepare(folder, first)
            path = spawner.overlay(lower, str(folder / "upper"), str(folder / "work"))
        except BaseException:
            spawner.release(users)
            raise
    except (OSError, LauncherGone, SpawnFailed) as error:
        raise SandboxError(f"the image's files could not be made writable for the job: {error}") from error
    return Upper(path, users, base, person, owner, first)


def _ranges(base: int, inside: int, outside: int) -> list[Range]:
    """All users of the slot's range, but one of them being `outside`."""
    odd = {inside: outside} if outside != base + inside else {}
    if odd and base <= outside < base + USERS:
        odd.setdefault(outside - base, base + inside)
    found, start = [], 0
    for one in sorted(odd):
        found += [(start, base + start, one - start), (one, odd[one], 1)]
        start = one + 1
    found.append((start, base + start, USERS - start))
    return [row for row in found if row[2]]


def _outside(ranges: Sequence[Range], inside: int) -> int:
    return next(there + inside - here for here, there, count in ranges if here <= inside < here + count)


def _prepare(folder: Path, owner: tuple[int, int]) -> None:
    """The upper folder with the places that a box mounts on: who is not root inside could not make them."""
    for name in ("work", "upper", "upper/etc", *(f"upper/{place}" for place in MOUNTED)):
        (folder / name).mkdir(mode=0o755)
        os.chown(folder / name, *owner)
    (folder / "upper" / "tmp").chmod(0o1777)
    for name in FILES:
        (folder / "upper" / "etc" / name).touch()


def arguments(
    upper: Upper, etc: str, own_network: bool, disable_userns: bool, container: Container
) -> list[str]:
    """bwrap's options up to the mounts of the box's own folders. It runs as the person inside; only root
    keeps something of root."""
    found = [
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--hostname",
        container.hostname or HOSTNAME,
    ]
    found += ["--die-with-parent", "--as-pid-1", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    if not own_network:
        found.append("--unshare-net")
    if upper.person.uid == 0:
        for name in container.capabilities:
            found += ("--cap-add", name)
    else:
        found += ("--unshare-user", "--uid", str(upper.person.uid), "--gid", str(upper.person.gid))
        found += ["--disable-userns"] if disable_userns else []
    found += ("--bind", upper.path, "/")
    for name in FILES:
        found += ("--ro-bind", f"{etc}/{name}", f"/etc/{name}")
    return found


def unmounted(spawner: Spawner, upper: Upper) -> None:
    """Nothing of it stays."""
    with contextlib.suppress(LauncherGone, SpawnFailed):
        spawner.hide(upper.path)
        spawner.release(upper.users)


def works(spawner: Spawner, folder: Path) -> str:
    """Why writable roots cannot be had here; empty when they can. Tries it once, with a layer of one
    folder."""
    layer = folder / "layer"
    layer.mkdir(parents=True)
    try:
        unmounted(spawner, mounted(spawner, 0, RootFs(layer, layers=(layer,)), folder, Person()))
    except SandboxError as error:
        return error.message
    return ""


def _layer(spawner: Spawner, layer: Path, mark: str, users: int) -> str:
    """A layer with its owners moved into the slot's range, as the launcher sees it; made once for each such
    move."""

    def tree() -> int:
        fd = cloned_mount(str(layer))
        if fd is None:
            raise OSError("this kernel cannot clone mounts")
        try:
            with Path(f"/proc/{spawner.pid}/fd/{users}").open("rb") as namespace:
                _map(fd, namespace.fileno())
        except BaseException:
            os.close(fd)
            raise
        return fd

    return spawner.expose(str(layer), mark=mark, tree=tree)


def _map(tree: int, users: int) -> None:
    """mount_setattr(2): struct mount_attr {attr_set, attr_clr, propagation, userns_fd}."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", MOUNT_ATTR_IDMAP, 0, 0, users))
    if libc.syscall(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, len(attributes.raw) - 1) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ID-mapped mounts: {os.strerror(code)}")


def person_of(root: Path, wanted: str, more: Sequence[str] = ()) -> Person:
    """Who `name`, `name:group`, `uid` or `uid:gid` is in the image, and in `more` groups; root when empty.
    SandboxError for nobody."""
    name, _, group = (wanted or "0").partition(":")
    people, groups = _table(root, "passwd"), _table(root, "group")
    row = next((r for r in people if len(r) > 5 and name in (r[0], r[2])), None)
    if row is None and not _NUMBER.fullmatch(name):
        raise SandboxError(f"the image has no user {name[:80]!r}")
    uid, gid, home = (int(row[2]), int(row[3]), row[5]) if row else (int(name), 0, "/")
    if group:
        gid = _group(groups, group)
    member = [int(r[2]) for r in groups if len(r) > 3 and row and row[0] in r[3].split(",")]
    member += [_group(groups, name) for name in more]
    if not all(0 <= number < USERS for number in (uid, gid)):
        raise SandboxError(f"the user {wanted[:80]!r} is beyond {USERS - 1}, the last that a job may have")
    return Person(uid, gid, tuple(n for n in member if n < USERS), home if home.startswith("/") else "/")


def _group(groups: Sequence[list[str]], name: str) -> int:
    found = next((r for r in groups if name in (r[0], r[2])), None)
    if found is None and not _NUMBER.fullmatch(name):
        raise SandboxError(f"the image has no group {name[:80]!r}")
    return int(found[2]) if found else int(name)


def _table(root: Path, name: str) -> Sequence[list[str]]:
    """Rows of /etc/passwd or /etc/group of a stranger's image: no link is followed, what is no number is left
    out."""
    try:
        folder = os.open(root / "etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
        with os.fdopen(fd, "rb") as file:
            text = file.read(FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    rows = [line.split(":") for line in text.splitlines()]
    return [r for r in rows if len(r) > 2 and all(map(_NUMBER.fullmatch, r[2:4] if len(r) > 5 else r[2:3]))]
