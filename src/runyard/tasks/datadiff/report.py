"""What a diff found: the Report and its JSON, `result.json`. Numbers follow Datafold's summary
(contracts/datafold.md §3.3), pairs are [A, B].

`docs/dialects/datafold.md` documents the shape; the Datafold routes, the command line and the Markdown
summary read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runyard.tasks.datadiff.faults import CouldNot
from runyard.tasks.datadiff.keys import Found
from runyard.tasks.datadiff.pairing import Pairing
from runyard.tasks.datadiff.sampling import Sample

Two = tuple[int, int]
VERSION = 1


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """One side's keys. `dupes` counts rows, `distinct` keys, both without null keys."""

    total: int
    nulls: int
    distinct: int
    dupes: int


@dataclass(frozen=True, slots=True)
class Samples:
    """A few rows of each kind, values as text (None is NULL)."""

    changed: list[dict[str, Any]] = field(default_factory=list)
    only: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ((), ())  # type: ignore[assignment]
    nulls: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ((), ())  # type: ignore[assignment]
    dupes: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ((), ())  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Keys that are not alone on some side, their rows compared as multisets: how many keys, how many of them
    with other rows, rows without an equal."""

    keys: int
    different: int
    rows: Two


@dataclass(frozen=True, slots=True)
class Report:
    """A finished comparison."""

    labels: tuple[str, str]
    key: Found
    pairing: Pairing
    keys: tuple[KeyCounts, KeyCounts]
    exclusive_keys: Two
    exclusive_rows: Two  # without duplicated and null keys: what the diff table holds
    compared_rows: int
    changed_rows: int
    changed_values: tuple[int, ...]  # per compared column
    samples: Samples = field(default_factory=Samples)
    exclusives: dict[str, Any] | None = None  # a profile of the keys that one side alone has
    duplicates: Duplicates | None = None  # when there are some and they were compared
    profiles: dict[str, Any] | None = None  # of columns, when asked for
    sample: Sample | None = None  # when not every shared key was compared
    timeline: list[dict[str, Any]] | None = None
    warnings: tuple[str, ...] = ()
    parquet_rows: int = 0
    materialized: dict[str, list[dict[str, Any]]] | None = None  # table of the results → where it is
    seconds: float = 0.0

    @property
    def bad_keys(self) -> bool:
        """Whether rows had to be left out because their key is null or not alone."""
        return any(k.nulls or k.dupes for k in self.keys)

    @property
    def equal(self) -> bool:
        """Whether the two are the same in every respect that was compared, and nothing was left out."""
        return self.result in ("identical", "empty")

    @property
    def result(self) -> str:
        """Datafold's word (§6)."""
        if self.bad_keys:
            return "bad-pks"
        if self.changed_rows or self.pairing.schema.any:
            return "different"
        if any(self.exclusive_keys):
            return "missing-pks"
        return "identical" if any(k.total for k in self.keys) else "empty"

    @property
    def match_score(self) -> float:
        """Share of cells that agree, 0..1 (§8.7)."""
        schema, (a, b) = self.pairing.schema, self.keys
        cells = a.total * schema.counts[0] + b.total * schema.counts[1]
        shared = len(self.pairing.values) + len(self.pairing.key)
        values = [self.sample.estimate(n)["estimate"] if self.sample else n for n in self.changed_values]
        bad = (
            2 * sum(values)
            + sum(self.exclusive_keys) * shared
            + len(schema.only_a) * a.total
            + len(schema.only_b) * b.total
        )
        return max(0, cells - bad) / cells if cells else 1.0


def as_json(report: Report) -> dict[str, Any]:
    """result.json."""
    a, b = report.keys
    return {
        "version": VERSION,
        "status": "success",
        "result": report.result,
        "equal": report.equal,
        "match_score": round(report.match_score, 6),
        "a": report.labels[0],
        "b": report.labels[1],
        "key": {"columns": list(report.key.columns), "source": report.key.source},
        "pks": {
            "total_rows": [a.total, b.total],
            "nulls": [a.nulls, b.nulls],
            "dupes": [a.dupes, b.dupes],
            "exclusives": list(report.exclusive_keys),
            "distincts": [a.distinct, b.distinct],
        },
        "values": _values(report),
        "schema": _schema(report.pairing),
        "dependencies": [],
        "rows": {
            "changed": report.changed_rows,
            "only_a": report.exclusive_rows[0],
            "only_b": report.exclusive_rows[1],
            "in_parquet": report.parquet_rows,
        },
        "samples": {
            "changed": report.samples.changed,
            "exclusive": list(report.samples.only),
            "null_keys": list(report.samples.nulls),
            "duplicate_keys": list(report.samples.dupes),
        },
        "exclusives_profile": report.exclusives,
        "duplicates": _duplicates(report.duplicates),
        "column_profiles": report.profiles,
        "sampled": report.sample is not None,
        "sampling": _sampling(report.sample),
        "timeline": report.timeline,
        "materialized": report.materialized,
        "warnings": list(report.warnings),
        "seconds": round(report.seconds, 3),
    }


def _duplicates(found: Duplicates | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"keys": found.keys, "keys_different": found.different, "rows_different": list(found.rows)}


def _sampling(sample: Sample | None) -> dict[str, Any] | None:
    if sample is None:
        return None
    return {
        "keys": sample.keys,
        "of": sample.of,
        "ratio": sample.ratio,
        "confidence": sample.confidence,
        "method": "hash of key",
    }


def _values(report: Report) -> dict[str, Any]:
    rows, pairs = report.compared_rows, report.pairing.values
    return {
        "total_rows": rows,
        "compared_columns": len(pairs),
        "total_values": rows * len(pairs),
        "rows_with_differences": report.changed_rows,
        "values_with_differences": sum(report.changed_values),
        "columns_with_differences": sum(map(bool, report.changed_values)),
        "columns_diff_stats": [
            {
                "column_name": p.name,
                "match": 100.0 * (rows - n) / rows if rows else 100.0,
                "values_different": n,
                **({"values_different_estimate": report.sample.estimate(n)} if report.sample else {}),
            }
            for p, n in zip(pairs, report.changed_values, strict=True)
        ],
    }


def _schema(pairing: Pairing) -> dict[str, Any]:
    found = pairing.schema
    types = [*found.retyped, *found.resized]
    return {
        "columns_mismatched": [len(side) + len(found.retyped) for side in (found.only_a, found.only_b)],
        "column_type_mismatches": len(found.retyped),
        "column_reorders": found.reordered,
        "column_counts": list(found.counts),
        "column_type_differs": [p.name for p in found.retyped],
        "exclusive_columns": [list(found.only_a), list(found.only_b)],
        "types": [
            {"column_name": p.name, "types": [p.a.exact, p.b.exact], "compared": p in found.resized}
            for p in types
        ],
    }


def as_failure(error: CouldNot, labels: tuple[str, str]) -> dict[str, Any]:
    """result.json of a comparison that was not made."""
    return {
        "version": VERSION,
        "status": "failed",
        "result": "error",
        "equal": False,
        "a": labels[0],
        "b": labels[1],
        "error": {
            "error_type": error.fault.value,
            "error_value": error.message,
            "is_retryable": error.retryable,
        },
    }
