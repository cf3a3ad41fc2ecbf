"""Findings of the LookML validator that are new against a target branch: the same code, text and file there
means not new."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from runyard.tasks.lookml.language.findings import Finding

_PLACE = re.compile(r":\d+")


def new_findings(found: Sequence[Finding], target: Sequence[Finding]) -> list[Finding]:
    """Those without a twin in the target. Lines do not count; of three of a kind that were two, one is
    new."""
    before = Counter(_identity(f) for f in target)
    new = []
    for one in found:
        key = _identity(one)
        if before[key]:
            before[key] -= 1
        else:
            new.append(one)
    return new


def _identity(one: Finding) -> tuple[str, ...]:
    # Messages may name the place of another declaration, which moves as well.
    return (one.code, _PLACE.sub("", one.message), one.file, one.field)
