"""A plan of the server's own may lay out another project's commit beside its own; no other plan may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pygit2
import pygit2.enums
import pytest

from runyard.model.errors import Forbidden
from runyard.model.plan import Assignment, JobPlan, StepKind, StepPlan
from runyard.model.state import Outcome, Reason
from runyard.model.work import Project
from runyard.runner.remote import RemoteLink
from tests.runner.conftest import Yard, sh


def neighbour(yard: Yard) -> tuple[int, str]:
    """Another project with one commit."""
    row = yard.ports.db.submit_write(lambda tx: tx.add(Project(0, "group/lib", "lib"))).result()
    yard.ports.source.create(row.id, "main")
    repository = pygit2.Repository(str(yard.ports.source.git_dir(row.id)))
    tree = repository.TreeBuilder()
    tree.insert("lib.txt", repository.create_blob(b"from the library\n"), pygit2.enums.FileMode.BLOB)
    who = pygit2.Signature("a", "a@example.invalid", 1, 0)
    return row.id, str(repository.create_commit("refs/heads/main", who, who, "lib", tree.write(), []))


def test_a_checkout_of_another_project_needs_the_plan_to_name_it(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard()
    other, sha = neighbour(yard)
    own = StepPlan("own", "Own", StepKind.CHECKOUT, params={"depth": 1})
    params = {"sha": sha, "depth": 1, "path": ".lib", "project_id": other}
    foreign = StepPlan("lib", "Library", StepKind.CHECKOUT, params=params)
    attempt, log = yard.run(own, foreign, sh("cat hello.txt .lib/lib.txt"), other_projects=(other,))
    assert attempt.outcome is Outcome.PASSED, log
    assert "hello from git\nfrom the library" in log
    attempt, log = yard.run(own, foreign)
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.CHECKOUT)
    assert f"may not see project {other}" in log


def test_a_runner_elsewhere_says_that_it_cannot(tmp_path: Path, make_yard: Callable[..., Yard]) -> None:
    yard = make_yard()
    link = RemoteLink("http://127.0.0.1:1", "t", tmp_path / "spool")
    work = Assignment(
        attempt_id=1, attempt_number=1, job_id=1, run_id=1, run_number=1, project_id=1, project_path="a/b", token="t",
        job=JobPlan("j", "j"), variables=(), facts={}, masks=(), inputs=(), ref="main", sha=yard.sha, before_sha="", tag=False,
        repo_url="http://127.0.0.1:1/a/b.git", timeout_s=1, lease_s=1, log_limit_bytes=1,
    )  # fmt: skip
    with pytest.raises(Forbidden, match="server's own runner"):
        link.checkout(replace(work, repo_url=""), yard.sha, "", 1, tmp_path)
