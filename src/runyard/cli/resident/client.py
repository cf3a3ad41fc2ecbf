"""Handing a run to the resident. Called by `runyard run` before anything heavy is imported; answers None when
there is none, and the caller runs itself.

Only built-in modules are imported here: an import of `socket` or `json` would cost what the resident saves.
"""

from __future__ import annotations

import _socket
import os
import sys
import zlib

OFF = ("0", "false", "no", "off")
INTERACTIVE = ("-i", "--pick")
LIMITS = (
    0,
    1,
    2,
    3,
    4,
    6,
    7,
    9,
)  # rlimits that a job can feel: CPU, FSIZE, DATA, STACK, CORE, NPROC, NOFILE, AS
ACCEPTED, STALE, ENDED = b"A", b"S", b"X"


def is_wanted() -> bool:
    """Whether a resident may be used here: not where it is switched off."""
    return os.environ.get("RUNYARD_RESIDENT", "").lower() not in OFF


def ask(args: list[str]) -> int | None:
    """The exit code of the run as the resident made it; None when it did not, and nothing has happened
    yet."""
    if not is_wanted() or any(arg in INTERACTIVE for arg in args):
        return None
    path = address()
    if not _is_ours(os.path.dirname(path)):  # noqa: PTH120 - pathlib takes longer to import than to ask
        return None
    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        line.connect(path)
    except ConnectionRefusedError:  # it was killed; what it left behind must not keep the next one away
        os.unlink(path)  # noqa: PTH108
        return None
    except OSError:
        return None
    try:
        _send(line, args)
        if line.recv(1) != ACCEPTED:
            return None
    except (OSError, ValueError):
        return None
    return _wait(line)


def address() -> str:
    """Where the resident of this installation, environment and user listens; another one has another."""
    folder = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108 - a folder of our own in it, checked by `_is_ours`
    return f"{folder}/runyard-{os.getuid()}/run-{zlib.crc32(surroundings()):08x}.sock"


def surroundings() -> bytes:
    """What a run must have in common with the process that prepared it: program, namespaces, control group,
    limits, the settings it read."""
    import resource

    spaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "user", "uts")]  # noqa: PTH115
    limits = [str(resource.getrlimit(limit)) for limit in LIMITS]
    chosen = [f"{key}={value}" for key, value in sorted(os.environ.items()) if _counts(key)]
    with open("/proc/self/cgroup", encoding="utf-8") as file:  # noqa: PTH123
        group = file.read()
    parts = [__file__, sys.executable, sys.version, os.path.realpath("/"), *spaces, *limits, group, *chosen]
    return "\0".join(parts).encode("utf-8", "surrogateescape")


def _counts(key: str) -> bool:
    return key in ("PATH", "TMPDIR", "HOME", "LANG", "LC_ALL") or key.startswith(
        ("RUNYARD_", "PYTHON", "XDG_", "AWS_", "GIT_")
    )


def _is_ours(folder: str) -> bool:
    """A folder that only this user can have put a socket into."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return found.st_uid == os.getuid() and found.st_mode & 0o170077 == 0o040000


def _send(line: _socket.socket, args: list[str]) -> None:
    umask = os.umask(0o077)
    os.umask(umask)
    environment = [f"{key}={value}" for key, value in os.environ.items()]
    fields = [str(umask), os.getcwd(), str(len(args)), *args, *environment]  # noqa: PTH109
    body = "\0".join(fields).encode("utf-8", "surrogateescape")
    head = len(body).to_bytes(4, "big") + zlib.crc32(surroundings()).to_bytes(4, "big")
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
    line.sendmsg([head], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    line.sendall(body)


def _wait(line: _socket.socket) -> int:
    """Until it ends. Ctrl-C goes to the run; when this process is killed, the run sees the line end and
    cancels itself."""
    import signal

    signal.signal(signal.SIGINT, lambda *_: line.send(b"I"))
    while True:
        said = line.recv(2)
        if said[:1] == ENDED:
            return (said[1:] or line.recv(1) or b"\2")[0]
        if not said:
            sys.stderr.write("runyard: the process that ran this ended without a word.\n")
            return 2


def start() -> None:
    """Starts a resident for these surroundings, detached, unless one is there; answers at once. Called by
    `runyard run` as it ends. Machines of a CI service are not used twice, and there nothing may stay
    behind."""
    if not is_wanted() or os.environ.get("CI") or os.path.exists(address()):  # noqa: PTH110
        return
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    command = [sys.executable, "-m", "runyard.cli.resident.server"]
    try:
        os.posix_spawn(sys.executable, command, os.environ, file_actions=quiet, setsid=True)
    except OSError:
        return
