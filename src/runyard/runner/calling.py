"""Terminals and commands in jobs of a runner that is a process of its own: what it and the server say to each
other, and the runner's half of it. The server's half is `http/visiting.py`.

The server cannot reach a runner, so the runner hears with its next keep-alive that somebody wants in, and
then asks for what is typed (a held request) while it sends what is shown. Nothing is repeated: a visit whose
line breaks is over, and whoever typed opens another.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec

from runyard.engine.ports import Wanted
from runyard.model.errors import Busy, Conflict, Invalid, RunyardError
from runyard.model.plan import Assignment
from runyard.runner.visits import BoxVisits, OpenVisit

READ_BYTES = 64 << 10
LOOK_S = 0.5  # how often an end is looked for when no pipe tells of it
END_S = 10.0  # from the end of the outputs to that of the process
KILLED = 137
PROBLEMS: dict[str, type[RunyardError]] = {"invalid": Invalid, "busy": Busy, "conflict": Conflict}


class Said(msgspec.Struct, omit_defaults=True):
    """From the server: at first what is wanted and by whom, then what is typed, resized, shut; at last
    `over`."""

    wanted: Wanted | None = None
    by: str = ""
    stdin: bytes = b""
    shut: bool = False
    rows: int = 0
    columns: int = 0
    over: bool = False


class Shown(msgspec.Struct, omit_defaults=True):
    """From the runner: a piece of an output; at last the exit code, or (a key of PROBLEMS, words) when there
    is no visit."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int | None = None
    problem: tuple[str, str] | None = None


Ask = Callable[
    [Assignment, str], Said
]  # the next word to a visit; RunyardError when there is none (any more)
Show = Callable[[Assignment, str, Shown], int]  # how many bytes found room; the others are to be sent again


class Porter:
    """Lets in whom the server announces. One thread for each direction of a visit."""

    def __init__(self, visits: BoxVisits, ask: Ask, show: Show) -> None:
        self._visits, self._ask, self._show = visits, ask, show
        self._let_in: set[str] = set()

    def announce(self, work: Assignment, ids: Sequence[str]) -> None:
        """Called with every keep-alive; who comes before the box stands is announced again."""
        for id in ids:
            if id not in self._let_in and self._visits.is_open(work.attempt_id):
                self._let_in.add(id)
                threading.Thread(
                    target=self._attend, args=(work, id), name=f"visit-{work.attempt_id}", daemon=True
                ).start()

    def _attend(self, work: Assignment, id: str) -> None:
        try:
            first = self._ask(work, id)
            if first.wanted is None:
                return
            try:
                visit = self._visits.open(work.attempt_id, first.wanted, first.by)
            except RunyardError as error:
                self._show(work, id, Shown(problem=_problem(error)))
                return
        except RunyardError:
            return
        finally:
            self._let_in.discard(id)
        self._carry(work, id, visit)

    def _carry(self, work: Assignment, id: str, visit: OpenVisit) -> None:
        """Until the visitor leaves or the process ends. The visit is closed when neither thread uses its
        descriptors."""
        left = threading.Event()
        shower = threading.Thread(target=self._shows, args=(work, id, visit, left), daemon=True)
        shower.start()
        try:
            while not (said := self._ask(work, id)).over:
                _type(visit, said.stdin, left)
                if said.rows:
                    visit.resize(said.rows, said.columns)
                if said.shut:
                    visit.shut_stdin()
        except RunyardError:
            pass  # the line is broken, or the server has forgotten the visit
        finally:
            left.set()
            shower.join()
            visit.close()

    def _shows(self, work: Assignment, id: str, visit: OpenVisit, left: threading.Event) -> None:
        try:
            for is_error, data in _pieces(visit, left):
                while data and not left.is_set():
                    shown = Shown(stderr=data) if is_error else Shown(stdout=data)
                    data = data[self._show(work, id, shown) :]
            if not left.is_set():
                code = visit.wait(END_S)
                self._show(work, id, Shown(exit_code=KILLED if code is None else code))
        except RunyardError:
            left.set()


def _pieces(visit: OpenVisit, left: threading.Event) -> Iterator[tuple[bool, bytes]]:
    """(whether it is stderr's, bytes) until both outputs are at their end, the process has ended and is
    silent, or the visitor left."""
    poll = select.poll()
    opened = {fd for fd in (visit.stdout, visit.stderr) if fd is not None}
    for fd in opened:
        poll.register(fd, select.POLLIN)
    while opened and not left.is_set():
        ready = poll.poll(LOOK_S * 1000)
        if not ready and visit.wait(0) is not None:
            return
        for fd, _ in ready:
            if data := _read(fd):
                yield fd == visit.stderr, data
            else:
                poll.unregister(fd)
                opened.discard(fd)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, READ_BYTES)
    except OSError:  # a terminal without a process says EIO
        return b""


def _type(visit: OpenVisit, data: bytes, left: threading.Event) -> None:
    """All of it, unless nobody reads (any more)."""
    view = memoryview(data)
    while view and (fd := visit.stdin) is not None and not left.is_set():
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [], LOOK_S)
        except OSError:
            return


def _problem(error: RunyardError) -> tuple[str, str]:
    kind = next((name for name, known in PROBLEMS.items() if isinstance(error, known)), "conflict")
    return kind, error.message
