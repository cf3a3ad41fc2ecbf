"""Each folder of examples/gitlab compiles to its plan.json; RUNYARD_WRITE_EXAMPLES=1 writes them anew, for
review by eye.

plan.json leaves out fields that have their default and the predefined variables; trigger.json changes the
trigger and tells the diff.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runyard.dialects.gitlab.config import check, compile

EXAMPLES = Path(__file__).parent.parent / "examples" / "gitlab"
CASES = sorted(path.parent.name for path in EXAMPLES.glob("*/.gitlab-ci.yml"))


def shrunk(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {}
        for field in dataclasses.fields(value):
            default = field.default_factory() if callable(field.default_factory) else field.default  # type: ignore[misc]
            if (item := getattr(value, field.name)) != default:
                kept[field.name] = shrunk(item)
        return kept
    if isinstance(value, tuple | list):
        return [shrunk(item) for item in value if not _is_predefined(item)]
    return (
        {key: shrunk(item) for key, item in value.items()}
        if isinstance(value, dict)
        else msgspec.to_builtins(value)
    )


def _is_predefined(item: Any) -> bool:
    return getattr(item, "key", "").startswith(("CI_", "GITLAB_")) or getattr(item, "key", "") == "CI"


@pytest.mark.parametrize("case", CASES)
def test_an_example_compiles_to_its_plan(case: str, tree: Any, trigger: Any) -> None:
    folder = EXAMPLES / case
    settings = json.loads((folder / "trigger.json").read_text()) if (folder / "trigger.json").exists() else {}
    texts = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("plan.json", "trigger.json")
    }
    diff = frozenset(settings.pop("diff")) if "diff" in settings else None
    diffs = {base: frozenset(paths) for base, paths in settings.pop("diffs", {}).items()}
    files = tree(texts, diff, diffs)
    plan = compile(trigger(**settings), files)
    assert not [problem for problem in check(files) if problem.severity == "error"]
    found = shrunk(plan)
    stored = folder / "plan.json"
    if os.environ.get("RUNYARD_WRITE_EXAMPLES"):
        stored.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(stored.read_text())
    assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)) == plan


def test_there_are_enough_examples() -> None:
    assert len(CASES) >= 15
