"""Process 1 of a box: it starts the job's steps, one at a time, and tells their end. A page of system calls
that needs neither a library nor an image's shell.

It stands where the job stands: same user, no capability, same system call filter, so whoever it starts has
what a job may have and nothing more. From inside nobody can kill it (process 1 has no handler of any signal),
read it or take its descriptors (it cannot be dumped), or reach its line, which the runner holds the other end
of (`kept.py`). It adopts orphans and buries them. When the line closes it ends, and with it the kernel ends
the box.

A request has three descriptors or more: the order (`order.py`), the pipe that is told the end, and what the
order uses. While a step runs the line is not read. Pure.
"""

from __future__ import annotations

import os
import struct
from functools import cache

from runyard.runner.sandbox.assembly import At, Program, executable, known

PR_SET_DUMPABLE, PR_SET_NAME = 4, 15
MSG_CMSG_CLOEXEC, CLONE_SIGCHLD, WAIT_ALL = 0x40000000, 17, 0x40000000
PROT_ALL, MAP_SHARED_FIXED = 7, 0x11
LINE, ORDER, TOLD, FIRST_GIVEN = 1, 3, 4, 5
LAST_FD = 0x7FFFFFFF
CONTROL_BYTES = 16 + 4 * 8  # one SCM_RIGHTS message of eight descriptors
ORDER_AT, ORDER_BYTES = 0x10000000, 8 << 20  # far from the program itself; an execve takes 6 MiB at most
END = struct.Struct("<qq")  # what is told: wait4's status, and 0 when somebody is left over
EINTR, NO_PROCESS = 4, 126
NO_MORE = b"no further process can be started in this box\n"
PATIENCE_MS = (
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
)  # what was killed a moment ago counts until it has ended and is buried


def _write(program: Program) -> None:
    control = program.data(bytes(CONTROL_BYTES))
    body = program.numbers(0)
    piece = program.numbers(body, 8)
    message = program.numbers(0, 0, piece, 1, control, CONTROL_BYTES, 0)  # struct msghdr
    room_for_fds = message + 40
    end = program.numbers(0, 0)
    status, left = end, end + 8
    step = program.numbers(0)
    name, no_more = program.data(b"init\0"), program.data(NO_MORE)

    program.call("prctl", PR_SET_NAME, name, 0, 0)
    program.call("prctl", PR_SET_DUMPABLE, 0, 0, 0)
    program.label("next")
    program.call("close_range", ORDER, LAST_FD, 0)  # what comes next is then numbered from ORDER on
    program.jump_below(0, "leave")
    program.label("listen")
    program.load(CONTROL_BYTES)
    program.keep(room_for_fds)
    program.call("recvmsg", LINE, message, MSG_CMSG_CLOEXEC)
    program.jump_if(-EINTR, "listen")
    program.jump_below(1, "leave")
    _start(program, step)
    program.label("wait")
    program.call("wait4", -1, status, WAIT_ALL, 0)
    program.jump_if(-EINTR, "wait")
    program.jump_below(0, "leave")
    program.jump_if(At(step), "bury")
    program.jump("wait")
    program.label("bury")
    program.call("wait4", -1, 0, WAIT_ALL | os.WNOHANG, 0)
    program.keep(left)
    program.jump_below(1, "tell")
    program.jump("bury")
    program.label("full")
    program.call("write", FIRST_GIVEN, no_more, len(NO_MORE))
    program.load(NO_PROCESS << 8)
    program.keep(status)
    program.jump("bury")
    program.label("tell")
    program.call("write", TOLD, end, END.size)
    program.jump("next")
    program.label("begin")
    program.call("mmap", ORDER_AT, ORDER_BYTES, PROT_ALL, MAP_SHARED_FIXED, ORDER, 0)
    program.jump_below(0, "leave")
    program.enter(ORDER_AT)
    program.label("leave")
    program.call("exit_group", NO_PROCESS)


def _start(program: Program, step: int) -> None:
    """Goes on to `begin` in the child, to `wait` in process 1, to `full` when there is no room for a
    child."""
    for turn, pause_ms in enumerate((*PATIENCE_MS, 0)):
        program.label(f"sweep {turn}")
        program.call("wait4", -1, 0, WAIT_ALL | os.WNOHANG, 0)
        program.jump_below(1, f"swept {turn}")
        program.jump(f"sweep {turn}")
        program.label(f"swept {turn}")
        program.call("clone", CLONE_SIGCHLD, 0, 0, 0, 0)
        program.jump_if(0, "begin")
        program.keep(step)
        program.jump_below(0, f"refused {turn}")
        program.jump("wait")
        program.label(f"refused {turn}")
        if pause_ms:
            program.call("nanosleep", program.numbers(0, pause_ms * 1_000_000), 0)
    program.jump("full")


@cache
def build(machine: str = "") -> bytes | None:
    """The program for this machine (empty: the one that we run on), or None when its calls are not known
    here."""
    return executable(_write, machine) if known(machine) else None
