"""From a step's pipe to the log: big reads, workflow commands, masking, offsets and CRC, chunks to the
server. Used by `steps.py`.

Promises: bytes are counted and summed exactly as sent; nothing is handled per line; what is not sent yet is
bounded (`IN_FLIGHT` chunks).
"""

from __future__ import annotations

import fcntl
import os
import select
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from runyard.runner.masking import Masker
from runyard.runner.sandbox import Process

READ_BYTES = 1 << 20
CHUNK_BYTES = 1 << 20
IN_FLIGHT = 3
REFUSALS = 20  # while one waits for the server: a piece that overtook another is refused once or twice
SHOW_AFTER_S = 0.2  # in a job's first moments: one that ends soon sends its log with its end, in one commit
YOUNG_S = 0.3
SOON_S = 0.005  # afterwards somebody may be reading along
GAP_S = 0.05  # between two pieces of a job that keeps talking
TAIL_BYTES = 1 << 20
QUIET_S, LINGER_S = 0.5, 5.0
KILLED_S = 5.0


Send = Callable[[int, bytes], "Future[Any]"]  # of link.Taken: accepted, size


MOST_LATER = 1000  # lines of other threads that wait for a place in the log


class Log:
    """One attempt's log. `write` masks; `system` is the runner's own voice, masked as well."""

    def __init__(
        self, send: Send, masks: Iterable[str], mask: bytes = b"[MASKED]", *, keep_tail: bool = False
    ) -> None:
        self._send = send
        self.masker = Masker(masks, mask)
        self._later: deque[str] = deque()
        self._left_out = 0
        self._is_line_start = True
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._since = 0.0
        self._sent_at = 0.0
        self._young_until = time.monotonic() + YOUNG_S
        self._flying: deque[tuple[int, bytes, Future[Any]]] = deque()
        self._sent = 0
        self.size = 0
        self.crc = 0
        self.stopped = False  # the server wants no more
        self._tail: deque[bytes] | None = deque() if keep_tail else None
        self._tail_bytes = 0

    def write(self, data: bytes) -> None:
        """Bytes of the job."""
        self._add(self.masker.feed(data))

    def system(self, text: str) -> None:
        """A line of the runner."""
        self.end_stream()
        self._add(self.masker.feed(text.encode("utf-8", "surrogateescape") + b"\n"))
        self.end_stream()

    def later(self, text: str) -> None:
        """A line of the runner, or of a service, from another thread; `speak_up` writes it. Beyond MOST_LATER
        that wait they are counted only: a service may talk faster than the log takes it."""
        if len(self._later) < MOST_LATER:
            self._later.append(text)
        else:
            self._left_out += 1

    def speak_up(self) -> None:
        """Writes what `later` was given, where no line and no secret of the job is cut by it: else the next
        time, at the latest after the step."""
        while self._later and self._is_line_start and not self.masker.holds:
            self._add(self.masker.once(f"{self._later.popleft()}\n".encode("utf-8", "replace")))
        if self._left_out and not self._later:
            self._later.append(f"({self._left_out} lines that came too fast are left out)")
            self._left_out = 0

    def shown(self, text: str) -> str:
        """A text as others may see it: names and messages show in APIs and pages, so they hide what the log
        hides (reliability.md §5 B7)."""
        return self.masker.once(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def end_stream(self) -> None:
        """A step has ended: nothing that it printed can still grow into a secret."""
        self._add(self.masker.close())

    def _add(self, shown: bytes) -> None:
        if not shown:
            return
        self._is_line_start = shown.endswith(b"\n")
        if not self._pending:
            self._since = time.monotonic()
        self._pending.append(shown)
        self._pending_bytes += len(shown)
        self.size += len(shown)
        self.crc = zlib.crc32(shown, self.crc)
        if self._tail is not None:
            self._tail.append(shown)
            self._tail_bytes += len(shown)
            while self._tail_bytes - len(self._tail[0]) > TAIL_BYTES:
                self._tail_bytes -= len(self._tail.popleft())
        if self._pending_bytes >= CHUNK_BYTES:
            self.flush()

    def tail(self) -> bytes:
        """The last megabyte or so, when it was asked for."""
        return b"".join(self._tail or ())[-TAIL_BYTES:]

    def due_in_s(self) -> float | None:
        """When pending bytes should be shown; None when there are none."""
        if not self._pending:
            return None
        patience = SHOW_AFTER_S if self._since < self._young_until else SOON_S
        return max(0.0, max(self._since + patience, self._sent_at + GAP_S) - time.monotonic())

    def flush(self) -> None:
        """Hands pending bytes over; waits only when too much is under way."""
        if self._pending and not self.stopped:
            data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self._flying.append((self._sent, data, self._send(self._sent, data)))
            self._sent += len(data)
        self._pending, self._pending_bytes = [], 0
        self._sent_at = time.monotonic()
        self._settle(IN_FLIGHT)

    def drain(self) -> None:
        """Waits until the server has everything (or wants no more)."""
        self.flush()
        self._settle(0)

    def _settle(self, allowed: int) -> None:
        refused = 0
        while self._flying and (len(self._flying) > allowed or self._flying[0][2].done()):
            offset, data, future = self._flying.popleft()
            receipt = future.result()
            if receipt.accepted or self.stopped:
                continue
            refused += 1
            if receipt.size > offset + len(data) or refused > REFUSALS:
                self.stopped = True  # it has ended the log, lost more than we still hold, or takes nothing
                continue
            # With a size below `offset` it overtook pieces that have arrived since.
            again = [(offset, data), *((o, d) for o, d, _ in self._flying)]
            for _, _, other in self._flying:
                other.exception()  # let those under way come down before bytes are sent again
            self._flying.clear()
            for start, piece in again:
                skip = max(0, receipt.size - start)
                self._flying.append((start + skip, piece[skip:], self._send(start + skip, piece[skip:])))


def widen(pipe: int) -> None:
    """A larger pipe saves wake-ups; the system may refuse."""
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, READ_BYTES)
    except OSError:
        return


class Pump:
    """Carries a process's output until it has ended and its output with it. What it left running may hold the
    output open: then nothing more is waited for once it has been silent for `QUIET_S`, and never longer than
    `LINGER_S` (the Actions runner waits those five seconds)."""

    def __init__(self, process: Process, lingering: list[int]) -> None:
        self._pipe = process.output
        self._ended = process.ended
        self._lingering = lingering
        self._poll = select.poll()
        self._is_open = True
        self._last_s = self._ended_s = 0.0

    def run(
        self,
        take: Callable[[bytes], None],
        log: Log,
        wake: int,
        on_wake: Callable[[], None],
        until: Callable[[], Sequence[tuple[float, Callable[[], None]]]],
    ) -> None:
        """`wake` is readable when `on_wake` should run (a cancel); `until` lists moments (monotonic) with
        what must happen then (time limits); a moment in the past fires at once. What earlier steps left
        running may go on talking: nobody listens, but nothing of it blocks."""
        widen(self._pipe)
        for fd in (self._pipe, self._ended, wake, *self._lingering):
            self._poll.register(fd, select.POLLIN)
        try:
            while not self._is_over():
                log.speak_up()
                ready = self._wait(log, until)
                if wake in ready:
                    on_wake()
                if self._ended in ready:
                    self._poll.unregister(self._ended)
                    self._last_s = self._ended_s = time.monotonic()
                if self._pipe in ready:
                    self._read(take)
                for fd in ready.keys() & set(self._lingering):
                    if not _drained(fd):
                        self._poll.unregister(fd)
        finally:
            if self._is_open:
                os.set_blocking(self._pipe, False)
                self._lingering.append(self._pipe)

    def _is_over(self) -> bool:
        if not self._ended_s:
            return False
        now = time.monotonic()
        return not self._is_open or now >= min(self._last_s + QUIET_S, self._ended_s + LINGER_S)

    def _wait(
        self, log: Log, until: Callable[[], Sequence[tuple[float, Callable[[], None]]]]
    ) -> dict[int, int]:
        now = time.monotonic()
        ripe = [act for at, act in until() if at <= now]
        for act in ripe:
            act()
        moments = until()  # again: most acts say when they want to be called next
        waits = [at - now for at, _ in moments if at > now]
        if self._ended_s:
            waits.append(max(0.0, self._last_s + QUIET_S - now))
        if (due := log.due_in_s()) is not None:
            if due == 0:
                log.flush()
            else:
                waits.append(due)
        return dict(self._poll.poll(min(waits) * 1000 + 1 if waits else None))

    def _read(self, take: Callable[[bytes], None]) -> None:
        data = os.read(self._pipe, READ_BYTES)
        self._last_s = time.monotonic()
        if data:
            take(data)
        else:
            self._poll.unregister(self._pipe)
            os.close(self._pipe)
            self._is_open = False


def _drained(fd: int) -> bool:
    """Whether there may be more, later."""
    try:
        return bool(os.read(fd, READ_BYTES))
    except BlockingIOError:
        return True


def heard(process: Process, limit_bytes: int, timeout_s: float) -> tuple[int | None, bytes]:
    """A short program's exit code and what it says, up to a limit; killed when its time is up (None). What it
    leaves running is not waited for."""
    found, size, until = [], 0, time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(process.output, select.POLLIN)
    poll.register(process.ended, select.POLLIN)
    with os.fdopen(process.output, "rb", buffering=0) as output:
        while (left := until - time.monotonic()) > 0 and (ready := dict(poll.poll(left * 1000))):
            if process.output not in ready:
                break
            piece = output.read(min(READ_BYTES, limit_bytes - size) or 1)
            if not piece or size >= limit_bytes:
                break
            found.append(piece)
            size += len(piece)
    code = process.wait(max(0.0, until - time.monotonic()))
    if code is None:
        process.kill()
        process.wait(KILLED_S)
    return code, b"".join(found)
