"""Programs that do nothing but system calls, assembled here for x86_64 and aarch64: no library, no stack,
nothing to load, a hundredth of a Python's fork.

One register, the accumulator, holds the result of the last call; everything else stands in cells of the
program's own data. Pure; what is written in it: process 1 of a box (`init.py`), the way there (`entry.py`)
and the start of each step (`order.py`).
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass

CELL_BYTES = 8
CALLS = {  # (x86_64, aarch64)
    "chdir": (80, 49), "clone": (56, 220), "close_range": (436, 436), "dup3": (292, 24), "execve": (59, 221), "exit_group": (231, 94),
    "getpid": (39, 172), "mmap": (9, 222), "nanosleep": (35, 101), "openat": (257, 56), "prctl": (157, 167), "prlimit64": (302, 261), "recvmsg": (47, 212),
    "setgroups": (116, 159), "setns": (308, 268), "setresgid": (119, 149), "setresuid": (117, 147), "setsid": (112, 157), "umask": (95, 166),
    "wait4": (61, 260), "write": (1, 64),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class At:
    """As an operand: not this address, but what stands there."""

    address: int


class _X86_64:
    """Manual: Intel SDM, volume 2. Addresses are absolute, below 2^31."""

    elf, column = 62, 0
    _arguments = (0x48, 7), (0x48, 6), (0x48, 2), (0x4C, 2), (0x4C, 0), (0x4C, 1)  # rdi rsi rdx r10 r8 r9

    def argument(self, index: int, operand: int | At) -> bytes:
        prefix, register = self._arguments[index]
        if isinstance(operand, At):  # mov register, [address]
            return bytes((prefix, 0x8B, register << 3 | 4, 0x25)) + struct.pack("<i", operand.address)
        return bytes((0x49 if prefix == 0x4C else 0x48, 0xC7, 0xC0 | register)) + struct.pack("<i", operand)

    def call(self, number: int) -> bytes:
        return b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"  # mov eax, number; syscall

    def load(self, operand: int | At) -> bytes:
        if isinstance(operand, At):
            return b"\x48\x8b\x04\x25" + struct.pack("<i", operand.address)
        return b"\x48\xc7\xc0" + struct.pack("<i", operand)

    def keep(self, cell: int) -> bytes:
        return b"\x48\x89\x04\x25" + struct.pack("<i", cell)

    def compare(self, operand: int | At) -> bytes:
        if isinstance(operand, At):
            return b"\x48\x3b\x04\x25" + struct.pack("<i", operand.address)
        return b"\x48\x3d" + struct.pack("<i", operand)

    def jump(self, condition: str, distance: int) -> bytes:
        """`distance` is counted from this instruction's first byte."""
        code = {"always": b"\xe9", "equal": b"\x0f\x84", "less": b"\x0f\x8c"}[condition]
        return code + struct.pack("<i", distance - len(code) - 4)

    def enter(self) -> bytes:
        return b"\xff\xe0"  # jmp rax


class _Aarch64:
    """Manual: Arm ARM, C6. x9 and x10 are for what an instruction needs besides."""

    elf, column = 183, 1

    @staticmethod
    def _words(*words: int) -> bytes:
        return struct.pack(f"<{len(words)}I", *words)

    def _number(self, register: int, value: int) -> bytes:
        """movz, then movk for each further half word: always four, so that a program's size does not depend
        on its numbers."""
        halves = [value >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
        return self._words(
            *(
                (0xF2800000 if index else 0xD2800000) | index << 21 | half << 5 | register
                for index, half in enumerate(halves)
            )
        )

    def _fetched(self, register: int, operand: int | At) -> bytes:
        if isinstance(operand, At):  # ldr register, [x9]
            return self._number(9, operand.address) + self._words(0xF9400000 | 9 << 5 | register)
        return self._number(register, operand)

    def argument(self, index: int, operand: int | At) -> bytes:
        return self._fetched(index, operand)

    def call(self, number: int) -> bytes:
        return self._number(8, number) + self._words(0xD4000001)  # svc 0

    def load(self, operand: int | At) -> bytes:
        return self._fetched(0, operand)

    def keep(self, cell: int) -> bytes:
        return self._number(9, cell) + self._words(0xF9000000 | 9 << 5)  # str x0, [x9]

    def compare(self, operand: int | At) -> bytes:
        return self._fetched(10, operand) + self._words(0xEB0A001F)  # cmp x0, x10

    def jump(self, condition: str, distance: int) -> bytes:
        if condition == "always":
            return self._words(0x14000000 | distance // 4 & 0x3FFFFFF)
        return self._words(0x54000000 | (distance // 4 & 0x7FFFF) << 5 | {"equal": 0, "less": 11}[condition])

    def enter(self) -> bytes:
        return self._words(0xD61F0000)  # br x0


_MACHINES: dict[str, _X86_64 | _Aarch64] = {"x86_64": _X86_64(), "aarch64": _Aarch64()}


def known(machine: str = "") -> bool:
    """Whether programs can be made for this machine (empty: the one that we run on)."""
    return (machine or platform.machine()) in _MACHINES


class Program:
    """Written from top to bottom. It must be put at `base`; its data come first, and are all writable."""

    def __init__(self, base: int, machine: str = "") -> None:
        self._machine = _MACHINES[machine or platform.machine()]
        self._base = base
        self._data = bytearray()
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str, str]] = []  # (where, condition, label)

    def data(self, content: bytes) -> int:
        """The address of these bytes."""
        self._data += bytes(-len(self._data) % CELL_BYTES)
        address = self._base + len(self._data)
        self._data += content
        return address

    def numbers(self, *values: int) -> int:
        """The address of as many cells."""
        return self.data(struct.pack(f"<{len(values)}Q", *values))

    def texts(self, values: list[bytes]) -> int:
        """The address of what execve takes: pointers to the texts, and a zero."""
        return self.numbers(*[self.data(value + b"\0") for value in values], 0)

    def call(self, name: str, *operands: int | At) -> None:
        """The result is in the accumulator: negative, the number of an error."""
        for index, operand in enumerate(operands):
            self._code += self._machine.argument(index, operand)
        self._code += self._machine.call(CALLS[name][self._machine.column])

    def load(self, operand: int | At) -> None:
        """Into the accumulator."""
        self._code += self._machine.load(operand)

    def keep(self, cell: int) -> None:
        """The accumulator, in a cell."""
        self._code += self._machine.keep(cell)

    def label(self, name: str) -> None:
        """A place to jump to."""
        self._labels[name] = len(self._code)

    def jump(self, label: str) -> None:
        """In any case."""
        self._jump("always", label)

    def jump_if(self, operand: int | At, label: str) -> None:
        """When the accumulator is that."""
        self._code += self._machine.compare(operand)
        self._jump("equal", label)

    def jump_below(self, operand: int, label: str) -> None:
        """When the accumulator is less."""
        self._code += self._machine.compare(operand)
        self._jump("less", label)

    def enter(self, cell: int) -> None:
        """Goes on in another program, whose first instruction is where the cell says."""
        self._code += self._machine.load(At(cell)) + self._machine.enter()

    def _jump(self, condition: str, label: str) -> None:
        self._jumps.append((len(self._code), condition, label))
        self._code += self._machine.jump(condition, 0)

    @property
    def size(self) -> int:
        """Of the code so far: different after each instruction."""
        return len(self._code)

    def image(self) -> tuple[bytes, int]:
        """(all that is to stand at `base`, the address of the first instruction)."""
        for at, condition, label in self._jumps:
            code = self._machine.jump(condition, self._labels[label] - at)
            self._code[at : at + len(code)] = code
        self._data += bytes(-len(self._data) % CELL_BYTES)
        return bytes(self._data + self._code), self._base + len(self._data)


EXECUTABLE_AT, HEADERS_BYTES = 0x400000, 64 + 56


def executable(write: Callable[[Program], None], machine: str = "") -> bytes:
    """A program as an ELF file with one segment."""
    program = Program(EXECUTABLE_AT + HEADERS_BYTES, machine)
    write(program)
    body, entry = program.image()
    size = HEADERS_BYTES + len(body)
    kind = _MACHINES[machine or platform.machine()].elf
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, kind, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)  # fmt: skip
    return head + struct.pack("<IIQQQQQQ", 1, 7, 0, EXECUTABLE_AT, EXECUTABLE_AT, size, size, 0x10000) + body
