"""The way into a box, as a program that the launcher starts: into control groups and namespaces, out of our
privileges, and on as bubblewrap. Pure.

Descriptors have agreed numbers here. The box's line is bubblewrap's output, so that it can say what is wrong,
and later process 1's own (`init.py`).
"""

from __future__ import annotations

import resource
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache

from runyard.runner.sandbox.assembly import Program, executable
from runyard.runner.sandbox.init import LAST_FD

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
ARGS_FD, SECCOMP_FD, INIT_FD = 210, 211, 212  # bubblewrap's; all above what a launcher has open
WAY_FD, NETWORK_FD, USERS_FD, DOORS_FD = 213, 214, 215, 216
ENVIRONMENT = (b"PATH=/bin:/usr/bin",)


@lru_cache(maxsize=64)
def way_in(
    argv: tuple[str, ...],
    doors: int,
    has_network: bool,
    has_users: bool,
    rlimits: tuple[tuple[str, int], ...],
    person: tuple[int, int, tuple[int, ...]] | None,
    machine: str = "",
) -> bytes:
    """The program, for a number of control groups and whoever (uid, gid, groups) bubblewrap runs as; None: as
    ourselves."""

    def write(program: Program) -> None:
        _must(program, "let go of what is the launcher's", "close_range", 3, ARGS_FD - 1, 0)
        zero = program.data(b"0")
        for number in range(doors):
            _must(program, "enter the job's control group", "write", DOORS_FD + number, zero, 1)
        if has_network:
            _must(program, "enter the job's network", "setns", NETWORK_FD, CLONE_NEWNET)
        for name, value in rlimits:
            limit = program.numbers(value, value)
            _must(program, f"set the limit {name}", "prlimit64", 0, _number(name), limit, 0)
        if has_users:  # last of all: from here on we are root in there and nobody here
            _must(program, "enter the job's users", "setns", USERS_FD, CLONE_NEWUSER)
        if person is not None:
            uid, gid, groups = person
            listed = program.data(struct.pack(f"<{len(groups)}I", *groups))
            _must(program, "set the groups", "setgroups", len(groups), listed)
            _must(program, "set the group", "setresgid", gid, gid, gid)
            _must(program, "set the user", "setresuid", uid, uid, uid)
        program.call("umask", 0o022)
        _must(program, "let go of what led here", "close_range", INIT_FD + 1, LAST_FD, 0)
        words, environment = program.texts([one.encode() for one in argv]), program.texts([*ENVIRONMENT])
        path = program.data(argv[0].encode() + b"\0")
        _must(program, f"start {argv[0]}", "execve", path, words, environment)

    return executable(write, machine)


def _must(program: Program, purpose: str, name: str, *operands: int) -> None:
    """A call without which there is no box."""
    text = f"it was not possible to {purpose}".encode()
    failed, done = f"failed {program.size}", f"done {program.size}"
    program.call(name, *operands)
    program.jump_below(0, failed)
    program.jump(done)
    program.label(failed)
    program.call("write", 2, program.data(text), len(text))
    program.call("exit_group", 1)
    program.label(done)


def _number(name: str) -> int:
    found: int = getattr(resource, f"RLIMIT_{name}")
    return found


def within_ours(rlimits: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Nobody may raise what he was given."""
    found: list[tuple[str, int]] = []
    for name, value in rlimits.items():
        hard = resource.getrlimit(_number(name))[1]
        found.append((name, value if hard == resource.RLIM_INFINITY else min(value, hard)))
    return tuple(found)


def numbered(
    line: int, way: int, given: Mapping[int, int], doors: Sequence[int]
) -> tuple[list[int], list[int]]:
    """(descriptors of ours, the numbers that the program knows them by)."""
    table = {1: line, 2: line, WAY_FD: way, **given, **dict(enumerate(doors, DOORS_FD))}
    return list(table.values()), list(table)
