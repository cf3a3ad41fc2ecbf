"""Samples of what an attempt used: packed and unpacked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runyard.model.usage import Sample, packed, unpacked

SIZES = st.none() | st.integers(0, 1 << 61)
SHARES = st.none() | st.integers(0, 100_000).map(lambda n: n / 100_000)


@given(st.lists(st.builds(Sample, st.integers(0, 1 << 61), SHARES, SIZES, SIZES)))
def test_samples_survive_being_packed(samples: list[Sample]) -> None:
    assert unpacked(packed(samples)) == samples


def test_memory_is_a_share_of_its_limit() -> None:
    assert Sample(0, None, 512, 1024).memory == 0.5
    assert Sample(0, None, 2048, 1024).memory == 1.0
    assert Sample(0, None, 5, None).memory is None and Sample(0, None, None, 5).memory is None
