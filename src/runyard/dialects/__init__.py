"""The seam of a vendor: one Dialect value per folder. Only app.py imports the folders; dialects never import
each other.

A dialect folder has the same files everywhere: `__init__.py` (the Dialect value), `compile.py` or a compile
package, `routes*.py`, `shapes.py`, `words.py`, `README.md` (served, narrower, refused).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.errors import Problem
from runyard.model.offer import JobInputs, Offer
from runyard.model.plan import Plan, Variable
from runyard.model.state import Hold, Outcome, State
from runyard.model.trigger import Files, Push, Trigger
from runyard.model.work import Run

Asgi = Callable[..., Any]
Status = tuple[State, Outcome | None, Hold | None]


@dataclass(frozen=True, slots=True)
class Words:
    """A dialect's status vocabulary. `say` is total over every status the engine can show (hold only with
    HELD, outcome only with DONE); `hear` maps each vendor word to the (state, outcome) pairs it means in
    filters."""

    say: Mapping[Status, str]
    hear: Mapping[str, tuple[tuple[State, Outcome | None], ...]]


@dataclass(frozen=True, slots=True)
class PushTrigger:
    """What one push starts in a dialect: trigger fields that differ from the push's own."""

    source: str
    options: Mapping[str, Any]
    variables: tuple[Variable, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Round:
    """Work that nobody asks for: schedules that fall due, time limits of a vendor's own.

    `work` comes at start, then `every_s` seconds after it ended, and at once when `topic` rings. It must be
    safe to repeat, to be cut short, and to run on several replicas at the same time: what is due is taken in
    one write transaction (read, move its next time on), then done.
    """

    name: str
    work: Callable[[], Awaitable[None]]
    every_s: float = 10.0
    topic: str = ""


def no_rounds(services: Services) -> Sequence[Round]:
    """For a dialect that only answers."""
    return ()


async def hears_no_push(services: Services, push: Push) -> Sequence[Run]:
    """For a dialect whose pushes start only what the pushed files say (`on_push`)."""
    return ()


async def misses_nothing(services: Services, push: Push) -> None:
    """For a dialect that a deleted branch or tag does not concern."""


def knows_no_facts(tx: Tx, draft: Trigger) -> Mapping[str, Any]:
    """For a dialect whose runs know only what their trigger says."""
    return {}


def offers_nothing(trigger: Trigger, files: Files) -> Sequence[Offer]:
    """For a dialect whose runs nobody starts from a branch by hand."""
    return ()


@dataclass(frozen=True, slots=True)
class Dialect:
    """One vendor.

    `compile` raises Invalid with located problems (or returns a plan whose workflow carries `error`, where
    the vendor reports it on the run). `entries` lists the files of a tree that this dialect would run ([]
    when none); `check` finds every problem of one such file. `on_push` says what a push starts according to
    its files; `pushed` starts what only the store knows; `lost` hears of a branch or tag that a push deleted,
    which `on_push` and `pushed` do not; `rounds` is what it does without being asked. `offers` says what a
    person may start by hand there (`trigger`: who asks, and where); it is lenient, `compile` judges.
    `job_inputs`: how a job asks for inputs of its own, where the dialect knows such. `facts` are
    `Trigger.options` that the store knows of any run, whatever starts it; they are asked of its draft.
    `mount` makes the ASGI application; `prefixes` are the paths that lead to it (longest wins).
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
    rounds: Callable[[Services], Sequence[Round]] = no_rounds
    pushed: Callable[[Services, Push], Awaitable[Sequence[Run]]] = hears_no_push
    lost: Callable[[Services, Push], Awaitable[None]] = misses_nothing
    facts: Callable[[Tx, Trigger], Mapping[str, Any]] = knows_no_facts
    offers: Callable[[Trigger, Files], Sequence[Offer]] = offers_nothing
    job_inputs: JobInputs | None = None


def all_statuses() -> list[Status]:
    """Every status a view can show: what `Words.say` must cover."""
    plain: list[Status] = [(s, None, None) for s in State if s not in (State.DONE, State.HELD)]
    held: list[Status] = [(State.HELD, None, h) for h in Hold]
    done: list[Status] = [(State.DONE, o, None) for o in Outcome]
    return plain + held + done
