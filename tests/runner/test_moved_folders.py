"""A job owns its folders, so it can put links in their place; the runner, which is root, follows none."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from runyard.model.plan import StepKind, StepPlan
from runyard.model.state import Outcome
from tests.runner.conftest import Yard, actions, sh

MOVED = "something else in the place of its own folders"
UPLOAD = StepPlan("up", "Upload", StepKind.UPLOAD, params={"name": "out", "paths": ["kept"], "type": "archive", "format": "zip", "filename": "out.zip"})  # fmt: skip
SAVE = StepPlan("save", "Save", StepKind.CACHE_SAVE, params={"key": "k", "paths": ["kept"]})
RESTORE = StepPlan("restore", "Restore", StepKind.CACHE_RESTORE, params={"key": "k", "paths": ["kept"]})
CHECKOUT = StepPlan("checkout", "Get sources", StepKind.CHECKOUT, params={"depth": 1})


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside with what looks like the job's workspace."""
    folder = tmp_path_factory.mktemp("above") / "host"
    folder.mkdir()
    (folder / "kept").write_text("of the host\n")
    folder.chmod(0o700)
    return folder


def by_itself(host: Path) -> str:
    """Puts a link in place of the workspace."""
    return f'cd /; mv "$OLDPWD" "$OLDPWD.old" && ln -s {host} "$OLDPWD"'


def from_above(host: Path) -> str:
    """The same with the folder above it."""
    return f'cd /; up=$(dirname "$OLDPWD"); mv "$up" "$up.old" && ln -s {host.parent} "$up"'


@pytest.mark.parametrize("move", [by_itself, from_above])
@pytest.mark.parametrize("step", [UPLOAD, SAVE, RESTORE, CHECKOUT], ids=lambda step: step.key)
def test_built_in_steps_work_in_no_other_folder(
    yard: Yard, host: Path, step: StepPlan, move: Callable[[Path], str]
) -> None:
    named = re.search(r"^named (.+)$", yard.run(sh('echo "named $(basename "$PWD")"'))[1], re.MULTILINE)
    assert named is not None
    host = host.rename(host.parent / named[1])
    attempt, log = yard.run(sh(move(host)), step)
    assert attempt.outcome is Outcome.FAILED and MOVED in log, log
    assert os.listdir(host) == ["kept"] and (host / "kept").read_text() == "of the host\n"


def test_no_files_of_another_folder_are_hashed(yard: Yard, host: Path) -> None:
    look = actions("echo \"[${{ hashFiles('kept') }}]\"", "look")
    attempt, log = yard.run(sh("echo mine > kept"), sh(by_itself(host), "move"), look)
    assert attempt.outcome is not Outcome.PASSED and "[" not in log.partition(MOVED)[2], log


def test_no_matchers_of_another_folder_are_read(yard: Yard, host: Path) -> None:
    (host / "gcc.json").write_text(
        '{"problemMatcher": [{"owner": "x", "pattern": [{"regexp": "(.*)", "message": 1}]}]}'
    )
    attempt, log = yard.run(
        actions(f"{by_itself(host).replace('$OLDPWD', '$GITHUB_WORKSPACE')}; echo '::add-matcher::gcc.json'")
    )
    assert attempt.outcome is Outcome.FAILED and "there is no file 'gcc.json'" in log, log


def test_a_workspace_that_was_made_anew_is_a_workspace(yard: Yard) -> None:
    again = 'cd /; rm -rf "$OLDPWD"; mkdir "$OLDPWD"; echo mine > "$OLDPWD/kept"'
    attempt, log = yard.run(sh(again), UPLOAD)
    assert attempt.outcome is Outcome.PASSED, log
