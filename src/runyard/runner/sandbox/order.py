"""The start of one step, as a program that process 1's child enters (`init.py`): a session of its own,
descriptors, working directory, execve. Pure.

It looks a name up along PATH as execvp(3) does, because only inside it is known what is there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from runyard.runner.sandbox.assembly import At, Program
from runyard.runner.sandbox.init import FIRST_GIVEN, ORDER_AT, ORDER_BYTES

AT_FDCWD, O_CLOEXEC = -100, 0x80000
NOT_FOUND, NOT_RUN = 127, 126
SHELL = b"/bin/sh"  # of a script that does not name its own, as execvp has it
MOST_FOLDERS = 64
PID_AT = 8  # where in its order a step writes the number that it has inside
TOLD_OF = (
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOEXEC, errno.E2BIG, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOMEM,
    errno.EISDIR, errno.ETXTBSY, errno.EIO, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EINVAL,
)  # fmt: skip


def order(
    argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Sequence[int], machine: str = ""
) -> bytes | None:
    """What the first request descriptor holds; `fds` are the numbers of the others. None when it is beyond
    what can be ordered this way; ValueError for what no process can be given."""
    if any("\0" in text for text in (*argv, *env, *env.values(), cwd)):
        raise ValueError("a NUL byte in an argument or variable")
    folders = (env.get("PATH") or os.defpath).split(":")
    paths = [argv[0]] if "/" in argv[0] else [f"{folder or '.'}/{argv[0]}" for folder in folders]
    if len(paths) > MOST_FOLDERS:
        return None
    program = Program(ORDER_AT, machine)
    head = program.numbers(0, 0)
    words = [_bytes(one) for one in argv]
    arguments = program.texts(words)
    environment = program.texts([_bytes(f"{key}={value}") for key, value in env.items()])
    trouble = program.numbers((1 << 64) - errno.ENOENT)

    program.call("getpid")
    program.keep(head + PID_AT)
    program.call("setsid")
    program.call("openat", AT_FDCWD, program.data(b"/dev/null\0"), O_CLOEXEC, 0)
    null = program.numbers(0)
    program.keep(null)
    program.call("dup3", At(null), 0, 0)
    for index, number in enumerate(fds):
        program.call("dup3", FIRST_GIVEN + index, number, 0)
    program.call("chdir", program.data(_bytes(cwd) + b"\0"))
    program.keep(trouble)
    program.jump_below(0, "failed")
    program.load(-errno.ENOENT)
    program.keep(trouble)
    for index, path in enumerate(_bytes(one) for one in paths):
        _attempt(program, index, path, arguments, words, environment, trouble)
    program.label("failed")
    _say_why(program, f"cannot run {argv[0]} in {cwd}: ", trouble)
    body, entry = program.image()
    return entry.to_bytes(8, "little") + body[8:] if len(body) < ORDER_BYTES else None


def _attempt(
    program: Program, index: int, path: bytes, arguments: int, words: list[bytes], environment: int, trouble: int
) -> None:  # fmt: skip
    """Goes on to the next one where there is no such program; one that may not be run is remembered."""
    here, following, script = program.data(path + b"\0"), f"after {index}", f"script {index}"
    program.call("execve", here, arguments, environment)
    program.jump_if(-errno.ENOEXEC, script)
    program.jump_if(-errno.ENOENT, following)
    program.jump_if(-errno.ENOTDIR, following)
    program.keep(trouble)
    program.jump_if(-errno.EACCES, following)
    program.jump_if(-errno.EPERM, following)
    program.jump("failed")
    program.label(script)
    program.call("execve", program.data(SHELL + b"\0"), program.texts([SHELL, path, *words[1:]]), environment)
    program.keep(trouble)
    program.jump("failed")
    program.label(following)


def _say_why(program: Program, sentence: str, trouble: int) -> None:
    for number in TOLD_OF:
        program.load(At(trouble))
        program.jump_if(-number, f"error {number}")
    _end(program, f"{sentence}unknown error\n", NOT_RUN)
    for number in TOLD_OF:
        program.label(f"error {number}")
        _end(program, f"{sentence}{os.strerror(number)}\n", NOT_FOUND if number == errno.ENOENT else NOT_RUN)


def _end(program: Program, sentence: str, code: int) -> None:
    text = sentence.encode("utf-8", "replace")
    program.call("write", 2, program.data(text), len(text))
    program.call("exit_group", code)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
