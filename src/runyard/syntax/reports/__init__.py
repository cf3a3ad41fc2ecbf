"""Reports that jobs leave (tests, coverage, findings, figures), read once and told in a few lines. Types and
file formats are those of GitLab's `artifacts:reports` (docs/ci/yaml/artifacts_reports). Called where an
artifact arrives; pages show what is told.

A report is a stranger's text: bytes, nodes, nesting and rows are capped, no document type may define
anything, and a broken report becomes a sentence (`problem`), never an error (contracts/reliability.md §5
C16).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import msgspec

from runyard.syntax.reports import coverage, dotenv, figures, findings, junit
from runyard.syntax.reports.members import PACKED_BYTES, members
from runyard.syntax.reports.told import Told

READERS: Mapping[str, Callable[[Sequence[bytes]], Told]] = {
    "junit": junit.told,
    "cobertura": coverage.cobertura,
    "jacoco": coverage.jacoco,
    "codequality": findings.code_quality,
    "accessibility": findings.accessibility,
    "sast": findings.security,
    "secret_detection": findings.security,
    "dependency_scanning": findings.security,
    "container_scanning": findings.security,
    "cluster_image_scanning": findings.security,
    "dast": findings.security,
    "coverage_fuzzing": findings.security,
    "api_fuzzing": findings.security,
    "requirements": findings.requirements,
    "requirements_v2": findings.requirements,
    "terraform": figures.terraform,
    "metrics": figures.metrics,
    "load_performance": figures.load_performance,
    "performance": figures.browser_performance,
    "browser_performance": figures.browser_performance,
    "cyclonedx": figures.cyclonedx,
    "license_scanning": figures.licenses,
    "annotations": figures.links,
}
REFUSED = frozenset({"annotations"})  # GitLab takes these, and dotenv, only when it can read them
KEY = "report"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a report leaves behind: variables for dependants, and what is kept with the artifact (under `KEY`)
    for pages."""

    outputs: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def take_in(kind: str, file: Path) -> Kept:
    """Reads an artifact that has just arrived. ValueError when it is of a kind that is refused unless it can
    be read."""
    if kind == "dotenv":
        return Kept(outputs=_variables(file))
    if kind not in READERS:
        return Kept()
    said = _told(kind, file)
    if said.problem and kind in REFUSED:
        raise ValueError(said.problem)
    return Kept(extra={KEY: said.json})


def _variables(file: Path) -> dict[str, str]:
    if file.stat().st_size > 2 * dotenv.BYTES:  # packed or not, too much
        raise ValueError(dotenv.TOO_BIG)
    try:
        return dotenv.variables(members(file.read_bytes()))
    except zlib.error:
        raise ValueError("Invalid Format") from None


def _told(kind: str, file: Path) -> Told:
    try:
        if file.stat().st_size > PACKED_BYTES:
            raise ValueError(f"it has more than {PACKED_BYTES >> 20} MiB")
        return READERS[kind](members(file.read_bytes()))
    except (ExpatError, ValueError, RecursionError, msgspec.DecodeError, zlib.error) as error:
        return Told(problem=f"This {kind} report cannot be read: {error}"[:500])
