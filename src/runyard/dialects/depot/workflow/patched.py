"""Workflows that `depot ci run` sent with local changes (contracts/depot.md §5). Called by compile.

The CLI writes two things into every job that checks out: the base commit as `ref` of the checkout, and a step
that fetches the patch from Depot's own host and applies it. Here the changes are a commit already, the run's
own: so the checkout takes that one and the step is not needed.
"""

from __future__ import annotations

from dataclasses import replace

from runyard.dialects.depot.workflow.document import JobDoc, StepDoc, WorkflowDoc

STEP_NAME = "Apply local patch from Depot Cache"


def without_patch_step(doc: WorkflowDoc, base: str) -> WorkflowDoc:
    """The workflow as its author wrote it."""
    return replace(doc, jobs={id: _job(job, base) for id, job in doc.jobs.items()})


def _job(job: JobDoc, base: str) -> JobDoc:
    kept = (step for step in job.steps if not _is_injected(step))
    return replace(job, steps=tuple(_unpinned(step, base) for step in kept))


def _is_injected(step: StepDoc) -> bool:
    named = step.name is not None and step.name.value == STEP_NAME
    return named and step.run is not None and "DEPOT_TOKEN" in step.env


def _unpinned(step: StepDoc, base: str) -> StepDoc:
    ref = step.inputs.get("ref")
    if step.uses is None or ref is None or ref.value.strip() != base:
        return step
    return replace(step, inputs={name: text for name, text in step.inputs.items() if name != "ref"})
