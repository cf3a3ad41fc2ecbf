"""Two witnesses outside the server: a socket that every job holds open while it runs, and /proc. Used by the
fault battery.

The job connects to `Witness` and says its attempt, run and name; the connection closes when its last process
dies. So it sees what no row can tell: an attempt that ran twice, two attempts of one job at once, a job that
lives after its end.
"""

from __future__ import annotations

import os
import socketserver
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MARK = "FAULTS_MARK"


@dataclass(slots=True)
class Visit:
    """One attempt as it ran."""

    attempt: int
    run: int
    job: str
    began: float
    ended: float | None = None


@dataclass(slots=True)
class Witness:
    """Listens on a loopback port; jobs need RUNYARD_NETWORK=host to reach it."""

    visits: list[Visit] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    port: int = 0
    _server: socketserver.ThreadingTCPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> Witness:
        """Begins to listen."""
        witness = self

        class Seen(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                said = self.rfile.readline().decode().split()
                if len(said) == 3:
                    visit = witness._enter(int(said[0]), int(said[1]), said[2])
                    with suppress(OSError):
                        self.rfile.read()
                    visit.ended = time.monotonic()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Seen)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        """Ends."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def _enter(self, attempt: int, run: int, job: str) -> Visit:
        with self._lock:
            for other in self.visits:
                if other.attempt == attempt:
                    self.broken.append(f"attempt {attempt} ({job}) was run twice")
                elif other.run == run and other.job == job and other.ended is None:
                    self.broken.append(
                        f"attempts {other.attempt} and {attempt} of {job} ran at the same time"
                    )
            visit = Visit(attempt, run, job, time.monotonic())
            self.visits.append(visit)
            return visit

    def inside(self) -> list[Visit]:
        """Who runs now."""
        return [v for v in self.visits if v.ended is None]


def living(mark: str) -> list[str]:
    """Processes that carry this mark in their environment or command line, zombies and ourselves aside."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
            if mark.encode() in text and int(pid) != os.getpid():
                found.append(
                    Path(f"/proc/{pid}/cmdline")
                    .read_bytes()
                    .replace(b"\0", b" ")
                    .decode(errors="replace")[:200]
                )
        except OSError:
            continue
    return found


def groups_of(pid: int) -> list[str]:
    """Control groups that a runner process has made (their names begin with its pid)."""
    found = []
    for root, folders, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{root}/{name}" for name in folders if name.startswith(f"runyard-{pid}-")]
    return found
