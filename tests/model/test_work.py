"""Jobs whose plan is read when it is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runyard.model.plan import JobPlan
from runyard.model.work import Job

PLAN = JobPlan("a", "a", stage="build")
WHOLE = Job(7, 1, 2, 3, "a", "a", PLAN, 4, 5)
OTHERS = {"id": 7, "run_id": 1, "workflow_id": 2, "project_id": 3, "key": "a", "name": "a", "position": 4, "created_at": 5}  # fmt: skip


def packed() -> tuple[Job, list[int]]:
    asked: list[int] = []

    def unpack() -> JobPlan:
        asked.append(1)
        return PLAN

    return Job.packed(OTHERS, unpack), asked


def test_the_plan_is_unpacked_once_and_not_before_somebody_asks() -> None:
    job, asked = packed()
    assert (job.id, job.name, job.created_at, asked) == (7, "a", 5, [])
    assert job.plan is PLAN and job.plan is PLAN
    assert asked == [1]


def test_a_packed_job_equals_and_copies_like_any_other() -> None:
    assert packed()[0] == WHOLE
    assert replace(packed()[0], position=9) == replace(WHOLE, position=9)
    assert repr(packed()[0]) == repr(WHOLE)


def test_an_attribute_that_no_job_has_is_refused() -> None:
    with pytest.raises(AttributeError, match="plann"):
        packed()[0].plann  # type: ignore[attr-defined]  # noqa: B018
