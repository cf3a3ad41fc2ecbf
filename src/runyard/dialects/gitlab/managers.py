"""Machines behind one runner token, told apart by `system_id` (contracts/gitlab.md §2.1). Called by the
runner protocol; read by routes of runners and jobs.

A machine is a Record of kind `gitlab.manager.<runner id>` with its system_id as key; an attempt remembers
whose it is in `extra["system_id"]`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runyard.engine.ending import UNCOMMITTED
from runyard.engine.ports import Page, Tx
from runyard.model.listing import Listed
from runyard.model.state import State
from runyard.model.work import Attempt, Record, Runner

SYSTEM_ID = "system_id"
LEGACY = "<legacy>"  # GitLab's name for machines older than 16.0, which send none
MOST = 1000  # of one runner; the longest silent goes first
NOTE_EVERY_MS = 60_000
_ALL = Page(limit=10_000, descending=False)


def kind_of(runner_id: int) -> str:
    """Of the records of one runner's machines."""
    return f"gitlab.manager.{runner_id}"


def of_runner(tx: Tx, runner_id: int) -> list[Record]:
    """All machines of a runner, oldest first."""
    return tx.records(kind_of(runner_id), None, None, _ALL)


def of_attempt(tx: Tx, attempt: Attempt | Listed) -> Record | None:
    """The machine that took the attempt; None when it was the server itself, or is forgotten."""
    system_id = attempt.extra.get(SYSTEM_ID)
    return machine(tx, attempt.runner_id, str(system_id)) if attempt.runner_id and system_id else None


def machine(tx: Tx, runner_id: int, system_id: str) -> Record | None:
    """One machine of a runner; None when it is forgotten."""
    found = tx.records(kind_of(runner_id), None, system_id, Page(limit=1))
    return found[0] if found else None


def features_of(tx: Tx, attempt: Attempt) -> frozenset[str]:
    """What the machine that has the attempt said it can do."""
    machine = of_attempt(tx, attempt)
    runner = tx.get(Runner, attempt.runner_id) if machine is None and attempt.runner_id else None
    said: Mapping[str, Any] = machine.data if machine else runner.info if runner else {}
    return frozenset(said.get("features") or ())


def uncommitted(attempt: Attempt | Listed) -> bool:
    """Handed to a runner that has not said yet that it begins (two-phase commit): people see it pending."""
    return attempt.state is State.RUNNING and UNCOMMITTED in attempt.extra


def forget(tx: Tx, runner_id: int, system_id: str) -> bool:
    """Removes one machine; False when it is not known."""
    found = tx.records(kind_of(runner_id), None, system_id, Page(limit=1))
    for row in found:
        tx.remove(Record, row.id)
    return bool(found)


def forget_all(tx: Tx, runner_id: int) -> None:
    """With the runner its machines go."""
    for row in of_runner(tx, runner_id):
        tx.remove(Record, row.id)


class Contacts:
    """When each machine was last written down: a poll every few seconds must not be a write every few
    seconds."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[int, str], tuple[int, Mapping[str, Any]]] = OrderedDict()

    def is_new(self, runner_id: int, system_id: str, info: Mapping[str, Any], now: int) -> bool:
        """Whether this contact should be noted; from then on it counts as noted."""
        key = (runner_id, system_id)
        at, known = self._seen.get(key, (0, {}))
        if known == info and 0 <= now - at < NOTE_EVERY_MS:
            return False
        self._seen[key] = (now, dict(info))
        self._seen.move_to_end(key)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return True

    def forget(self, runner_id: int, system_id: str) -> None:
        """A machine that said goodbye is new when it comes back."""
        self._seen.pop((runner_id, system_id), None)


def note(tx: Tx, runner: Runner, system_id: str, info: Mapping[str, Any], now: int) -> None:
    """The machine's contact and what it says of itself."""
    found = tx.records(kind_of(runner.id), None, system_id, Page(limit=1))
    data = {**info, "contacted_at": now}
    if found:
        row = found[0]
        tx.save(replace(row, data={**row.data, **data}, updated_at=now))
        return
    others = of_runner(tx, runner.id)
    for row in sorted(others, key=lambda r: r.updated_at)[: max(0, len(others) - MOST + 1)]:
        tx.remove(Record, row.id)
    tx.add(Record(0, kind_of(runner.id), None, system_id, data, created_at=now, updated_at=now))
