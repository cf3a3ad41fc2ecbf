"""The seccomp filter of a box, assembled here: classic BPF for bubblewrap's `--seccomp FD`. Pure; used by
`bubblewrap.py`.

A deny list (contracts/reliability.md §7.5): what only serves escapes answers EPERM, and clone3 and io_uring
answer ENOSYS so that libraries fall back. Foreign-architecture calls (32-bit, x32) answer ENOSYS: their
numbers would slip through a list made for one architecture.
"""

from __future__ import annotations

import platform
import struct

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, JUMP_EQ, JUMP_GE, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
CLONE_NEWUSER = 0x10000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
AF_VSOCK = 40

DENIED: dict[str, tuple[int, int]] = {  # name: (x86_64, aarch64); -1: no such call there
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "open_tree": (428, 428), "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467), "chroot": (161, 51),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "pidfd_getfd": (438, 438),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "create_module": (174, -1),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162), "syslog": (103, 116),
    "lookup_dcookie": (212, 18), "vhangup": (153, 58), "iopl": (172, -1), "ioperm": (173, -1), "nfsservctl": (180, 42),
    "move_pages": (279, 239), "migrate_pages": (256, 238),
}  # fmt: skip
MISSING: dict[str, tuple[int, int]] = {
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "clone3": (435, 435),
}  # fmt: skip
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
CLONE, IOCTL, SOCKET, PRLIMIT = (56, 220), (16, 29), (41, 198), (302, 261)


def _op(code: int, k: int, jt: int = 0, jf: int = 0) -> bytes:
    return struct.pack("<HBBI", code, jt, jf, k)


def _unless(code: int, k: int, verdict: int) -> bytes:
    """Return `verdict` when the test holds, else go on."""
    return _op(code, k, 0, 1) + _op(RETURN, verdict)


def build(machine: str | None = None) -> bytes | None:
    """The program for this machine, or None when its call numbers are not known here."""
    known = ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return None
    audit, column = known
    program = _op(LOAD, 4) + _op(JUMP_EQ, audit, 1, 0) + _op(RETURN, ERRNO | ENOSYS) + _op(LOAD, 0)
    if column == 0:
        program += _unless(JUMP_GE, 0x40000000, ERRNO | ENOSYS)  # x32
    for names, verdict in ((MISSING, ENOSYS), (DENIED, EPERM)):
        for numbers in names.values():
            if numbers[column] >= 0:
                program += _unless(JUMP_EQ, numbers[column], ERRNO | verdict)
    # Arguments are 64 bit; the low halves decide (both machines are little-endian). Each block falls through
    # to ALLOW.
    low = [16, 24]
    for number, offset, code, value, verdict in (
        (CLONE[column], low[0], JUMP_SET, CLONE_NEWUSER, EPERM),
        (IOCTL[column], low[1], JUMP_EQ, TIOCSTI, EPERM),
        (IOCTL[column], low[1], JUMP_EQ, TIOCLINUX, EPERM),
        (SOCKET[column], low[0], JUMP_EQ, AF_VSOCK, EAFNOSUPPORT),
        (PRLIMIT[column], low[0], JUMP_EQ, 1, EPERM),  # process 1 starts the next step
    ):
        block = _op(LOAD, offset) + _unless(code, value, ERRNO | verdict) + _op(LOAD, 0)
        program += _op(JUMP_EQ, number, 0, len(block) // 8) + block
    return program + _op(RETURN, ALLOW)
