"""The dialect's seam without a server: what a tree would run, its problems, its plan; and the `fields`
language."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pytest

from runyard.dialects.looker import DIALECT
from runyard.dialects.looker.compile import connection_names
from runyard.dialects.looker.projection import parse, project
from runyard.dialects.looker.suites import written
from runyard.model.errors import Invalid
from runyard.model.plan import StepKind
from runyard.model.trigger import Push, Trigger
from runyard.model.work import Project, User

from .conftest import bakery

ROW = Project(1, "group/bakery")
SOMEONE = User(1, "root")


@dataclass
class Tree:
    """Files of a commit."""

    files: dict[str, str]

    def read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None

    def paths(self) -> list[str]:
        return sorted(self.files)

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


def plan(files: dict[str, str], **options: Any) -> Any:
    return DIALECT.compile(
        Trigger(ROW, "looker", "api", "main", "f" * 40, SOMEONE, 1, options=options), Tree(files)
    )


def test_a_tree_is_ours_when_it_has_models() -> None:
    assert list(DIALECT.entries(Tree(bakery()))) == ["models/bakery.model.lkml"]
    assert list(DIALECT.entries(Tree({"a.view.lkml": ""}))) == []
    assert list(DIALECT.entries(Tree({"imported_projects/x/m.model.lkml": ""}))) == []


def test_problems_belong_to_the_first_model_that_sees_the_file() -> None:
    files = {
        "a.model.lkml": 'connection: "c"\ninclude: "v.view"\n',
        "b.model.lkml": 'connection: "c"\ninclude: "v.view"\nexplore: nothing {}\n',
        "v.view.lkml": "view: v {\n dimension: x { sql: ${y} ;; }\n}",
    }
    found = {
        p: [(x.file, x.line, x.severity) for x in DIALECT.check(Tree(files), p)]
        for p in ("a.model.lkml", "b.model.lkml")
    }
    assert found == {
        "a.model.lkml": [("v.view.lkml", 2, "error")],
        "b.model.lkml": [("b.model.lkml", 3, "error")],
    }
    assert DIALECT.check(Tree(bakery()), "models/bakery.model.lkml") == []


def test_without_a_suite_both_validators_run() -> None:
    made = plan(bakery())
    (workflow,) = made.workflows
    assert [job.key for job in workflow.jobs] == ["lookml", "sql"]
    kinds = [StepKind.CHECKOUT, StepKind.RUN, StepKind.UPLOAD, StepKind.UPLOAD, StepKind.UPLOAD]
    lookml, sql = workflow.jobs
    assert [s.kind for s in sql.steps] == kinds
    cached = [StepKind.RUN, StepKind.CACHE_RESTORE, StepKind.RUN, StepKind.CACHE_SAVE]
    assert [s.kind for s in lookml.steps] == [kinds[0], *cached, *kinds[2:]]
    assert lookml.steps[1].argv == ("rm", "-rf", ".runyard-cache")  # not what somebody committed there
    for job in workflow.jobs:
        (validate,) = (s for s in job.steps if s.key == "validate")
        assert validate.argv[:5] == (sys.executable, "-I", "-m", "runyard.tasks.lookml", job.key)
        uploads = [s for s in job.steps if s.kind is StepKind.UPLOAD]
        assert [s.params["type"] for s in uploads] == ["lookml", "summary", "junit"]
        assert {s.condition for s in uploads} == {"always()"}


def arguments(job: Any) -> list[str]:
    """What the suite adds to the program's own arguments."""
    argv = next(s.argv for s in job.steps if s.key == "validate")
    return list(argv[argv.index("--junit") + 2 :])


def test_options_of_the_suite_reach_the_program() -> None:
    data = written(
        {
            "name": "x",
            "lookml_validator_config_severity": "success",
            "lookml_validator_config_timeout": 30,
            "sql_validator_config_fail_fast": True,
            "sql_validator_config_ignore_hidden": True,
            "sql_validator_config_chunk_size": 7,
            "sql_validator_config_query_concurrency": 3,
            "sql_validator_config_selectors": ["bakery/*"],
            "sql_validator_config_exclusions": ["bakery/orders"],
            "sql_validator_config_measures": True,
            "assert_validator_config_is_enabled": True,
            "assert_validator_config_concurrency": 2,
            "content_validator_config_is_enabled": True,
            "content_validator_config_exclude_personal": True,
            "content_validator_config_include_folders": ["4"],
            "content_validator_config_exclude_folders": ["5", "6"],
            "style_validator_config_is_enabled": True,
            "style_validator_config_incremental": False,
        }
    )
    attributes = [{"name": "region", "value": "eu --out=/etc/x"}]
    made = plan(bakery(), suite={"id": 5, "data": data}, user_attributes=attributes)
    jobs = {job.key: job for job in made.workflows[0].jobs}
    assert list(jobs) == ["lookml", "style", "sql", "assert", "content"]
    region = "--user-attribute=region=eu --out=/etc/x"
    assert jobs["lookml"].timeout_s == 30
    assert arguments(jobs["lookml"]) == [region, "--cache=.runyard-cache", "--severity=info"]
    assert arguments(jobs["style"]) == [region]
    assert arguments(jobs["sql"]) == [
        region,
        "--select=bakery/*",
        "--exclude=bakery/orders",
        "--fail-fast",
        "--ignore-hidden",
        "--measures",
        "--chunk-size=7",
        "--concurrency=3",
    ]
    assert arguments(jobs["assert"]) == [region, "--concurrency=2"]
    assert arguments(jobs["content"]) == [
        region,
        "--include-folder=4",
        "--exclude-folder=5",
        "--exclude-folder=6",
        "--exclude-personal",
    ]


def test_incremental_validators_get_the_target_beside_the_commit_and_imports_their_pins() -> None:
    data = written({"name": "x", "sql_validator_config_incremental": True})
    pins = [{"name": n, "project_id": p, "sha": c * 40} for n, p, c in (("lib", 9, "c"), ("far", 7, "d"))]
    then = [{**pins[0], "sha": "b" * 40}, pins[1]]
    made = plan(
        bakery(),
        suite={"id": 5, "data": data},
        target={"branch": "main", "sha": "a" * 40},
        imports=pins,
        target_imports=then,
    )
    lookml, sql = made.workflows[0].jobs
    outs = [s.params for s in sql.steps if s.kind is StepKind.CHECKOUT]
    assert [{k: v for k, v in o.items() if k != "depth"} for o in outs] == [
        {"sha": "f" * 40},
        {"sha": "a" * 40, "path": ".runyard-target"},
        {"sha": "c" * 40, "path": ".runyard-imports/lib", "project_id": 9},
        {"sha": "d" * 40, "path": ".runyard-imports/far", "project_id": 7},
        {"sha": "b" * 40, "path": ".runyard-target-imports/lib", "project_id": 9},
    ]
    assert sql.other_projects == lookml.other_projects == (7, 9)
    assert arguments(sql)[:5] == [
        "--import=lib=.runyard-imports/lib",
        "--import=far=.runyard-imports/far",
        "--target=.runyard-target",
        "--target-import=lib=.runyard-target-imports/lib",
        "--target-import=far=.runyard-imports/far",
    ]
    assert "--target=.runyard-target" not in arguments(lookml)
    assert made.extra["looker"]["incremental"] == {"lookml": False, "sql": True}
    assert made.extra["looker"]["project_imports"] == {"lib": "c" * 40, "far": "d" * 40}


def test_a_suite_without_validators_is_invalid() -> None:
    off = {"lookml_validator_config_is_enabled": False, "sql_validator_config_is_enabled": False}
    with pytest.raises(Invalid, match="no validator"):
        plan(bakery(), suite={"id": 1, "data": {"name": "x", **off}})


def test_only_named_connections_are_handed_over() -> None:
    assert connection_names(Tree(bakery())) == {"bakery"}
    assert connection_names(Tree({"m.model.lkml": 'connection: "a" {{{', "x.lkml": 'connection: "no"'})) == {
        "a"
    }


def test_pushes_start_nothing() -> None:
    assert list(DIALECT.on_push(Push(ROW, SOMEONE, "main", False, "0" * 40, "f" * 40), Tree(bakery()))) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", {"a": 1, "b": {"c": 2, "d": [{"e": 3, "f": 4}]}}),
        ("a", {"a": 1}),
        (" a , zzz ", {"a": 1}),
        ("b(c)", {"b": {"c": 2}}),
        ("a,b(d(e))", {"a": 1, "b": {"d": [{"e": 3}]}}),
        ("b(d(f", {"b": {"d": [{"f": 4}]}}),
        ("a)),b", {"a": 1, "b": {"c": 2, "d": [{"e": 3, "f": 4}]}}),
    ],
)
def test_fields(fields: str, expected: dict[str, Any]) -> None:
    value = {"a": 1, "b": {"c": 2, "d": [{"e": 3, "f": 4}]}}
    assert project(value, parse(fields)) == expected
