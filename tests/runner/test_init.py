"""Process 1 of a box: the native one is run, the other machine's is read instruction by instruction (and run, where qemu-user is installed)."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.runner.sandbox.init import build

SIGCHLD = 17


def started(argv: list[str], program: Path, image: bytes) -> subprocess.Popen[bytes]:
    program.write_bytes(image)
    program.chmod(0o755)
    return subprocess.Popen([*argv, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> str:
    process.kill()
    _, said = process.communicate(timeout=20)
    return said.decode()


def ignored(status: str) -> int:
    """The mask of signals that a process ignores."""
    return int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)


@pytest.mark.skipif(build() is None, reason="no program is known for this machine")
def test_it_says_that_it_stands_and_stays(tmp_path: Path) -> None:
    image = build()
    assert image is not None
    process = started([], tmp_path / "program", image)
    assert process.stdout is not None and process.stdout.read(1) == b"\n"
    status = Path(f"/proc/{process.pid}/status").read_text()
    inherited = ignored(Path("/proc/self/status").read_text())  # HUP, where the tests run under nohup
    try:
        assert ignored(status) & ~inherited == 1 << (SIGCHLD - 1)
    except AssertionError:
        ended(process)
        raise
    assert status.startswith("Name:\tinit\n")
    if os.getuid() == 0:  # what cannot be dumped belongs to root in /proc
        assert Path(f"/proc/{process.pid}/mem").stat().st_uid == 0
    until = time.monotonic() + 20
    while "S (sleeping)" not in Path(f"/proc/{process.pid}/status").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert process.poll() is None
    ended(process)


Call = tuple[int, list[int]]


def calls_of(image: bytes) -> Iterator[Call]:
    """(number, x0…x4) of each system call until the program jumps back, by Arm's manual: movz, movk, svc 0, b."""
    (entry,) = struct.unpack_from("<Q", image, 24)
    base, at = 0x400000, 0
    registers = [0] * 31
    at = entry - base
    while True:
        (word,) = struct.unpack_from("<I", image, at)
        if word == 0xD4000001:
            yield registers[8], registers[:5]
        elif word >> 26 == 0b000101:
            steps = (word & 0x3FFFFFF) - (1 << 26 if word & 1 << 25 else 0)
            assert steps < 0
            yield -1, [at + 4 * steps]
            return
        else:
            kind, half, value, register = word >> 23, word >> 21 & 3, word >> 5 & 0xFFFF, word & 31
            assert kind in (0b110100101, 0b111100101), hex(word)  # movz, movk of 64 bits
            kept = 0 if kind == 0b110100101 else registers[register] & ~(0xFFFF << 16 * half)
            registers[register] = kept | value << 16 * half
        at += 4


def test_the_program_for_aarch64_says_the_same_in_its_own_words() -> None:
    image = build("aarch64")
    assert image is not None and image[:7] == b"\x7fELF\x02\x01\x01"
    assert struct.unpack_from("<HH", image, 16) == (2, 183)  # an executable for AArch64

    def data(address: int, size: int) -> bytes:
        return image[address - 0x400000 :][:size]

    # Numbers of include/uapi/asm-generic/unistd.h.
    action, name, dumpable, ready, sleep, jump = calls_of(image)
    assert (action[0], action[1][0], action[1][2:4]) == (134, SIGCHLD, [0, 8])
    assert data(action[1][1], 32) == struct.pack("<4Q", 1, 0, 0, 0)  # SIG_IGN
    assert (name[0], name[1][0], data(name[1][1], 5)) == (167, 15, b"init\0")
    assert (dumpable[0], dumpable[1][:2]) == (167, [4, 0])
    assert (ready[0], ready[1][0], data(ready[1][1], ready[1][2])) == (64, 1, b"\n")
    assert (sleep[0], sleep[1][:4]) == (73, [0, 0, 0, 0])
    # It jumps back to the first word of ppoll: loading its number.
    (word,) = struct.unpack_from("<I", image, jump[1][0])
    assert (word & 31, word >> 5 & 0xFFFF) == (8, 73)
    assert len(image) == struct.unpack_from("<Q", image, 64 + 32)[0]


QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")


@pytest.mark.skipif(
    QEMU is None and platform.machine() != "aarch64", reason="qemu-user-static is not installed"
)
def test_the_program_for_aarch64_runs(tmp_path: Path) -> None:
    image = build("aarch64")
    assert image is not None
    process = started([QEMU, "-strace"] if QEMU else [], tmp_path / "program", image)
    assert process.stdout is not None and process.stdout.read(1) == b"\n"
    said = ended(process)
    if QEMU:
        assert [line.split("(")[0].split()[1] for line in said.splitlines()][:4] == [
            "rt_sigaction",
            "prctl",
            "prctl",
            "write",
        ]
