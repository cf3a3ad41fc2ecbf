"""The bubblewrap levels of the sandbox port (contracts/reliability.md §7.5). Made by `levels.choose`.

Per box one `bwrap`: own user, pid, mount, ipc, uts and net namespaces, no capabilities, no further user
namespaces, a seccomp deny list; at the full level also an own uid per slot (files a job writes never belong
to us) and control groups. Steps are started in it by its keeper (`kept.py`). Options and environment travel
through memory files, so no secret shows in an argv.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runyard.model.plan import Bind, Network
from runyard.runner.sandbox import cgroups, doorway, mounts, overlay
from runyard.runner.sandbox.box import (
    HOSTNAME,
    WORKSPACES,
    BoxPlan,
    ImageUnavailable,
    Level,
    Limits,
    Places,
    RootFs,
    SandboxError,
    program_in,
)
from runyard.runner.sandbox.entry import ARGS_FD, INIT_FD, SECCOMP_FD
from runyard.runner.sandbox.folders import BUILDS, HOME, TEMP, SlotFolders
from runyard.runner.sandbox.init import build as init_program
from runyard.runner.sandbox.kept import KeptBox
from runyard.runner.sandbox.network import Outside
from runyard.runner.sandbox.overlay import Upper
from runyard.runner.sandbox.spawner import LauncherGone, Room, Spawner, SpawnFailed, memory_file

log = logging.getLogger("runyard.runner")

FIRST_UID = 20000
INSIDE_ID = "1000"
INSIDE_HOME = "/home/job"
INIT = (f"/proc/self/fd/{INIT_FD}",)
SLEEP = ("/bin/sh", "-c", "echo; while :; do sleep 86400; done")  # on machines that `init.py` does not know
ETC_COPIED = (
    "ca-certificates", "ca-certificates.conf", "crypto-policies", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone",
    "nsswitch.conf", "host.conf", "services", "protocols", "mime.types", "fonts", "perl", "python3", "debian_version", "os-release",
)  # fmt: skip
ETC_SHOWN = ("alternatives", "ssl", "pki")  # larger: shown as they are
TOP_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # mostly links into /usr
IMAGE_HIDDEN = frozenset(("proc", "dev", "sys", "tmp", "run", "builds", "etc", "home"))
PASSWD = f"root:x:0:0:root:/root:/bin/sh\njob:x:{INSIDE_ID}:{INSIDE_ID}::{INSIDE_HOME}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUP = f"root:x:0:\njob:x:{INSIDE_ID}:\nnogroup:x:65534:\n"
HOSTS = f"127.0.0.1 localhost {doorway.NAME}\n::1 localhost\n"


@dataclass(frozen=True, slots=True)
class Means:
    """What works on this machine, as `levels.choose` found out."""

    bwrap: str
    level: Level
    own_uids: bool
    disable_userns: bool
    seccomp: bytes | None
    groups: cgroups.Groups | None


class BubblewrapBox(KeptBox):
    """One attempt's room."""

    def __init__(
        self,
        sandbox: BubblewrapSandbox,
        plan: BoxPlan,
        folders: SlotFolders,
        upper: Upper | None,
        shown: Mapping[str, str] | None = None,
        own: str = "",
    ) -> None:
        """`shown`: more names (inside) for places that bwrap sees. `own`: where in the slot's folder the
        box's own files are."""
        limits = sandbox.limits.within(plan.container)
        super().__init__(sandbox.spawner, limits, sandbox.group(plan.slot, limits))
        project = plan.project
        self._upper = upper
        self.uid = FIRST_UID + plan.slot if sandbox.means.own_uids else None
        home = INSIDE_HOME
        if upper is not None:
            self.uid, home = upper.owner[0], upper.person.home
        workspace = f"{WORKSPACES}/{project}"
        self.inside = Places(WORKSPACES, workspace, f"{workspace}.tmp", home, plan.container.places)
        base = str(folders.path)
        builds = f"{base}/{BUILDS}"
        self.outside = Places(builds, f"{builds}/{project}", f"{builds}/{project}.tmp", f"{base}/{HOME}")
        self._sandbox = sandbox
        self.plan = plan
        self._folders = folders
        self._network = (
            sandbox.outside.enter(plan.network, plan.slot) if plan.beside is None else plan.beside.namespace
        )
        self._own, self._shown = own, shown or {}
        self._guests = itertools.count(1)
        self._fixed = sandbox.fixed_arguments(plan, folders, bool(self._network), upper, shown or {}, own)
        self._ooms = self._group.ooms() if self._group else 0
        self._doorway: doorway.Doorway | None = None
        self._shares_host = plan.network is Network.HOST and not self._network
        self._root = str(plan.root.path) if plan.root else ""

    def find(self, names: Sequence[str]) -> str:
        """In the image, else on this machine, whose programs a box without one sees."""
        return program_in(self._root, names)

    def opened(self) -> BubblewrapBox:
        """Lets bwrap begin."""
        means = self._sandbox.means
        text = "\0".join(self._fixed).encode("utf-8", "surrogateescape") + b"\0"
        init = init_program()
        with contextlib.ExitStack() as stack:
            fds = {ARGS_FD: stack.enter_context(memory_file(text))}
            if means.seccomp is not None:
                fds[SECCOMP_FD] = stack.enter_context(memory_file(means.seccomp))
            if init is not None:
                fds[INIT_FD] = self._spawner.program(init)
            argv = (means.bwrap, "--args", str(ARGS_FD), "--", *(SLEEP if init is None else INIT))
            room = replace(self._room(), argv=argv, fds=fds)
            if init is None:
                self._open(replace(room, tidy=self._is_tidy))
            else:
                self._open_first(room)
        return self

    def _room(self) -> Room:
        """What whoever enters the box has of it, and has not."""
        sandbox, upper, group = self._sandbox, self._upper, self._group
        person = upper.person if upper else None
        return Room(
            None,
            {},
            SECCOMP_FD if sandbox.means.seccomp is not None else 0,
            uid=person.uid if person else self.uid,
            gid=person.gid if person else None,
            groups=person.groups if person else (),
            users=upper.users if upper else 0,
            doors=group.doors() if group else (),
            rlimits=_rlimits(self._limits, with_processes=group is None),
            network=self._network or "",
        )

    def _join(self, pid: int, line: int) -> None:
        with contextlib.ExitStack() as stack:
            seccomp = self._sandbox.means.seccomp
            fds = {} if seccomp is None else {SECCOMP_FD: stack.enter_context(memory_file(seccomp))}
            self._spawner.keep(replace(self._room(), fds=fds), line, pid)

    def reach(self, host: str, port: int, secure: bool) -> str:
        """Through a doorway in the box's own network; with the host's, directly."""
        if self._shares_host:
            is_here = not secure and (host == "localhost" or host.startswith("127."))
            return (
                f"http://{doorway.NAME}:{port}"
                if is_here
                else f"{'https' if secure else 'http'}://{host}:{port}"
            )
        if not self._network:
            return ""
        if self._doorway is None:
            try:
                namespace = self._sandbox.outside.apart(self._network, way_out=True)
                self._doorway = doorway.Doorway(namespace, host, port, secure=secure)
            except (LauncherGone, SpawnFailed, OSError) as error:
                log.warning("a job cannot reach this server", extra={"reason": str(error)})
                return ""
        return self._doorway.url

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Also: the folders are those that were made for the job, or FoldersMoved."""
        with super().still():
            self._folders.check()
            yield

    def within(self, root: RootFs, shown: Mapping[str, str]) -> BubblewrapBox:
        """Whoever the image's processes run as is this box's user outside, so that the job's files are
        theirs, and whatever they change of the image ends with them. Where roots cannot be made writable, the
        image stays as it is, and its user is the job's."""
        sandbox, own = self._sandbox, f"guest{next(self._guests)}"
        beside = None if self._network is None else self.plan.beside
        plan = replace(self.plan, root=root, beside=beside, container=self.plan.container.limits)
        with contextlib.ExitStack() as undone:
            undone.callback(self._folders.drop, own)
            (self._folders.path / own).mkdir(mode=0o711)
            upper = self._laid_over(root, self._folders.path / own)
            if upper is not None:
                undone.callback(overlay.unmounted, self._spawner, upper)
            seen: dict[str, str] = {}
            undone.callback(self._hide, seen)
            for inside, outside in shown.items():
                seen[inside] = self._pinned(outside)
            guest = BubblewrapBox(sandbox, plan, self._folders, upper, seen, own).opened()
            undone.pop_all()
        return guest

    def _pinned(self, outside: str) -> str:
        """What bwrap calls this folder of the job's, which steps in the background may be moving just now."""
        folder = self._folders.opened(outside)
        try:
            if self._sandbox.means.own_uids:
                return self._spawner.show(folder)
        except (LauncherGone, SpawnFailed, OSError) as error:
            raise SandboxError(f"{outside} cannot be shown to an action: {error}") from error
        finally:
            os.close(folder)
        return outside

    def _hide(self, seen: Mapping[str, str]) -> None:
        if self._sandbox.means.own_uids:
            for name in seen.values():
                with contextlib.suppress(LauncherGone, SpawnFailed):
                    self._spawner.hide(name)

    def _laid_over(self, root: RootFs, folder: Path) -> Upper | None:
        if not (root.layers and self._sandbox.writes_roots()):
            if self._upper is None:
                return None
            raise ImageUnavailable(
                "an action in an image cannot run here in a job that has an image of its own"
            )
        assert self.uid is not None  # noqa: S101 - `writes_roots` asks for own users
        owner = self._upper.owner if self._upper is not None else (self.uid, self.uid)
        person = overlay.person_of(root.path, root.user)
        return overlay.mounted(self._spawner, self.plan.slot, root, folder, person, owner)

    def changed(self) -> tuple[Path, int]:
        """(the image's files as they are now, the first of the users that they belong to), for a box that
        builds an image."""
        assert self._upper is not None  # noqa: S101 - `open` refuses others
        return self._sandbox.seen(self._upper), self._upper.base

    def out_of_memory(self) -> bool:
        """From the memory group's own count."""
        return self._group is not None and self._group.ooms() > self._ooms

    def close(self) -> list[int]:
        """The box's namespace is gone when its keeper is; the group is asked all the same."""
        self._shut()
        if self._own:
            if self._upper is not None:
                overlay.unmounted(self._spawner, self._upper)
            self._hide(self._shown)
            self._folders.drop(self._own)
            return []
        left: list[int] = []
        if self._group is not None:
            self._group.reset()
            left = self._group.kill()
        if self._doorway is not None:
            self._doorway.close()
        if self._upper is not None:
            overlay.unmounted(self._spawner, self._upper)
        self._folders.retire()
        return left


class BubblewrapSandbox:
    """Opens boxes; owns the launcher, the groups and the work folder."""

    def __init__(
        self, means: Means, limits: Limits, work: Path, outside: Outside, notes: tuple[str, ...]
    ) -> None:
        self.means = means
        self.level = means.level
        self.limits = limits
        self.outside = outside
        self.notes = notes
        self.spawner: Spawner = outside.spawner
        self.work = work
        self._folders: dict[int, SlotFolders] = {}
        self._groups: dict[int, cgroups.Slot] = {}
        self._ahead: dict[int, BubblewrapBox] = {}  # by slot; each slot has one user
        self._place = str(work)
        self._etc = work / "etc"
        self._etc_made: set[Network] = set()
        self._etc_lock = threading.Lock()
        self._roots: str | None = None  # why images stay read-only; "" when they need not
        shutil.rmtree(self._etc, ignore_errors=True)
        self._etc.mkdir(parents=True, mode=0o755)
        self._base = self._base_arguments()
        self.on_close: Callable[[], None] = lambda: None

    def open(self, plan: BoxPlan) -> BubblewrapBox:
        """The box that was opened ahead, or fresh folders for the slot and a box over them."""
        ready = self._ahead.pop(plan.slot, None)
        if ready is not None:
            if ready.plan == plan and ready.lives:
                return ready
            ready.close()
        return self._fresh(plan)

    def ahead(self, plan: BoxPlan) -> None:
        """One for each slot."""
        self._ahead[plan.slot] = self.open(plan)

    def _fresh(self, plan: BoxPlan) -> BubblewrapBox:
        uid = FIRST_UID + plan.slot if self.means.own_uids else None
        folders = self._folders.setdefault(plan.slot, SlotFolders(self.work, plan.slot, uid))
        if plan.builds_image and not (plan.root and plan.root.layers and self.writes_roots()):
            raise ImageUnavailable(
                "an image cannot be built here: that needs a runner that is root, podman with overlay storage and Linux 5.19"
            )
        if plan.root is None or not plan.root.layers or not self.writes_roots():
            folders.renew(plan.project)
            return self._box(plan, folders, None)
        person = overlay.person_of(plan.root.path, plan.root.user, plan.container.groups)
        base = overlay.base_of(plan.slot)
        folders.renew(plan.project, (base + person.uid, base + person.gid))
        (folders.path / TEMP).chmod(0o1777)
        with contextlib.ExitStack() as undone:
            undone.callback(folders.remove)  # the slot's next box wants them new
            upper = overlay.mounted(self.spawner, plan.slot, plan.root, folders.path, person)
            undone.callback(overlay.unmounted, self.spawner, upper)
            box = self._box(plan, folders, upper)
            undone.pop_all()
            return box

    def _box(self, plan: BoxPlan, folders: SlotFolders, upper: Upper | None) -> BubblewrapBox:
        try:
            return BubblewrapBox(self, plan, folders, upper).opened()
        except (LauncherGone, SpawnFailed) as error:
            raise SandboxError(f"the job's box could not be made: {error}") from error

    def writes_roots(self) -> bool:
        """Whether images can be made writable here, tried when first asked. Without the filter a job could
        make namespaces in which it is root."""
        with self._etc_lock:
            if self._roots is None:
                able = self.means.own_uids and self.means.seccomp is not None
                trial = self.work / "trial"
                try:
                    self._roots = (
                        overlay.works(self.spawner, trial)
                        if able
                        else "it needs root and a system call filter"
                    )
                finally:
                    shutil.rmtree(trial, ignore_errors=True)
                if self._roots:
                    log.warning("image jobs see their image read-only", extra={"reason": self._roots})
            return not self._roots

    def group(self, slot: int, limits: Limits) -> cgroups.Slot | None:
        """The slot's control groups, made once, with these limits."""
        if self.means.groups is None:
            return None
        if slot not in self._groups:
            self._groups[slot] = self.means.groups.slot(slot)
        self._groups[slot].limit(cgroups.GroupLimits(limits.memory_bytes, limits.processes, limits.cpus))
        return self._groups[slot]

    def close(self) -> None:
        """The launcher's end is the end of every job; groups and folders follow. Boxes that nobody asked for
        go first."""
        for box in self._ahead.values():
            box.close()
        self.spawner.close()
        for group in self._groups.values():
            group.close()
        if self.means.groups:
            self.means.groups.close()
        for folders in self._folders.values():
            folders.remove()
        self.on_close()

    def visible(self, path: str) -> str:
        """The name by which the job's uid reaches a path of ours."""
        if not self.means.own_uids:
            return path
        try:
            return self.spawner.expose(path)
        except (LauncherGone, SpawnFailed, OSError) as error:
            raise SandboxError(f"{path} cannot be shown to a job: {error}") from error

    def _etc_for(self, network: Network) -> str:
        """The folder that is a box's /etc under this network, made when first asked for; as the launcher sees
        it."""
        with self._etc_lock:
            if network not in self._etc_made:
                self._write_etc(self._etc / network.value, network)
                self._etc_made.add(network)
        return f"{self.visible(self._place)}/etc/{network.value}"

    def _write_etc(self, folder: Path, network: Network) -> None:
        fresh = folder.with_suffix(".new")
        fresh.mkdir(parents=True, mode=0o755)
        for path in sorted({*(Path("/etc") / name for name in ETC_COPIED), *Path("/etc").glob("java-*")}):
            _copy(path, fresh / path.name)
        for name in ETC_SHOWN:
            (fresh / name).mkdir()
        resolver = ""
        if network is Network.INTERNET:
            resolver = self.outside.resolver
        elif network is Network.HOST and Path("/etc/resolv.conf").exists():
            resolver = Path("/etc/resolv.conf").read_text(errors="replace")
        ours = {"passwd": PASSWD, "group": GROUP, "hosts": HOSTS, "resolv.conf": resolver}
        for name, text in ours.items():
            (fresh / name).write_text(text, encoding="utf-8")
            (fresh / name).chmod(0o644)
        fresh.rename(folder)

    def _base_arguments(self) -> tuple[str, ...]:
        arguments = [
            "--unshare-all",
            "--unshare-user",
            "--uid",
            INSIDE_ID,
            "--gid",
            INSIDE_ID,
            "--hostname",
            HOSTNAME,
        ]
        arguments += ["--die-with-parent", "--as-pid-1", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        if self.means.disable_userns:
            arguments.append("--disable-userns")
        if self.means.seccomp is not None:
            arguments += ["--seccomp", str(SECCOMP_FD)]
        return tuple(arguments)

    def fixed_arguments(
        self,
        plan: BoxPlan,
        folders: SlotFolders,
        own_network: bool,
        upper: Upper | None,
        shown: Mapping[str, str],
        own: str,
    ) -> list[str]:
        """Everything but environment and working directory. `shown` and `own` as a box has them."""
        connected = own_network or plan.network is Network.HOST
        etc = self._etc_for(plan.network if connected else Network.NONE)
        if upper is not None:
            arguments = overlay.arguments(upper, etc, connected, self.means.disable_userns, plan.container)
            arguments += ("--seccomp", str(SECCOMP_FD))
        else:
            arguments = list(self._base)
            arguments += ["--share-net"] if connected else []
            arguments += self._host_root(etc) if plan.root is None else self._image_root(plan.root, etc)
        arguments += ("--proc", "/proc", "--dev", "/dev")
        arguments += ("--perms", "1777", "--tmpfs", "/dev/shm") if upper is not None else ()  # noqa: S108 - the box's own
        slot = self.visible(self._place) + "/" + folders.path.name
        for name, inside in ((BUILDS, "/builds"), (HOME, INSIDE_HOME), (TEMP, "/tmp")):  # noqa: S108 - the box's own /tmp
            if upper is not None and (name == HOME or (name == TEMP and plan.builds_image)):
                continue  # the image's own
            arguments += ("--bind", f"{slot}/{name}", inside)
        # relative: bwrap makes the folders of binds below it while its new root lies elsewhere
        arguments += ("--symlink", "../tmp", "/var/tmp") if plan.root is None else ()  # noqa: S108
        for name, text in _own_etc(plan).items():
            (folders.path / own / name).write_text(text, encoding="utf-8")
            arguments += ("--ro-bind", f"{slot}/{own}/{name}", f"/etc/{name}")
        for bind in plan.binds:
            arguments += self._bind(bind, folders.path)
        places = self._places(folders, slot, upper, is_guest=bool(own))
        for inside, seen in shown.items():
            arguments += ("--bind", seen, mounts.placed(places, inside))
        arguments += mounts.arguments(plan.container, places)
        # What is left writable is the box's own root, a tmpfs: nobody needs to write there.
        return arguments if upper is not None else [*arguments, "--remount-ro", "/"]

    def _places(
        self, folders: SlotFolders, slot: str, upper: Upper | None, *, is_guest: bool
    ) -> mounts.Places:
        def workspace(path: str) -> str:
            below = f"{BUILDS}{path.removeprefix(WORKSPACES)}"
            folders.within(below)
            return f"{slot}/{below}"

        return mounts.Places(
            self.seen(upper) if upper else None,
            upper.path if upper else "",
            None if is_guest else folders.path / TEMP,
            upper.root if upper else (0, 0),
            upper.person.home if upper else INSIDE_HOME,
            workspace,
        )

    def seen(self, upper: Upper) -> Path:
        """A mounted root, as we see it."""
        return Path(f"/proc/{self.spawner.pid}/root{upper.path}")

    def _bind(self, bind: Bind, slot: Path) -> tuple[str, str, str]:
        path = Path(bind.path)
        if not path.exists():
            raise SandboxError(f"{bind.path} is not on this machine, but the job needs it")
        if self.means.own_uids and path.is_file() and not bind.writable and not path.stat().st_mode & 0o004:
            path = _readable_copy(path, slot / "binds")
        return ("--bind" if bind.writable else "--ro-bind", self.visible(str(path)), bind.path)

    def _host_root(self, etc: str) -> list[str]:
        """This machine's programs with an /etc of ours. Every bind costs bubblewrap a walk of the mount
        table, so they are few."""
        arguments = ["--ro-bind", "/usr", "/usr"]
        for path in TOP_FOLDERS:
            try:
                arguments += ("--symlink", os.readlink(path), path)  # noqa: PTH115 - for each box, and a Path is dear
            except FileNotFoundError:
                continue
            except OSError:  # no link
                arguments += ("--ro-bind", path, path) if os.path.isdir(path) else ()  # noqa: PTH112
        arguments += ("--ro-bind", etc, "/etc")
        for name in ETC_SHOWN:
            path = f"/etc/{name}"
            arguments += ("--ro-bind", path, path) if os.path.isdir(path) else ()  # noqa: PTH112
        return arguments

    def _image_root(self, root: RootFs, etc: str) -> list[str]:
        """The image's folders; /etc entry by entry, because hosts and resolv.conf are ours."""
        arguments: list[str] = []
        for path in sorted(root.path.iterdir()):
            if path.name not in IMAGE_HIDDEN:
                arguments += self._show(path, f"/{path.name}")
        inner = root.path / "etc"
        if inner.is_dir() and not inner.is_symlink():
            for path in sorted(inner.iterdir()):
                if path.name not in ("hosts", "resolv.conf", "mtab"):
                    arguments += self._show(path, f"/etc/{path.name}")
        for name in ("hosts", "resolv.conf"):
            arguments += ("--ro-bind", f"{etc}/{name}", f"/etc/{name}")
        return arguments

    def _show(self, path: Path, name: str) -> tuple[str, ...]:
        """One entry of an image: a link stays a link, so that it cannot lead to ours. Folders are exposed one
        by one, because the image's root itself may be closed to others."""
        if path.is_symlink():
            return ("--symlink", str(path.readlink()), name)
        parent = self.visible(str(path.parent)) + "/" + path.name if path.parent.name == "etc" else ""
        return ("--ro-bind", parent or self.visible(str(path)), name)


def _own_etc(plan: BoxPlan) -> dict[str, str]:
    """Files of /etc that differ from those of other boxes on this network."""
    container, found = plan.container, {}
    rows = [f"{host} {alias}\n" for alias, host in plan.beside.hosts.items()] if plan.beside else []
    rows += [f"{address} {name}\n" for address, name in container.hosts]
    rows += [f"127.0.0.1 {container.hostname}\n"] if container.hostname else []
    if rows:
        found["hosts"] = "".join((HOSTS, *rows))
    if container.resolver:
        found["resolv.conf"] = "".join(f"{line}\n" for line in container.resolver)
    return found


def _readable_copy(path: Path, folder: Path) -> Path:
    """A file of ours that other users may not read, for this one job."""
    folder.mkdir(exist_ok=True, mode=0o711)
    copy = folder / f"{len(list(folder.iterdir()))}"
    shutil.copyfile(path, copy)
    copy.chmod(0o644)
    return copy


def _copy(source: Path, target: Path) -> None:
    """What exists of a file or a small folder; unreadable entries are left out."""
    with contextlib.suppress(OSError):
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        elif source.exists():
            shutil.copyfile(source, target)


def _rlimits(limits: Limits, *, with_processes: bool) -> dict[str, int]:
    """RLIMIT_AS is not among them: it breaks node and java (contracts/reliability.md §6)."""
    found = {"CORE": 0, "NOFILE": limits.open_files}
    if limits.file_bytes:
        found["FSIZE"] = limits.file_bytes
    if with_processes and limits.processes:
        found["NPROC"] = limits.processes
    return found
