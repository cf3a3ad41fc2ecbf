"""`git push -o merge_request.…` makes and changes merge requests."""

from __future__ import annotations

from typing import Any

from runyard.dialects.gitlab import merging
from runyard.dialects.gitlab.push_options import Wishes
from runyard.model.trigger import ZERO_SHA, Push
from runyard.model.work import Project

from .conftest import House


def pushed(house: House, project: int, *options: str, ref: str = "topic") -> list[dict[str, Any]]:
    """Open merge requests after a push of that branch."""
    rows = house.services.db.submit_read(lambda tx: (tx.get(Project, project), tx.user_by_name("root")))
    found, actor = rows.result()
    sha = house.services.source.resolve(project, "main")[0].sha
    push = Push(found, actor, ref, False, ZERO_SHA, sha, options)
    house.run(merging.pushed(house.services, push))
    return house.get(f"/projects/{project}/merge_requests?state=opened")


def test_a_push_makes_one_merge_request_and_changes_it(house: House) -> None:
    project = house.project(config="a: {script: [x], rules: [{if: $CI_MERGE_REQUEST_IID}]}\n")
    for name in ("topic", "release"):
        made = house.call(
            "POST", f"/projects/{project}/repository/branches", json={"branch": name, "ref": "main"}
        )
        assert made.status_code == 201
    assert pushed(house, project, "merge_request.title=alone") == [], "only create makes one"
    (one,) = pushed(
        house, project, "merge_request.create", "merge_request.description=first\\nsecond", "merge_request.label=a", "merge_request.label=b",
        "merge_request.draft",
    )  # fmt: skip
    assert (one["title"], one["target_branch"], one["draft"]) == ("Draft: first", "main", True)
    assert (one["description"], one["labels"], one["author"]["username"]) == (
        "first\nsecond",
        ["a", "b"],
        "root",
    )
    assert len(house.get(f"/projects/{project}/merge_requests/{one['iid']}/pipelines")) == 1
    assert len(pushed(house, project, "merge_request.create")) == 1, "there is one already"
    (two,) = pushed(
        house, project, "merge_request.title=Better", "merge_request.unlabel=a", "merge_request.target=release", "merge_request.squash"
    )  # fmt: skip
    assert (two["iid"], two["title"], two["labels"], two["target_branch"]) == (
        one["iid"],
        "Better",
        ["b"],
        "release",
    )
    assert two["squash"] is True
    assert len(pushed(house, project, "merge_request.create", "merge_request.target=gone")) == 1
    assert len(pushed(house, project, "merge_request.create")) == 2, "to another branch it is another one"
    assert len(pushed(house, project, "merge_request.create", ref="main")) == 2, "not from a branch to itself"
    again = pushed(
        house, project, "merge_request.create", "merge_request.title=Newer", "merge_request.label=c"
    )
    by_target = {found["target_branch"]: (found["title"], found["labels"]) for found in again}
    assert by_target == {"main": ("Newer", ["c"]), "release": ("Better", ["b"])}, (
        "it changes the one to its target"
    )
    gone = pushed(
        house, project, "merge_request.create", "merge_request.target=gone", "merge_request.title=Z"
    )
    assert "Z" not in {found["title"] for found in gone}


def test_words_about_other_things_are_none_of_it() -> None:
    assert Wishes.of(("ci.skip", "ci.variable=merge_request.create=1")) is None
    assert Wishes.of(("merge_request.auto_merge",)) == Wishes()
    assert (Wishes.of(("merge_request.title=a=b",)) or Wishes()).title == "a=b"
