"""Watching runs from a terminal: log lines as they come, a line per job that changes, a table at the end.
Plain without a terminal or colour.

Written by hand: a library for terminals takes longer to import than ten small jobs to run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from runyard.engine import views
from runyard.engine.ports import Bell, Blobs, Database, Tx
from runyard.model.state import LEASED, Hold, Outcome, State
from runyard.model.work import Attempt, Job, Run

LOOK_S = 0.1
# times the square of the jobs that are not done: a burst is watched at little cost, the last job closely
PAUSE_S = 0.0005
LONGEST_PAUSE_S = 0.1
STYLES = {
    "passed": "32",
    "failed": "31",
    "errored": "33",
    "running": "34",
    "canceled": "2",
    "skipped": "2",
    "waiting": "2",
    "held": "35",
    "queued": "2",
    "stopping": "34",
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
_MARKS = {
    "group": ("▸ ", "1"),
    "error": ("error: ", "31"),
    "warning": ("warning: ", "33"),
    "notice": ("notice: ", "34"),
}
_MARK = re.compile(r"##\[(group|endgroup|error|warning|notice|debug|command|section)\]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class House(Protocol):
    """Where runs are."""

    db: Database
    bell: Bell
    blobs: Blobs


@dataclass
class Screen:
    """Where progress goes. `machine`: nothing but one JSON document on stdout at the end."""

    out: TextIO
    machine: bool = False
    colours: bool = False
    live: bool = False  # a terminal: one changing line at its foot
    states: dict[int, str] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)
    partial: dict[int, bytes] = field(default_factory=dict)
    foot: str = ""
    held: list[str] | None = None  # lines that wait to be written together

    @classmethod
    def of(cls, output: str) -> Screen:
        """For `--output text` or `json`. NO_COLOR and TERM=dumb are heeded."""
        machine = output == "json"
        out = sys.stderr if machine else sys.stdout
        live = out.isatty() and os.environ.get("TERM") != "dumb"
        return cls(out, machine, live and "NO_COLOR" not in os.environ, live)

    def _say(self, lines: Sequence[str]) -> None:
        """Lines above the foot, in one write."""
        if not lines:
            return
        if self.held is not None:
            self.held += lines
            return
        text = "".join(f"{line}\n" for line in lines)
        self.out.write(f"\r\x1b[K{text}{self.foot}" if self.live else text)
        self.out.flush()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is said meanwhile is written in the end, in one piece."""
        self.held = []
        try:
            yield
        finally:
            held, self.held = self.held, None
            self._say(held)

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.colours and style else text

    def status(self, text: str) -> None:
        """What the foot says now; empty takes it away."""
        if self.live:
            wide = shutil.get_terminal_size().columns - 1
            foot = self._styled(text[:wide], "2") if text else ""
            if foot != self.foot:
                self.foot = foot
                self.out.write(f"\r\x1b[K{foot}")
                self.out.flush()

    def note(self, text: str) -> None:
        """A sentence of our own."""
        self._say([self._styled(text, "2")])

    def changed(self, job: Job, attempt: Attempt, word: str) -> None:
        """A job that came into another state."""
        if self.states.get(attempt.id) == word or word in ("waiting", "queued"):
            return
        self.states[attempt.id] = word
        why = f": {attempt.message}" if attempt.message and attempt.state is State.DONE else ""
        lasted = _seconds(attempt)
        line = f"{GLYPHS.get(word, '○')} {job.name} {word}{f' in {lasted:.1f} s' if lasted is not None else ''}{why}"
        self._say([self._styled(_MOVES.sub("", line), f"1;{STYLES[word]}")])

    def log(self, job: Job, attempt: Attempt, data: bytes, *, last: bool) -> None:
        """New log bytes; only whole lines are shown until the job has ended."""
        *lines, rest = (self.partial.get(attempt.id, b"") + data).split(b"\n")
        self.partial[attempt.id] = b"" if last else rest
        shown, before = [], self._styled(f"{job.name} │ ", "36")
        for raw in [*lines, rest] if last and rest else lines:
            text = _SECTION.sub("", raw.decode("utf-8", "replace")).rstrip("\r").rsplit("\r", 1)[-1]
            if text.startswith("##["):
                text = self._marked(text)
            plain = _COLOURS.sub("", text := _MOVES.sub("", text))
            if plain.strip():
                shown.append(f"{before}{text}\x1b[0m" if self.colours else before + plain)
        self._say(shown)

    def _marked(self, text: str) -> str:
        """A line of the Actions runner's own: groups become headings, their ends go, errors say so."""
        match = _MARK.match(text)
        if match is None:
            return text
        before, style = _MARKS.get(match[1], ("", ""))
        rest = text[match.end() :]
        return self._styled(before + rest, style) if rest or before else ""

    def done(self, runs: Sequence[tuple[Run, list[tuple[Job, Attempt]]]]) -> None:
        """The table, or the JSON document."""
        self.status("")
        if self.machine:
            sys.stdout.write(json.dumps([_result(run, graph) for run, graph in runs], indent=2) + "\n")
            return
        rows = [(job, attempt, _word(attempt)) for _, graph in runs for job, attempt in graph]
        wide = max((len(job.name) for job, _, _ in rows), default=3)
        lines = ["", self._styled(f"   {'job':<{wide}}  {'state':<18}{'seconds':>8}  why", "2")]
        for job, attempt, word in rows:
            lasted = _seconds(attempt)
            state = word + (" (allowed)" if attempt.tolerated else "")
            seconds = "" if lasted is None else f"{lasted:.1f}"
            mark, state = (
                self._styled(GLYPHS.get(word, "○"), STYLES[word]),
                self._styled(f"{state:<18}", STYLES[word]),
            )
            lines.append(f"{mark}  {job.name:<{wide}}  {state}{seconds:>8}  {_why(job, attempt)}".rstrip())
        self._say(lines)


def follow(house: House, run_id: int, screen: Screen) -> tuple[Run, list[tuple[Job, Attempt]]]:
    """Shows a run until it is done, or until only a person could go on; returns how it ended."""
    topic = f"run:{run_id}"
    while True:
        seen = house.bell.version(topic)
        run, graph, logs = house.db.submit_read(lambda tx: _look(tx, house.blobs, run_id, screen)).result()
        with screen.at_once():
            for job, attempt in graph:
                _show(screen, job, attempt, logs.get(attempt.id, b""))
        if any(screen.read[a.id] < a.log_bytes for _, a in graph if logs.get(a.id)):
            continue
        if run.state is State.DONE or not any(_goes_on(attempt) for _, attempt in graph):
            screen.status("")
            return run, graph
        screen.status(_summary(graph))
        unfinished = sum(attempt.state is not State.DONE for _, attempt in graph)
        time.sleep(min(LONGEST_PAUSE_S, PAUSE_S * unfinished**2))
        house.bell.wait(topic, seen, LOOK_S)


def _look(
    tx: Tx, blobs: Blobs, run_id: int, screen: Screen
) -> tuple[Run, list[tuple[Job, Attempt]], dict[int, bytes]]:
    """The run, its jobs, and what their logs have beyond what was shown, by attempt: all of one moment."""
    run = tx.get(Run, run_id)
    assert run is not None  # noqa: S101 - this process is the only one that could remove it
    graph = tx.graph(run_id)
    grown = [a for _, a in graph if a.log_bytes > screen.read.get(a.id, 0)]
    return run, graph, {a.id: views.log_from(tx, blobs, a, screen.read.get(a.id, 0)) for a in grown}


def _goes_on(attempt: Attempt) -> bool:
    """Whether it will move without a person. A job that still waits does only if another one goes on."""
    by_itself = attempt.state is State.HELD and attempt.hold is not Hold.MANUAL
    return by_itself or attempt.state in LEASED or attempt.state is State.QUEUED


def _show(screen: Screen, job: Job, attempt: Attempt, log: bytes) -> None:
    word = _word(attempt)
    if attempt.state in LEASED:
        screen.changed(job, attempt, word)
    at = screen.read[attempt.id] = screen.read.get(attempt.id, 0) + len(log)
    is_whole = at >= attempt.log_bytes or not log
    is_last = is_whole and attempt.state is State.DONE
    if log or (is_last and screen.partial.get(attempt.id)):
        screen.log(job, attempt, log, last=is_last)
    if is_whole:
        screen.changed(job, attempt, word)


def _word(attempt: Attempt) -> str:
    return str(attempt.outcome) if attempt.outcome else str(attempt.state)


def _why(job: Job, attempt: Attempt) -> str:
    if attempt.hold is Hold.MANUAL and attempt.state is State.HELD:
        return f"starts by hand: runyard run {shlex.quote(job.name)}"
    return _MOVES.sub("", attempt.message)


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
