"""`python -m runyard.tasks.lookml.answers`: one question about LookML or a database, as JSON on stdin; its
answer as JSON on stdout.

What the Looker door asks at once, kept out of the server's own process: `connect` {name, settings, timeout_s}
→ {problem}; `validate` {texts} → {findings}; `tests` {texts, connections, model, test, file, now} → {tests}.
`texts` are the project's files by path.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from runyard.tasks.lookml.connections import CannotConnect, Connection, connection
from runyard.tasks.lookml.databases import open_database
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.language.outline import packed_finding
from runyard.tasks.lookml.language.project import Project, from_texts
from runyard.tasks.lookml.validators.asserts.run import AssertOptions, TestError, TestSuccess, run
from runyard.tasks.lookml.validators.asserts.tests import DataTest, tests

Json = dict[str, Any]


def _connect(asked: Mapping[str, Any]) -> Json:
    """Opens the database and binds one query, read-only."""
    try:
        database = open_database(connection(asked["name"], asked["settings"]), asked["timeout_s"])
        try:
            refusal = database.bind("SELECT 1")
        finally:
            database.close()
    except CannotConnect as problem:
        return {"problem": str(problem)}
    return {"problem": refusal.message if refusal else ""}


def _project(asked: Mapping[str, Any]) -> Project:
    return from_texts(
        (path, text.encode("utf-8", "surrogateescape")) for path, text in asked["texts"].items()
    )


def _validate(asked: Mapping[str, Any]) -> Json:
    from runyard.tasks.lookml.validators.checks import validate

    return {"findings": [packed_finding(f) for f in validate(_project(asked))]}


def _tests(asked: Mapping[str, Any]) -> Json:
    """Each chosen test in order: its errors, its warning, why it could not run."""
    wanted = [
        t
        for t in tests(models(_project(asked)))
        if asked["model"] in ("", t.model.name)
        and asked["test"] in ("", t.name)
        and asked["file"] in ("", t.file)
    ]
    found: dict[tuple[str, str], tuple[list[TestError], TestSuccess | None]] = {}

    def say(test: DataTest, verdict: tuple[list[TestError], TestSuccess | None]) -> None:
        found[test.model.name, test.name] = verdict

    options = AssertOptions(now=datetime.fromisoformat(asked["now"]), concurrency=2)
    tried = run(wanted, _usable(asked["connections"]), options, say)
    problems = {(t.model, t.explore): t.problem for t in tried if t.problem}
    results = []
    for test in wanted:
        errors, success = found.get((test.model.name, test.name), ([], None))
        results.append(
            {
                "model": test.model.name,
                "test": test.name,
                "explore": test.explore,
                "assertions": len(test.assertions),
                "errors": [[e.assertion, e.message] for e in errors],
                "warning": success.warning if success else "",
                "problem": problems.get((test.model.name, test.explore), ""),
            }
        )
    return {"tests": results}


def _usable(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Connection]:
    """Connections that can be used; a test on another one says what is missing."""
    found = {}
    for name, settings in given.items():
        with suppress(CannotConnect):
            found[name] = connection(name, settings)
    return found


QUESTIONS: Mapping[str, Callable[[Mapping[str, Any]], Json]] = {
    "connect": _connect,
    "validate": _validate,
    "tests": _tests,
}


def main() -> int:
    """Answers the question of stdin."""
    asked = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
    answer = QUESTIONS[asked["question"]](asked)
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
