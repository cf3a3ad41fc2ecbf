"""What jobs use: by control groups, from /proc at the plain level, over HTTP from a remote runner; nothing
for short jobs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from runyard.model.state import Outcome
from runyard.model.usage import Sample, unpacked
from runyard.runner import meter
from runyard.runner.meter import Meter
from runyard.runner.sandbox import Limits, Used, accounting

from .conftest import Yard, sh

BUSY = """
data=$(head -c 60000000 /dev/zero | tr '\\0' 'x')
end=$(( $(date +%s) + 3 ))
while [ $(date +%s) -lt $end ]; do :; done
echo ${#data}
"""


def samples_of(yard: Yard, attempt_id: int) -> list[Sample]:
    batches = yard.ports.db.submit_read(lambda tx: tx.samples(attempt_id)).result()
    return [sample for batch in batches for sample in unpacked(batch)]


def test_a_busy_job_is_sampled(yard: Yard) -> None:
    attempt, log = yard.run(sh(BUSY))
    assert attempt.outcome is Outcome.PASSED, log
    found = samples_of(yard, attempt.id)
    assert len(found) >= 2 and found == sorted(found, key=lambda one: one.at)
    assert found[0].cpu is None and all(one.cpu is not None for one in found[1:])
    assert max(one.cpu or 0 for one in found) > 0.02  # others work on this machine
    assert 60_000_000 < max(one.memory_bytes or 0 for one in found) < 1 << 30
    assert all(one.limit_bytes and 0 < (one.memory or 0) <= 1 for one in found)
    assert attempt.started_at is not None and attempt.started_at <= found[0].at <= (attempt.finished_at or 0)


def test_a_silent_job_is_sampled_to_its_end(yard: Yard) -> None:
    attempt, _ = yard.run(sh("sleep 6"))
    found = samples_of(yard, attempt.id)
    assert len(found) >= 4
    assert found[-1].at - found[0].at > 3500 and max(one.cpu or 0 for one in found) < 0.9


def test_a_short_job_is_never_looked_at(yard: Yard) -> None:
    attempt, _ = yard.run(sh("true"))
    assert samples_of(yard, attempt.id) == []


def at(clock: list[float], used: list[Used]) -> tuple[Meter, list[Sample]]:
    kept: list[Sample] = []

    def send(samples: Sequence[Sample]) -> None:
        kept.extend(samples)

    return Meter(lambda: used[-1], send, lambda: int(clock[-1] * 1000)), kept


def test_the_share_is_of_all_cores_and_a_new_count_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    used = [Used(5_000_000_000, 10, 2.0, 100)]
    monkeypatch.setattr(meter.time, "monotonic", lambda: clock[-1])
    one, kept = at(clock, used)
    assert one.due_at == 100.5
    one.look()
    for moment, cpu_ns in (
        (101.0, 6_000_000_000),
        (102.0, 9_000_000_000),
        (103.0, 1),
        (104.0, 1_000_000_001),
    ):
        clock.append(moment)
        used.append(Used(cpu_ns, 10, 2.0, 100))
        one.look()
    one.flush()
    assert [sample.cpu for sample in kept] == [None, 0.5, 1.0, None, 0.5]
    assert {sample.memory for sample in kept} == {0.1}


def test_what_nobody_can_count_is_no_sample() -> None:
    one, kept = at([1.0], [Used(None, None, 1.0, 1)])
    one.look()
    one.flush()
    assert kept == []


def test_without_control_groups_the_processes_are_counted() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "b = bytearray(40_000_000); print(flush=True); [0 for _ in iter(int, 1)]"],
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == b"\n"
        until = time.monotonic() + 20
        while (used := accounting.used(None, Limits(), child.pid)).cpu_ns in (
            None,
            0,
        ) or not used.memory_bytes:
            assert time.monotonic() < until
        assert used.memory_bytes > 30_000_000 and used.cores >= 1 and used.limit_bytes > used.memory_bytes
    finally:
        child.kill()
        child.communicate()
    assert accounting.used(None, Limits(cpus=0.5), child.pid).cpu_ns is None
    assert accounting.used(None, Limits(cpus=0.5), 0).cores == 0.5
