"""GetRunStatus, which clients poll: the tree of a run from one narrow query. Called by asking.

A job's part of the answer is made when its tries differ from those it was made of, and joined with the
others' as text: of a run of 200 jobs of which three moved, three are made. Who asks for protobuf's binary
gets plain messages. Both say the same, to the byte (tested).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from runyard.dialects.depot import shapes
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.engine.ports import Tx
from runyard.model.listing import Brief
from runyard.model.work import Job, Run, Workflow

MOST_PARTS = 16_384
MOST_SHORT = 400
Tries = tuple[Brief, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A job in an answer: what never changes of it, and its JSON with the tries that it was made of."""

    workflow_id: int
    order: tuple[int, int]  # position, id
    key: str
    tries: Tries
    json: str


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A `GetRunStatusResponse` that is written when its codec is known; codecs ask for nothing but these two
    methods."""

    run: Run
    workflows: Sequence[tuple[Workflow, Sequence[Part]]]

    def to_json(self, **_: Any) -> str:
        """As protobuf writes it."""
        flows = [
            _spliced(shapes.workflow_status(row, [pb.JobStatus()]).to_json(), "jobs", [p.json for p in parts])
            if parts
            else shapes.workflow_status(row, []).to_json()
            for row, parts in self.workflows
        ]
        outer = shapes.run_status(self.run, [pb.WorkflowStatus()] if flows else []).to_json()
        return _spliced(outer, "workflows", flows)

    def to_binary(self) -> bytes:
        """As protobuf writes it."""
        flows = [
            shapes.workflow_status(row, [shapes.job_in_status(part.key, part.tries) for part in parts])
            for row, parts in self.workflows
        ]
        return shapes.run_status(self.run, flows).to_binary()


def _spliced(json: str, name: str, items: Sequence[str]) -> str:
    """The items in place of the one empty message of this list. Quotes within texts are escaped, so no text
    can hold the mark."""
    head, mark, tail = json.partition(f'"{name}":[{{}}]')
    return f'{head}"{name}":[{",".join(items)}]{tail}' if mark else json


class Statuses:
    """Makes them; keeps the parts of the jobs it made last."""

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}
        self._sizes: dict[int, int] = {}

    def is_short(self, run_id: int) -> bool:
        """Whether a run was found so small that looking again takes less than a hop to a thread."""
        return self._sizes.get(run_id, MOST_SHORT) < MOST_SHORT

    def of(self, tx: Tx, run: Run) -> RunStatus:
        """The run's tree as it is now, jobs in their order."""
        tries: dict[int, Tries] = {}
        for brief in tx.briefs(run.id):
            known = tries.get(brief.job_id)
            tries[brief.job_id] = (brief,) if known is None else (*known, brief)
        tries = {job_id: own for job_id, own in tries.items() if own[-1].latest}  # others were retired
        self._sizes[run.id] = len(tries)
        parts = sorted(self._all(tx, run.id, tries), key=attrgetter("order"))
        rows = tx.workflows(run.id)
        by_workflow: dict[int, list[Part]] = {row.id: [] for row in rows}
        for part in parts:
            by_workflow[part.workflow_id].append(part)
        return RunStatus(run, [(row, by_workflow[row.id]) for row in rows])

    def _all(self, tx: Tx, run_id: int, tries: dict[int, Tries]) -> list[Part]:
        known = self._parts
        if len(known) > MOST_PARTS:
            known.clear()
            self._sizes.clear()
        found: list[Part] = []
        jobs: dict[int, Job] | None = None
        for job_id, own in tries.items():
            part = known.get(job_id)
            if part is None:
                jobs = jobs or {job.id: job for job, _ in tx.graph(run_id)}
                job = jobs[job_id]
                part = known[job_id] = _part(
                    job.workflow_id, (job.position, job_id), shapes.job_key(job), own
                )
            elif part.tries != own:
                part = known[job_id] = _part(part.workflow_id, part.order, part.key, own)
            found.append(part)
        return found


def _part(workflow_id: int, order: tuple[int, int], key: str, tries: Tries) -> Part:
    return Part(workflow_id, order, key, tries, shapes.job_in_status(key, tries).to_json())
