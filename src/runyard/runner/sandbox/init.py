"""Process 1 of a box, assembled here as `bpf.py` assembles the filter: an ELF file of some 250 bytes that needs neither a library nor an image's shell.

It ignores SIGCHLD, so that the kernel buries the orphans that it inherits; closes itself to its neighbours (a job runs as the same user); says on its
output that the box stands; and sleeps. As process 1 it cannot be killed from inside, and its end is the end of the box. Pure; used by `bubblewrap.py`.
"""

from __future__ import annotations

import platform
import struct
from functools import cache

SIGCHLD, SIG_IGN, PR_SET_DUMPABLE, PR_SET_NAME = 17, 1, 4, 15
ACTION = struct.pack("<4Q", SIG_IGN, 0, 0, 0)  # struct sigaction of the kernel
NAME, READY = b"init\0", b"\n"
BASE, EHDR, PHDR = 0x400000, 64, 56
CALLS = {
    "rt_sigaction": (13, 134),
    "prctl": (157, 167),
    "write": (1, 64),
    "ppoll": (271, 73),
}  # (x86_64, aarch64)


def _x86_64(number: int, *arguments: int) -> bytes:
    """mov eax, number; mov edi/esi/edx/r10d, argument; syscall."""
    loads = zip((b"\xbf", b"\xbe", b"\xba", b"\x41\xba"), arguments, strict=False)
    code = (
        b"\xb8" + struct.pack("<I", number) + b"".join(op + struct.pack("<I", value) for op, value in loads)
    )
    return code + b"\x0f\x05"


def _aarch64(number: int, *arguments: int) -> bytes:
    """movz and movk of x8, number and of x0…x3, arguments; svc 0."""
    words = []
    for register, value in ((8, number), *enumerate(arguments)):
        words.append(0xD2800000 | (value & 0xFFFF) << 5 | register)
        words.append(0xF2A00000 | (value >> 16) << 5 | register)
    return struct.pack(f"<{len(words) + 1}I", *words, 0xD4000001)


def _jump(machine: str, size: int) -> bytes:
    """Back over so many bytes."""
    return (
        b"\xeb" + struct.pack("<b", -size - 2)
        if machine == "x86_64"
        else struct.pack("<I", 0x14000000 | (-size // 4 & 0x3FFFFFF))
    )


MACHINES = {
    "x86_64": (62, 0, _x86_64),
    "aarch64": (183, 1, _aarch64),
}  # ELF's number of the machine, column of CALLS, its call


@cache
def build(machine: str | None = None) -> bytes | None:
    """The program for this machine, or None when its calls are not known here."""
    machine = machine or platform.machine()
    if machine not in MACHINES:
        return None
    kind, column, call = MACHINES[machine]
    number = {name: numbers[column] for name, numbers in CALLS.items()}

    def code(data_at: int) -> bytes:
        sleep = call(number["ppoll"], 0, 0, 0, 0)
        return (
            call(number["rt_sigaction"], SIGCHLD, data_at, 0, 8)
            + call(number["prctl"], PR_SET_NAME, data_at + len(ACTION), 0, 0)
            + call(number["prctl"], PR_SET_DUMPABLE, 0, 0, 0)
            + call(number["write"], 1, data_at + len(ACTION) + len(NAME), len(READY))
            + sleep
            + _jump(machine, len(sleep))
        )

    begin = BASE + EHDR + PHDR
    body = code(begin + len(code(0))) + ACTION + NAME + READY
    size = EHDR + PHDR + len(body)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, kind, 1, begin, EHDR, 0, 0, EHDR, PHDR, 1, 0, 0, 0)  # fmt: skip
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x10000) + body
