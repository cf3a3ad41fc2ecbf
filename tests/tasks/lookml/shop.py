"""The example project examples/looker with one thing changed, and what all five validators say of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runyard.tasks.lookml.connections import Connection
from runyard.tasks.lookml.report import VALIDATORS, Json
from runyard.tasks.lookml.rows import Row, rows
from runyard.tasks.lookml.validation import Request, Validation

SHOP = Path(__file__).parents[3] / "examples" / "looker"


@dataclass(frozen=True)
class Change:
    """`old` stands exactly once in the file and becomes `new`; `expected` is (validator or rule, subject,
    file, line) of every finding."""

    name: str
    file: str
    old: str
    new: str
    expected: tuple[tuple[str, str, str, int], ...]


def changed(folder: Path, change: Change) -> Path:
    """A copy of the example with the change made."""
    project = folder / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(SHOP, project, ignore=shutil.ignore_patterns("*.duckdb*", "__pycache__"))
    path = project / change.file
    text = path.read_text()
    assert text.count(change.old) == 1, (
        f"{change.old!r} stands {text.count(change.old)} times in {change.file}"
    )
    path.write_text(text.replace(change.old, change.new))
    return project


def reports(
    project: Path, connections: Mapping[str, Connection], target: Path | None = None
) -> dict[str, Json]:
    """Every validator's report."""
    request = Request(project=project, target=target, measures=True, concurrency=2)
    validation = Validation(request, lambda: connections)
    return {name: validation.report(name) for name in VALIDATORS}


def findings(found: Mapping[str, Json]) -> list[tuple[str, str, str, int]]:
    """(rule, subject, file, line) of every row of every report, sorted."""
    return sorted(_key(row) for report in found.values() for row in rows(report))


def _key(row: Row) -> tuple[str, str, str, int]:
    return row.rule, row.subject, row.file, row.line
