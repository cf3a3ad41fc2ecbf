"""The seam of a vendor: one Dialect value per folder. Only app.py imports the folders; dialects never import each other.

A dialect folder has the same files everywhere: `__init__.py` (the Dialect value), `compile.py` or a compile package, `routes*.py`, `shapes.py`,
`words.py`, `README.md` (served, narrower, refused).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runyard.http.services import Services
from runyard.model.errors import Problem
from runyard.model.plan import Plan
from runyard.model.state import Hold, Outcome, State
from runyard.model.trigger import Files, Push, Trigger

Asgi = Callable[..., Any]
Status = tuple[State, Outcome | None, Hold | None]


@dataclass(frozen=True, slots=True)
class Words:
    """A dialect's status vocabulary. `say` is total over every status the engine can show (hold only with HELD, outcome only with DONE);
    `hear` maps each vendor word to the (state, outcome) pairs it means in filters."""

    say: Mapping[Status, str]
    hear: Mapping[str, tuple[tuple[State, Outcome | None], ...]]


@dataclass(frozen=True, slots=True)
class PushTrigger:
    """What one push starts in a dialect: trigger fields that differ from the push's own."""

    source: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One vendor.

    `compile` raises Invalid with located problems (or returns a plan whose workflow carries `error`, where the vendor reports it on the run).
    `entries` lists the files of a tree that this dialect would run ([] when none); `check` finds every problem of one such file.
    `on_push` says what a push starts. `mount` makes the ASGI application; `prefixes` are the paths that lead to it (longest wins).
    """

    name: str
    title: str
    words: Words
    prefixes: tuple[str, ...]
    mount: Callable[[Services], Asgi]
    compile: Callable[[Trigger, Files], Plan]
    entries: Callable[[Files], Sequence[str]]
    check: Callable[[Files, str], Sequence[Problem]]
    on_push: Callable[[Push, Files], Sequence[PushTrigger]]


def all_statuses() -> list[Status]:
    """Every status a view can show: what `Words.say` must cover."""
    plain: list[Status] = [(s, None, None) for s in State if s not in (State.DONE, State.HELD)]
    held: list[Status] = [(State.HELD, None, h) for h in Hold]
    done: list[Status] = [(State.DONE, o, None) for o in Outcome]
    return plain + held + done
