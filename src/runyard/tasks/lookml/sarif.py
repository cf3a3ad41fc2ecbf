"""Reports as SARIF 2.1.0, as code hosts show findings beside the lines of a change. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from runyard.tasks.lookml.rows import Row, rows

_RULES = {
    "sql": "The database refuses the SQL of an explore or of one of its fields.",
    "assert": "An assert of a data test does not hold in every row.",
    "content": "A dashboard or Look names something that the models do not have.",
}


def sarif(reports: Sequence[Mapping[str, Any]], version: str) -> str:
    """One log of one run. A validator that could not run is a notification, and makes the execution
    unsuccessful."""
    found = [row for report in reports for row in rows(report)]
    names = sorted({row.rule for row in found})
    rules = [{"id": name, "shortDescription": {"text": _RULES.get(name, name)}} for name in names]
    problems = [r for r in reports if r["problem"]]
    run = {
        "tool": {"driver": {"name": "runyard lookml", "version": version, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not problems,
                "toolExecutionNotifications": [
                    {"level": "error", "message": {"text": f"{r['validator']}: {r['problem']}"}}
                    for r in problems
                ],
            }
        ],
        "results": [_result(row, names.index(row.rule)) for row in found],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, ensure_ascii=False, indent=2)


def _result(row: Row, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": row.rule,
        "ruleIndex": index,
        "level": row.level,
        "message": {
            "text": f"{row.subject}: {row.message}" if row.subject not in row.message else row.message
        },
        "partialFingerprints": {"runyard/v1": row.fingerprint or _fingerprint(row)},
    }
    if row.file:
        region = {"startLine": max(1, row.line)} | ({"startColumn": row.column} if row.column else {})
        artifact = {"uri": _uri(row.file), "uriBaseId": "%SRCROOT%"}
        result["locations"] = [{"physicalLocation": {"artifactLocation": artifact, "region": region}}]
    return result


def _fingerprint(row: Row) -> str:
    """The same for the same error, wherever its line went."""
    parts = (row.rule, row.file, row.explore, row.subject, row.message)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _uri(path: str) -> str:
    return quote(path, errors="replace")
