"""Programs of system calls: process 1 of a box and the steps that it starts, run as they are on this machine,
under qemu-user for the other one where that is installed, and on a processor of our own that reads aarch64's
instructions as Arm's manual has them."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runyard.runner.sandbox.assembly import EXECUTABLE_AT, Program, known
from runyard.runner.sandbox.init import END, NO_MORE, ORDER_AT, ORDER_BYTES, PATIENCE_MS, build
from runyard.runner.sandbox.order import MOST_FOLDERS, PID_AT, order
from runyard.runner.sandbox.spawner import memory_of

QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
native = pytest.param(
    "", marks=pytest.mark.skipif(not known(), reason="no program is known for this machine")
)
other = pytest.param(
    "aarch64",
    marks=pytest.mark.skipif(
        QEMU is None and platform.machine() != "aarch64", reason="qemu-user-static is not installed"
    ),
)
PATH = {"PATH": "/usr/bin:/bin"}


class Running:
    """Process 1's program outside of any box, and what is said to it."""

    def __init__(self, machine: str, folder: Path) -> None:
        image = build(machine)
        assert image is not None
        self._machine = machine
        program = folder / "program"
        program.write_bytes(image)
        program.chmod(0o755)
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [QEMU] if machine == "aarch64" and QEMU and platform.machine() != machine else []
        with theirs:
            self.process = subprocess.Popen([*argv, str(program)], stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL)  # fmt: skip

    def run(self, argv: list[str], env: dict[str, str] | None = None, cwd: str = "/") -> tuple[int, bool, str]:  # fmt: skip
        """(exit code, whether somebody is left over, output)."""
        body = order(argv, PATH if env is None else env, cwd, [1, 2], self._machine)
        assert body is not None
        read_end, write_end = os.pipe()
        told, tell = os.pipe()
        memory = memory_of(body)
        socket.send_fds(self.line, [b"run"], [memory, tell, write_end, write_end])
        for fd in (tell, write_end):
            os.close(fd)
        with os.fdopen(read_end, "rb") as output, os.fdopen(told, "rb") as end:
            said, ended = output.read(), end.read()
        assert int.from_bytes(os.pread(memory, 8, PID_AT), "little") > 1
        os.close(memory)
        status, left = END.unpack(ended)
        return os.waitstatus_to_exitcode(status), left == 0, said.decode()


@contextmanager
def started(machine: str, folder: Path) -> Iterator[Running]:
    running = Running(machine, folder)
    try:
        yield running
    finally:
        running.line.close()
        assert running.process.wait(20) == 126  # it ends with its line


@pytest.mark.parametrize("machine", [native, other])
def test_it_starts_one_after_the_other_and_tells_their_end(machine: str, tmp_path: Path) -> None:
    with started(machine, tmp_path) as one:
        assert one.run(["/bin/sh", "-c", 'echo "$WORD" "$1"; pwd; exit 3', "sh", "ü"], {"WORD": "ä"}, "/usr") == (3, False, "ä ü\n/usr\n")  # fmt: skip
        assert one.run(["sh", "-c", "echo out; echo err >&2; kill -KILL $$"]) == (-9, False, "out\nerr\n")
        assert one.run(["sh", "-c", "ls /proc/self/fd | wc -l; cat"]) == (0, False, "4\n")  # and ls's own
        assert one.run(["true"]) == (0, False, "")


@pytest.mark.parametrize("machine", [native, other])
def test_what_cannot_be_run_says_why(machine: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo from $0 $1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").write_text("#!/nonesuch\n")
    with started(machine, tmp_path) as one:
        assert one.run(["nonesuch"]) == (127, False, "cannot run nonesuch in /: No such file or directory\n")
        assert one.run(["true"], cwd="/nonesuch") == (127, False, "cannot run true in /nonesuch: No such file or directory\n")  # fmt: skip
        assert one.run([str(plain)]) == (126, False, f"cannot run {plain} in /: Permission denied\n")
        assert one.run(["tool"], {"PATH": f"{tmp_path}/bin:/usr/bin"}) == (126, False, "cannot run tool in /: Permission denied\n")  # fmt: skip
        assert one.run(["true", "x" * 200_000]) == (126, False, "cannot run true in /: Argument list too long\n")  # fmt: skip
        plain.chmod(0o755)  # it names no shell
        assert one.run(["plain", "it"], {"PATH": f"/nonesuch:{tmp_path}"}) == (0, False, f"from {tmp_path}/plain it\n")  # fmt: skip


@pytest.mark.skipif(not known(), reason="no program is known for this machine")
def test_nobody_reads_it_and_its_name_is_init(tmp_path: Path) -> None:
    with started("", tmp_path) as one:
        assert one.run(["true"])[0] == 0
        place = Path(f"/proc/{one.process.pid}")
        assert (place / "comm").read_text() == "init\n"
        caught = next(
            line for line in (place / "status").read_text().splitlines() if line.startswith("SigCgt")
        )
        assert int(caught.split()[1], 16) == 0  # so that the kernel lets no signal from inside reach it
        if os.getuid() == 0:  # what cannot be dumped belongs to root in /proc
            assert (place / "mem").stat().st_uid == 0


def test_what_is_beyond_an_order_is_said_before() -> None:
    many = ":".join(f"/{number}" for number in range(MOST_FOLDERS + 1))
    assert order(["tool"], {"PATH": many}, "/", [1, 2], "x86_64") is None
    assert order(["/tool"], {"PATH": many}, "/", [1, 2], "x86_64") is not None
    assert order(["/tool"], {"BIG": "x" * ORDER_BYTES}, "/", [1, 2], "x86_64") is None
    with pytest.raises(ValueError, match="NUL"):
        order(["/tool"], {"BAD": "a\0b"}, "/", [1, 2], "x86_64")


Kernel = Callable[["Arm", int, list[int]], int]


class Arm:
    """Executes a program for aarch64; `kernel` answers its system calls: number and x0…x5."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.memory: dict[int, bytearray] = {}
        self.x = [0] * 31
        self.result = 0  # of the last comparison

    def bytes(self, address: int, size: int) -> bytearray:
        start, block = next(
            (start, block)
            for start, block in self.memory.items()
            if start <= address and address + size <= start + len(block)
        )
        return block[address - start : address - start + size]

    def put(self, address: int, data: bytes) -> None:
        start, block = next(
            (start, block) for start, block in self.memory.items() if start <= address < start + len(block)
        )
        block[address - start : address - start + len(data)] = data

    def number(self, address: int) -> int:
        return int.from_bytes(self.bytes(address, 8), "little")

    def go(self, at: int) -> None:
        x = self.x
        while True:
            (word,) = struct.unpack("<I", self.bytes(at, 4))
            register, second = word & 31, word >> 5 & 31
            step = 4
            match word >> 21:
                case kind if kind >> 2 in (0b110100101, 0b111100101):  # movz, movk
                    half = kind & 3
                    before = x[register] & ~(0xFFFF << 16 * half) if kind >> 2 == 0b111100101 else 0
                    x[register] = before | (word >> 5 & 0xFFFF) << 16 * half
                case 0b11111000010 | 0b11111001010 if word >> 22 == 0b1111100101:  # ldr, unsigned offset
                    x[register] = self.number(x[second] + 8 * (word >> 10 & 0xFFF))
                case 0b11111001000:  # str
                    self.put(x[second] + 8 * (word >> 10 & 0xFFF), x[register].to_bytes(8, "little"))
                case 0b11101011000:  # cmp, shifted register
                    assert register == 31
                    self.result = _signed(x[second]) - _signed(x[word >> 16 & 31])
                case _ if word == 0xD4000001:  # svc 0
                    x[0] = self.kernel(self, x[8], x[:6]) & (1 << 64) - 1
                case _ if word >> 26 == 0b000101:  # b
                    step = 4 * _signed(word & 0x3FFFFFF, 26)
                case _ if word >> 24 == 0b01010100:  # b.eq, b.lt
                    holds = {0: self.result == 0, 11: self.result < 0}[word & 15]
                    step = 4 * _signed(word >> 5 & 0x7FFFF, 19) if holds else 4
                case _ if word & 0xFFFFFC1F == 0xD61F0000:  # br
                    step = x[second] - at
                case _:
                    raise AssertionError(f"{word:#x} at {at:#x}")
            at += step


def _signed(value: int, bits: int = 64) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


class Over(Exception):
    """The program has ended."""


# Numbers of include/uapi/asm-generic/unistd.h.
NAMES = {
    167: "prctl", 436: "close_range", 212: "recvmsg", 220: "clone", 260: "wait4", 64: "write", 94: "exit_group", 222: "mmap", 172: "getpid",
    157: "setsid", 101: "nanosleep", 56: "openat", 24: "dup3", 49: "chdir", 221: "execve",
}  # fmt: skip


def test_the_program_for_aarch64_does_it_by_arms_manual() -> None:
    image = build("aarch64")
    assert image is not None and struct.unpack_from("<HH", image, 16) == (2, 183)  # an executable for AArch64
    (entry,) = struct.unpack_from("<Q", image, 24)
    body = order(["/bin/tool", "word"], {"KEY": "value"}, "/place", [1, 2], "aarch64")
    assert body is not None
    said: list[str] = []
    # Three requests: a step that leaves an orphan which ends later; one that finds a process more only once
    # others have ended and are buried; one that finds none. Then the line ends.
    answers = {
        "recvmsg": [-4, 3, 3, 3, 0],
        "clone": [7, -11, 12, *[-11] * (len(PATIENCE_MS) + 1)],
        "wait4": [-10, 9, 7, 8, 0, 11, 0, 0, 12, -10, *[-10] * (len(PATIENCE_MS) + 1), -10],
    }

    def kernel(arm: Arm, number: int, x: list[int]) -> int:
        name = NAMES[number]
        match name:
            case "write" if x[2] == END.size:
                status, left = END.unpack(arm.bytes(x[1], x[2]))
                said.append(f"{x[0]} is told {status}, {left}")
            case "write":
                said.append(f"{x[0]} reads {bytes(arm.bytes(x[1], x[2]))!r}")
            case "wait4":
                if x[1]:
                    arm.put(x[1], (512).to_bytes(4, "little"))
                said.append(f"wait4 {x[2] & os.WNOHANG}")
            case "recvmsg":
                assert x[2] == 0x40000000 and arm.number(x[1] + 40) == 48
                arm.put(x[1] + 40, bytes(8))  # as the kernel says how much there was
                said.append(f"listens on {x[0]}")
            case "exit_group":
                raise Over
            case "nanosleep":
                assert arm.number(x[0]) == 0
                said.append(f"pauses {arm.number(x[0] + 8) // 1_000_000} ms")
            case _:
                said.append(name)
        return answers[name].pop(0) if name in answers else 0

    arm = Arm(kernel)
    arm.memory[EXECUTABLE_AT] = bytearray(image)
    with pytest.raises(Over):
        arm.go(entry)
    tried = ["wait4 1", "clone"]
    for pause_ms in PATIENCE_MS:
        tried += [f"pauses {pause_ms} ms", "wait4 1", "clone"]
    assert said == [
        "prctl", "prctl", "close_range", "listens on 1", "listens on 1", "wait4 1", "clone", "wait4 0", "wait4 0", "wait4 1", "wait4 1", "4 is told 512, 0",
        "close_range", "listens on 1", "wait4 1", "wait4 1", "clone", "pauses 1 ms", "wait4 1", "clone", "wait4 0", "wait4 1", "4 is told 512, -10",
        "close_range", "listens on 1", *tried, f"5 reads {NO_MORE!r}", "wait4 1", f"4 is told {126 << 8}, -10", "close_range", "listens on 1",
    ]  # fmt: skip
    assert all(not left for left in answers.values())


@pytest.mark.parametrize(
    ("failure", "code", "text"), [(-2, 127, b"No such file or directory"), (-13, 126, b"Permission denied")]
)
def test_a_step_for_aarch64_does_it_by_arms_manual(failure: int, code: int, text: bytes) -> None:
    body = order(["/bin/tool", "word"], {"KEY": "value"}, "/place", [1, 2], "aarch64")
    assert body is not None
    said: list[object] = []

    def kernel(arm: Arm, number: int, x: list[int]) -> int:
        def text_at(address: int) -> str:
            return bytes(arm.bytes(address, 40)).split(b"\0")[0].decode()

        match NAMES[number]:
            case "getpid":
                return 5
            case "openat":
                said.append(text_at(x[1]))
                return 8
            case "dup3":
                said.append((x[0], x[1]))
            case "chdir":
                said.append(text_at(x[0]))
            case "execve":
                said.append((text_at(x[0]), *(text_at(arm.number(x[1] + 8 * n)) for n in range(2)), text_at(arm.number(x[2]))))  # fmt: skip
                assert arm.number(x[1] + 16) == arm.number(x[2] + 8) == 0
                return failure
            case "write":
                said.append((x[0], text in arm.bytes(x[1], x[2])))
            case "exit_group":
                said.append(x[0])
                raise Over
        return 0

    arm = Arm(kernel)
    arm.memory[ORDER_AT] = bytearray(body)
    with pytest.raises(Over):
        arm.go(arm.number(ORDER_AT))
    assert said == ["/dev/null", (8, 0), (5, 1), (6, 2), "/place", ("/bin/tool", "/bin/tool", "word", "KEY=value"), (2, True), code]  # fmt: skip
    assert arm.number(ORDER_AT + PID_AT) == 5


def test_far_labels_are_reached_on_both_machines() -> None:
    """As many folders as PATH may have: the last jump leads over all attempts."""
    for machine in ("x86_64", "aarch64"):
        program = Program(ORDER_AT, machine)
        program.load(0)
        program.jump_if(0, "far")
        for _ in range(3 * MOST_FOLDERS):
            program.call("execve", 0, 0, 0)
        program.label("far")
        program.call("exit_group", 0)
        code, entry = program.image()
        assert entry == ORDER_AT and len(code) == program.size


def test_an_orphan_is_buried_and_one_who_lives_is_told(tmp_path: Path) -> None:
    """Only process 1 of something gets orphans: here by unshare, as in a box."""
    if os.geteuid() != 0 or not known() or not shutil.which("unshare"):
        pytest.skip("NOT TESTED: a pid namespace of one's own needs root here")
    image = build()
    assert image is not None
    program = tmp_path / "program"
    program.write_bytes(image)
    program.chmod(0o755)
    running = Running.__new__(Running)
    running._machine = ""
    running.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = ["unshare", "--pid", "--fork", "--kill-child", str(program)]
    with theirs:
        running.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=theirs)
    assert running.run(["sh", "-c", "(true &); (true &); sleep 0.1"]) == (0, False, "")
    assert running.run(["sh", "-c", "sleep 0.5 >/dev/null 2>&1 &"]) == (0, True, "")
    time.sleep(0.7)
    assert running.run(["true"]) == (0, False, "")  # it has ended meanwhile, and is buried now
    running.line.close()
    running.process.wait(20)
