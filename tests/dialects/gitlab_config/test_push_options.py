"""What `git push -o` says to a pipeline (GitLab's push options)."""

from typing import Any

import pytest

from runyard.dialects.gitlab import DIALECT
from runyard.model.trigger import Push
from runyard.model.work import Project, User

FILES = {".gitlab-ci.yml": "a: {script: x}"}


def started(tree: Any, *options: str) -> Any:
    return DIALECT.on_push(
        Push(Project(1, "g/p"), User(1, "ada"), "main", False, "0" * 40, "a" * 40, options), tree(FILES)
    )


def test_variables_and_inputs_are_given(tree: Any) -> None:
    [start] = started(
        tree,
        "ci.variable=A=b=c",
        'ci.variable=B="two words"',
        "ci.variable=1-2=x",
        "ci.input=stage=test",
        "ci.variable=alone",
    )
    assert [(v.key, v.value) for v in start.variables] == [("A", "b=c"), ("B", "two words")]
    assert start.inputs == {"stage": "test"}


@pytest.mark.parametrize("option", ["ci.no_pipeline"])
def test_no_pipeline_is_made(tree: Any, option: str) -> None:
    assert started(tree, option) == []
    assert len(started(tree, "ci.skip")) == 1, "a skipped pipeline is one"
