"""Sampling: which share of the shared keys is compared, and what a sample says of the whole
(contracts/datafold.md §8.6).

A tolerance t is the share of differing rows that may go unseen, a confidence c how sure one wants to be to
see one of them: of n rows that differ each with probability t, at least one shows with probability 1-(1-t)^n,
so n = ln(1-c) / ln(1-t) keys are needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from runyard.tasks.datadiff.spec import Sampling

USUAL_CONFIDENCE = 95.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample that was taken: `keys` compared of `of` shared ones."""

    ratio: float
    keys: int
    of: int
    confidence: float  # percent

    def estimate(self, different: int) -> dict[str, Any]:
        """Datafold's `values_different_estimate` of a column in which `different` sampled values differ:
        Wilson's interval, scaled to all."""
        n = self.keys
        share = different / n if n else 0.0
        z = NormalDist().inv_cdf(0.5 + self.confidence / 200)
        if n == 0:
            low, high = 0.0, 1.0
        elif n >= self.of:
            low = high = share
        else:
            middle = (share + z * z / (2 * n)) / (1 + z * z / n)
            reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
            low, high = max(0.0, middle - reach), min(1.0, middle + reach)
        return {
            "value": different,
            "estimate": round(share * self.of),
            "confidence": self.confidence,
            "interval": {
                "min": max(different, math.floor(low * self.of)),
                "max": min(self.of - (n - different), math.ceil(high * self.of)),
            },
        }


def share_of(sampling: Sampling | None, keys: tuple[int, int], rows: tuple[int, int]) -> float:
    """The share of keys to compare; 1 when all are. `keys` are the distinct keys of both sides, so the shared
    ones are at most the fewer."""
    if sampling is None or max(rows) < (sampling.threshold or 0):
        return 1.0
    most = min(keys)
    if sampling.ratio is not None:
        return sampling.ratio
    if sampling.max_rows is not None:
        return min(1.0, sampling.max_rows / most) if most else 1.0
    assert sampling.tolerance is not None and sampling.confidence is not None  # noqa: S101 - the spec's own check
    wanted = math.ceil(math.log(1 - sampling.confidence / 100) / math.log(1 - sampling.tolerance))
    return min(1.0, wanted / most) if most else 1.0


def taken(sampling: Sampling | None, ratio: float, keys: int, of: int) -> Sample:
    """The sample for the report."""
    return Sample(ratio, keys, of, (sampling and sampling.confidence) or USUAL_CONFIDENCE)
