"""Watching runs from a terminal: log lines as they come, a line per job that changes, a table at the end. Plain without a terminal or colour."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from runyard.engine import views
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.state import LEASED, Hold, Outcome, State
from runyard.model.work import Attempt, Job, Run

LOOK_S = 0.1
STYLES = {
    "passed": "green",
    "failed": "red",
    "errored": "dark_orange",
    "running": "blue",
    "canceled": "dim",
    "skipped": "dim",
    "waiting": "dim",
    "held": "magenta",
    "queued": "dim",
    "stopping": "blue",
}
GLYPHS = {
    "passed": "✓",
    "failed": "✗",
    "errored": "⚠",
    "running": "●",
    "canceled": "⊘",
    "skipped": "»",
    "held": "◷",
}
_SECTION = re.compile(r"section_(?:start|end):\d+:[\w.-]+(?:\[[^\]]*\])?\r?")
_MOVES = re.compile(
    r"\x1b\[[0-9;?]*[A-LN-Zac-ln-z]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]"
)


@dataclass
class Screen:
    """Where progress goes. `machine`: nothing but one JSON document on stdout at the end."""

    console: Console
    machine: bool = False
    states: dict[int, str] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)
    partial: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, output: str) -> Screen:
        """For `--output text` or `json`."""
        machine = output == "json"
        return cls(Console(stderr=machine, highlight=False, soft_wrap=True), machine)

    def note(self, text: str) -> None:
        """A sentence of our own."""
        self.console.print(Text(text, style="dim"))

    def changed(self, job: Job, attempt: Attempt, word: str) -> None:
        """A job that came into another state."""
        if self.states.get(attempt.id) == word or word in ("waiting", "queued"):
            return
        self.states[attempt.id] = word
        why = f": {attempt.message}" if attempt.message and attempt.state is State.DONE else ""
        lasted = _seconds(attempt)
        line = f"{GLYPHS.get(word, '○')} {job.name} {word}{f' in {lasted:.1f} s' if lasted is not None else ''}{why}"
        self.console.print(Text(line, style=f"bold {STYLES[word]}"))

    def log(self, job: Job, attempt: Attempt, data: bytes, *, last: bool) -> None:
        """New log bytes; only whole lines are shown until the job has ended."""
        *lines, rest = (self.partial.get(attempt.id, b"") + data).split(b"\n")
        self.partial[attempt.id] = b"" if last else rest
        for raw in [*lines, rest] if last and rest else lines:
            text = _SECTION.sub("", raw.decode("utf-8", "replace")).rstrip("\r").rsplit("\r", 1)[-1]
            text = _MOVES.sub("", text)
            if text.strip():
                self.console.print(Text.assemble((f"{job.name} │ ", "cyan"), Text.from_ansi(text)))

    def done(self, runs: Sequence[tuple[Run, list[tuple[Job, Attempt]]]]) -> None:
        """The table, or the JSON document."""
        if self.machine:
            sys.stdout.write(json.dumps([_result(run, graph) for run, graph in runs], indent=2) + "\n")
            return
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("", "job", "state", "seconds", "why"):
            table.add_column(title, justify="right" if title == "seconds" else "left")
        for _, graph in runs:
            for job, attempt in graph:
                word, lasted = _word(attempt), _seconds(attempt)
                seconds = "" if lasted is None else f"{lasted:.1f}"
                mark = Text(GLYPHS.get(word, "○"), style=STYLES[word])
                state = word + (" (allowed)" if attempt.tolerated else "")
                table.add_row(
                    mark, Text(job.name), Text(state, style=STYLES[word]), seconds, Text(_why(job, attempt))
                )
        self.console.print()
        self.console.print(table)


def follow(services: Services, run_id: int, screen: Screen) -> tuple[Run, list[tuple[Job, Attempt]]]:
    """Shows a run until it is done, or until only a person could go on; returns how it ended."""
    topic = f"run:{run_id}"
    with _status(screen) as status:
        while True:
            seen = services.bell.version(topic)
            run, graph = services.db.submit_read(lambda tx: _look(tx, run_id)).result()
            for job, attempt in graph:
                _show(services, screen, job, attempt)
            if status is not None:
                status.update(Text(_summary(graph), style="dim"))
            if run.state is State.DONE or not any(_goes_on(attempt) for _, attempt in graph):
                return run, graph
            services.bell.wait(topic, seen, LOOK_S)


def _status(screen: Screen) -> _Line:
    return _Line(screen.console if screen.console.is_terminal else None)


class _Line:
    """One changing line at the foot of a terminal; nothing elsewhere."""

    def __init__(self, console: Console | None) -> None:
        self.live = Live(console=console, refresh_per_second=8, transient=True) if console else None

    def __enter__(self) -> Live | None:
        return self.live.__enter__() if self.live else None

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.__exit__(*error)  # type: ignore[arg-type]


def _look(tx: Tx, run_id: int) -> tuple[Run, list[tuple[Job, Attempt]]]:
    run = tx.get(Run, run_id)
    assert run is not None  # noqa: S101 - this process is the only one that could remove it
    return run, tx.graph(run_id)


def _goes_on(attempt: Attempt) -> bool:
    """Whether it will move without a person. A job that still waits does only if another one goes on."""
    by_itself = attempt.state is State.HELD and attempt.hold is not Hold.MANUAL
    return by_itself or attempt.state in LEASED or attempt.state is State.QUEUED


def _show(services: Services, screen: Screen, job: Job, attempt: Attempt) -> None:
    if attempt.state in LEASED:
        screen.changed(job, attempt, _word(attempt))
    at = screen.read.get(attempt.id, 0)
    while at < attempt.log_bytes:
        data = _piece(services, attempt, at)
        if not data:
            break
        at += len(data)
        screen.log(job, attempt, data, last=attempt.state is State.DONE and at >= attempt.log_bytes)
    screen.read[attempt.id] = at
    screen.changed(job, attempt, _word(attempt))


def _piece(services: Services, attempt: Attempt, at: int) -> bytes:
    return services.db.submit_read(lambda tx: views.log_from(tx, services.blobs, attempt, at)).result()


def _word(attempt: Attempt) -> str:
    return str(attempt.outcome) if attempt.outcome else str(attempt.state)


def _why(job: Job, attempt: Attempt) -> str:
    if attempt.hold is Hold.MANUAL and attempt.state is State.HELD:
        return f"starts by hand: runyard run {shlex.quote(job.name)}"
    return attempt.message


def _seconds(attempt: Attempt) -> float | None:
    if attempt.started_at is None or attempt.finished_at is None:
        return None
    return (attempt.finished_at - attempt.started_at) / 1000


def _summary(graph: Sequence[tuple[Job, Attempt]]) -> str:
    done = sum(a.state is State.DONE for _, a in graph)
    running = ", ".join(j.name for j, a in graph if a.state in LEASED)
    return f"{done}/{len(graph)} jobs done{f' · running: {running}' if running else ''}"


def _result(run: Run, graph: Sequence[tuple[Job, Attempt]]) -> dict[str, object]:
    jobs = [
        {
            "name": job.name,
            "state": _word(attempt),
            "allowed_to_fail": attempt.tolerated,
            "exit_code": attempt.exit_code,
            "seconds": _seconds(attempt),
            "reason": str(attempt.reason),
            "message": attempt.message,
        }
        for job, attempt in graph
    ]
    return {"dialect": run.dialect, "outcome": str(run.outcome or Outcome.SKIPPED), "jobs": jobs}
