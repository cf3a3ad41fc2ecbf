"""System calls that Python lacks, and what /proc tells of processes. Used by the launcher, its keepers and
`accounting.py`; stdlib only.

Processes are looked up through one descriptor of /proc, opened when this is loaded: a keeper sees another
/proc once it has entered its box, and the process numbers of that one mean nothing outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct

CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWUSER = 0x00020000, 0x40000000, 0x10000000
NAMESPACES = {  # the name below /proc/PID/ns, and setns(2)'s flag
    "user": CLONE_NEWUSER, "mnt": CLONE_NEWNS, "pid": 0x20000000, "net": CLONE_NEWNET, "ipc": 0x08000000, "uts": 0x04000000,
    "cgroup": 0x02000000,
}  # fmt: skip
MS_BIND, MS_REC, MS_SLAVE, MNT_DETACH = 0x1000, 0x4000, 0x80000, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION = 0x20080522
MAX_FDS = 32

PROC = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """OSError when a call of `libc` has failed."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def receive(door: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """A message and its descriptors, close-on-exec from the first moment (Python 3.11's `recv_fds` drops the
    flag)."""
    data, ancillary, _, _ = door.recvmsg(size, socket.CMSG_LEN(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC)
    fds = [fd for _, _, raw in ancillary for (fd,) in struct.iter_unpack("i", raw[: len(raw) // 4 * 4])]
    return data, fds


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    check(
        libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()),
        f"mount {source} on {target}",
    )


def die_with_parent(number: int) -> None:
    """The signal comes when the thread that forked us ends. A change of credentials takes this back."""
    libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def proc_file(pid: int, name: str) -> bytes:
    """A file of a process; empty when it has gone."""
    with contextlib.suppress(OSError):
        fd = os.open(f"{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=PROC)
        try:
            return b"".join(iter(lambda: os.read(fd, 1 << 16), b""))
        finally:
            os.close(fd)
    return b""


def children_of(pid: int) -> list[int]:
    """Direct children, over all threads of the process."""
    threads = [str(pid)]
    with contextlib.suppress(OSError):
        fd = os.open(f"{pid}/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=PROC)
        try:
            threads = os.listdir(fd)  # noqa: PTH208 - of a descriptor
        finally:
            os.close(fd)
    return [int(child) for one in threads for child in proc_file(pid, f"task/{one}/children").split()]


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, parents first. A process cannot leave: the box's pid 1 (or the keeper)
    adopts its orphans."""
    found: list[int] = []
    todo = [pid]
    while todo:
        fresh = children_of(todo.pop())
        found.extend(fresh)
        todo.extend(fresh)
    return found


def state_and_session(pid: int) -> tuple[str, int]:
    """As `Z` and the session's number; ("", 0) when it has gone."""
    fields = proc_file(pid, "stat").rpartition(b")")[2].split()
    return (fields[0].decode(), int(fields[3])) if len(fields) > 3 else ("", 0)


def signal_to(pid: int, number: int) -> None:
    """Whoever has gone, or is not ours to signal, is left alone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def enter_namespaces(pid: int) -> None:
    """All of that process that we are not in, at once (Linux 5.8). Its pid namespace is for our children; we
    stay where we are."""
    flags = 0
    for name, flag in NAMESPACES.items():
        with contextlib.suppress(FileNotFoundError):
            there, here = (os.readlink(f"{one}/ns/{name}", dir_fd=PROC) for one in (pid, os.getpid()))
            flags |= flag if there != here else 0
    fd = os.pidfd_open(pid)
    try:
        check(libc.setns(fd, flags), "setns")
    finally:
        os.close(fd)


def _capabilities(pid: int) -> dict[bytes, bytes]:
    return dict(
        line.split(b":\t") for line in proc_file(pid, "status").splitlines() if line.startswith(b"Cap")
    )


def take_privileges_of(pid: int, program: bytes | None) -> None:
    """From now on we may do what that process may and nothing more, under this system call filter: no other
    capability, none to gain."""
    kept = {name: int(value, 16) for name, value in _capabilities(pid).items()}
    more = int(_capabilities(os.getpid())[b"CapBnd"], 16) & ~kept[b"CapBnd"]
    for number in range(more.bit_length()):
        if more >> number & 1:
            check(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "drop a capability")
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    sets = [kept[name] for name in (b"CapEff", b"CapPrm", b"CapInh")]
    data = struct.pack("6I", *(one & 0xFFFFFFFF for one in sets), *(one >> 32 for one in sets))
    check(libc.capset(struct.pack("Ii", CAPABILITY_VERSION, 0), data), "capset")
    if program is not None:
        instructions = ctypes.create_string_buffer(program, len(program))
        wanted = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
        check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, wanted, 0, 0), "system call filter")
