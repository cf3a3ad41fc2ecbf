"""The curves of what a job used: figures in words, peaks that survive thinning, nothing of what nobody
took."""

from __future__ import annotations

from runyard.model.usage import Sample
from runyard.web.usage import HEIGHT, POINTS, WIDTH, curves


def test_figures_are_said_and_drawn() -> None:
    samples = [Sample(1000, None, 10_000_000, 100_000_000), Sample(2000, 0.5, 60_000_000, 100_000_000), Sample(3000, 1.0, 20_000_000, 100_000_000)]  # fmt: skip
    cpu, memory = curves(samples)
    assert (cpu.title, cpu.said) == ("CPU", "75% on average, 100% at most")
    assert memory.said == "60.0 MB of 100.0 MB at most"
    assert memory.points.split()[0] == "0.0,19.3"
    assert memory.points.split()[-1].startswith(f"{WIDTH}.0,")


def test_a_short_job_has_one_share_and_it_is_said() -> None:
    cpu, _ = curves([Sample(1000, None, 5), Sample(2000, 0.5, 6)])
    assert cpu.said == "50% on average, 50% at most"
    assert [point.split(",")[0] for point in cpu.points.split()] == ["0.0", f"{WIDTH}.0"]


def test_the_peak_of_many_samples_stays() -> None:
    samples = [Sample(at, 1.0 if at == 7_777 else 0.1) for at in range(10_000)]
    (cpu,) = curves(samples)
    heights = [float(point.split(",")[1]) for point in cpu.points.split()]
    assert len(heights) == POINTS
    assert min(heights) == 1.0
    assert all(0 <= y <= HEIGHT for y in heights)


def test_what_nobody_took_is_not_drawn() -> None:
    assert curves([]) == ()
    assert curves([Sample(1)]) == ()
    assert [c.said for c in curves([Sample(1, None, 5), Sample(2, None, 1_500)])] == ["1.5 kB at most"]
