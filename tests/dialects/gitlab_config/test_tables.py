"""What the contract says as tables: composite status, starts by what came before, matrix names, globs.
Sources stand with each."""

from __future__ import annotations

import re
from typing import Any

import pytest

from runyard.dialects.gitlab.config import compile
from runyard.model.fold import Word, composite
from runyard.syntax.patterns import path_glob

W = Word

# contracts/gitlab.md §3.9, the sixteen rows of the composite rule, first match wins: (row, dag, words,
# answer)
COMPOSITE = [
    (1, True, {W.SUCCESS, W.SKIPPED}, W.SKIPPED),
    (1, True, {W.SUCCESS, W.IGNORED}, W.SKIPPED),
    (2, False, {W.SKIPPED, W.IGNORED}, W.SKIPPED),
    (3, False, {W.SUCCESS, W.SKIPPED}, W.SUCCESS),
    (3, False, {W.SUCCESS, W.OK_WARN, W.IGNORED}, W.SUCCESS),
    (3, True, {W.SUCCESS, W.OK_WARN}, W.SUCCESS),
    (4, False, {W.CREATED, W.OK_WARN, W.IGNORED}, W.CREATED),
    (6, False, {W.CANCELED, W.SUCCESS, W.SKIPPED}, W.CANCELED),
    (7, False, {W.PENDING, W.CREATED, W.SKIPPED}, W.PENDING),
    (8, False, {W.PENDING, W.SUCCESS}, W.RUNNING),
    (8, False, {W.RUNNING, W.FAILED}, W.RUNNING),
    (9, False, {W.RESOURCE, W.SUCCESS, W.MANUAL}, W.RESOURCE),
    (11, False, {W.MANUAL, W.SUCCESS}, W.MANUAL),
    (11, False, {W.MANUAL, W.SCHEDULED, W.CREATED}, W.MANUAL),
    (12, False, {W.SCHEDULED, W.SUCCESS}, W.SCHEDULED),
    (14, False, {W.CREATED, W.SUCCESS}, W.RUNNING),
    (15, False, {W.STOPPING, W.SUCCESS}, W.STOPPING),
    (16, False, {W.FAILED, W.SUCCESS}, W.FAILED),
    (16, False, {W.FAILED, W.CANCELED}, W.FAILED),
]


@pytest.mark.parametrize(("row", "dag", "words", "answer"), COMPOSITE)
def test_the_composite_of(row: int, dag: bool, words: set[Word], answer: Word) -> None:
    assert composite(frozenset(words), dag=dag) is answer, row


# doc/ci/yaml `parallel:matrix`, contract §3.8: entries in order, keys in the order written, comma and space
NAMES = [
    ("3", ["a 1/3", "a 2/3", "a 3/3"]),
    ("{matrix: [{A: [x, y]}]}", ["a: [x]", "a: [y]"]),
    ("{matrix: [{B: [1, 2], A: [x]}]}", ["a: [1, x]", "a: [2, x]"]),
    ("{matrix: [{A: x, B: [p, q]}, {A: y}]}", ["a: [x, p]", "a: [x, q]", "a: [y]"]),
    ("{matrix: [{A: [x, y], B: [p, q]}]}", ["a: [x, p]", "a: [x, q]", "a: [y, p]", "a: [y, q]"]),
    ("{matrix: [{A: ['a b', 'c,d']}]}", ["a: [a b]", "a: [c,d]"]),
]


@pytest.mark.parametrize(("parallel", "names"), NAMES)
def test_parallel_jobs_are_named(parallel: str, names: list[str], tree: Any, trigger: Any) -> None:
    plan = compile(trigger(), tree({".gitlab-ci.yml": f"a: {{script: x, parallel: {parallel}}}"}))
    assert [job.name for job in plan.workflows[0].jobs] == names


# Ruby's File.fnmatch?(glob, path, FNM_PATHNAME | FNM_DOTMATCH | FNM_EXTGLOB), contract §3.4: (glob, path,
# matches)
GLOBS = [
    ("*.md", "a.md", True), ("*.md", "d/a.md", False), ("**/*.md", "a.md", True), ("**/*.md", "d/e/a.md", True), ("d/*", "d/a", True),
    ("d/*", "d/e/a", False), ("d/**/*", "d/e/a", True), ("d/**/*", "d/a", True), ("d/**", "d/e/a", False), ("*", ".hidden", True),
    ("{a,b}.txt", "b.txt", True), ("{a,b}.txt", "c.txt", False), ("{a,b}/**/*.{c,h}", "b/x/y.h", True), ("?.c", "a.c", True), ("?.c", "ab.c", False),
    ("[ab].c", "b.c", True), ("[^ab].c", "b.c", False), ("[a-c]?.c", "bx.c", True), ("a\\*", "a*", True), ("a\\*", "ab", False), ("a", "a/b", False),
    ("**/a/b", "x/a/b", True), ("src/**/test_*.py", "src/test_a.py", True), ("**", "a", True), ("**", "a/b", False),
]  # fmt: skip


@pytest.mark.parametrize(("glob", "path", "matches"), GLOBS)
def test_a_glob_matches(glob: str, path: str, matches: bool) -> None:
    assert path_glob(glob).found_in(path) is matches


# contract §3.5: a kind of ref, a source without `_event` or its plural, an exact ref, a pattern, each also
# `@group/project`
REFS = [
    ("branches", {}, True), ("branches", {"source": "merge_request_event"}, False), ("tags", {"tag": True, "ref": "v1"}, True), ("tags", {}, False),
    ("push", {}, True), ("pushes", {}, True), ("web", {"source": "web"}, True), ("webs", {"source": "web"}, True), ("api", {"source": "api"}, True),
    ("schedule", {"source": "schedule"}, True), ("schedules", {"source": "schedule"}, True), ("schedules", {}, False),
    ("merge_request", {"source": "merge_request_event"}, True), ("merge_requests", {"source": "merge_request_event"}, True),
    ("parent_pipelines", {"source": "parent_pipeline"}, True), ("pipelines", {"source": "pipeline"}, True), ("pipelines", {"source": "parent_pipeline"}, False),
    ("triggers", {"source": "trigger"}, True), ("external", {"source": "external"}, True), ("chat", {"source": "chat"}, True),
    ("main", {}, True), ("mai", {}, False), ("main", {"source": "merge_request_event"}, False), ("/^ma/", {}, True), ("/^MA/i", {}, True), ("/^MA/", {}, False),
    ("main@group/sub/app", {}, True), ("main@group/other", {}, False), ("branches@group/sub/app", {}, True),
    ("/^ma.*$/@group/sub/app", {}, True), ("/^MA/i@group/sub/app", {}, True), ("/^ma/@group/other", {}, False), ("/^a@b$/", {"ref": "a@b"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("ref", "event", "holds"), REFS)
def test_only_takes(ref: str, event: dict[str, Any], holds: bool, tree: Any, trigger: Any) -> None:
    text = f"a: {{script: x, only: ['{ref}']}}\nb: {{script: x, except: ['{ref}'], only: [/./, merge_requests, branches]}}\nz: {{script: x, rules: [{{when: always}}]}}"
    plan = compile(trigger(**event), tree({".gitlab-ci.yml": text}))
    names = {job.key for job in plan.workflows[0].jobs}
    assert names >= {"z"}
    assert ("a" in names) is holds
    assert "b" not in names or not holds


# contract §3.10: (key, the key that our runner uses, the one that a stock runner gets and expands); one.lock
# and two.lock are there
CACHE_KEYS = [
    ("null", "default", "default"),
    ("k-$CI_COMMIT_REF_SLUG", "k-main", "k-$CI_COMMIT_REF_SLUG"),
    ("$SLASHED", "a-b", "$SLASHED"),
    ("{files: [one.lock]}", "0_one.lock-SHA", "0_one.lock-SHA"),
    ("{files: [one.lock, d/two.lock]}", "0_one.lock_d-two.lock-SHA", "0_one.lock_d-two.lock-SHA"),
    ("{files: [gone.lock]}", "0_gone.lock-default", "0_gone.lock-default"),
    ("{files: [one.lock], prefix: $CI_JOB_NAME}", "a-SHA", "$CI_JOB_NAME-SHA"),
    ("{files_commits: [one.lock], prefix: p}", "p-SHA", "p-SHA"),
    ("p-$CI_PIPELINE_ID", "p-${{ run.id }}", "p-$CI_PIPELINE_ID"),
]


@pytest.mark.parametrize(("key", "ours", "stock"), CACHE_KEYS)
def test_a_cache_is_kept_under(key: str, ours: str, stock: str, tree: Any, trigger: Any) -> None:
    text = f"a: {{script: x, variables: {{SLASHED: a/b}}, cache: {{paths: [p], key: {key}}}}}"
    plan = compile(trigger(), tree({".gitlab-ci.yml": text, "one.lock": "1", "d/two.lock": "2"}))
    job = plan.workflows[0].jobs[0]
    (cache,) = job.extra["gitlab"]["cache"]
    assert re.sub(r"[0-9a-f]{40}", "SHA", cache["key"]) == f"{stock}-protected"
    assert re.sub(r"[0-9a-f]{40}", "SHA", job.steps[1].params["key"]) == f"{ours}-protected"


def test_two_caches_of_one_lock_file_stay_apart(tree: Any, trigger: Any) -> None:
    text = "a: {script: x, cache: [{paths: [p], key: {files: [l]}}, {paths: [q], key: {files: [l]}}]}"
    plan = compile(trigger(), tree({".gitlab-ci.yml": text, "l": "1"}))
    assert len({cache["key"] for cache in plan.workflows[0].jobs[0].extra["gitlab"]["cache"]}) == 2


@pytest.mark.parametrize("name", ["review/$GONE", "$HASH", "$GONE"])
def test_an_environment_that_variables_make_impossible_fails_its_job_only(
    name: str, tree: Any, trigger: Any
) -> None:
    text = f"a: {{script: x, environment: {name}, variables: {{HASH: 'r#1'}}}}\nb: {{script: x}}"
    plan = compile(trigger(), tree({".gitlab-ci.yml": text}))
    a, b = plan.workflows[0].jobs
    assert a.environment is None
    assert "exit 1" in (a.steps[-1].script or "")
    assert "exit 1" not in (b.steps[-1].script or "")
    assert any("cannot name an environment" in warning for warning in plan.warnings)


def test_identity_by_default_fails_the_jobs_that_inherit_it(tree: Any, trigger: Any) -> None:
    text = "default: {identity: google_cloud}\na: {script: x}\nb: {script: x, inherit: {default: false}}"
    plan = compile(trigger(), tree({".gitlab-ci.yml": text}))
    scripts = {job.key: job.steps[-1].script or "" for job in plan.workflows[0].jobs}
    assert "exit 1" in scripts["a"]
    assert "exit 1" not in scripts["b"]


# contract §3.12, "job rules and later", and what is known only later (condition, holds) of a manual job in an
# environment
KNOWN_IN_RULES = [
    ('$CI_JOB_NAME == "a: [x]"', True), ('$CI_JOB_NAME_SLUG == "a---x"', True), ('$CI_JOB_GROUP_NAME == "a"', True), ('$CI_JOB_STAGE == "test"', True),
    ('$CI_JOB_MANUAL == "true"', True), ('$CI_NODE_INDEX == "1"', True), ('$CI_NODE_TOTAL == "1"', True), ('$E == "x"', True),
    ('$CI_ENVIRONMENT_NAME == "review/$E"', True), ('$CI_ENVIRONMENT_ACTION == "prepare"', True), ('$CI_ENVIRONMENT_TIER == "testing"', True),
    ('$CI_ENVIRONMENT_URL == "http://x"', True), ("$CI_ENVIRONMENT_SLUG", False), ("$CI_PIPELINE_ID", False), ("$CI_JOB_ID", False), ("$CI_JOB_TOKEN", False),
    ("$CI_RUNNER_ID", False), ("$CI_PIPELINE_URL", False), ('$GITLAB_USER_LOGIN == "ada"', True), ('$CI_COMMIT_BRANCH == "main"', True),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "holds"), KNOWN_IN_RULES)
def test_rules_of_a_job_know(condition: str, holds: bool, tree: Any, trigger: Any) -> None:
    text = f"""
a:
  script: x
  when: manual
  parallel: {{matrix: [{{E: [x]}}]}}
  environment: {{name: review/$E, action: prepare, deployment_tier: testing, url: 'http://x'}}
  resource_group: of-$CI_ENVIRONMENT_NAME
  rules: [{{if: '{condition}', variables: {{W: w}}}}]
z: {{script: x}}
"""
    jobs = {job.key: job for job in compile(trigger(), tree({".gitlab-ci.yml": text})).workflows[0].jobs}
    assert ("a: [x]" in jobs) is holds
    assert not holds or jobs["a: [x]"].concurrency.group == "of-review/x"


# contract §3.12: low to high. Each row: where A is set, and which value a job sees.
PRECEDENCE = [
    ("variables: {A: root}", "", (), (), "root"),
    ("variables: {A: root}", "variables: {A: job}", (), (), "job"),
    ("variables: {A: root}", "variables: {A: job}, rules: [{if: $CI, variables: {A: rule}}]", (), (), "rule"),
    ("workflow: {rules: [{if: $CI, variables: {A: flow}}]}\nvariables: {A: root}", "", (), (), "flow"),
    ("variables: {A: root}", "variables: {A: job}", ("project",), (), "project"),
    ("variables: {A: root}", "variables: {A: job}", ("project",), ("run",), "run"),
    ("variables: {CI_COMMIT_REF_NAME: mine, A: $CI_COMMIT_REF_NAME}", "", (), (), "$CI_COMMIT_REF_NAME"),
]


@pytest.mark.parametrize(("root", "job", "project", "run", "value"), PRECEDENCE)
def test_of_equal_variables_wins(
    root: str, job: str, project: Any, run: Any, value: str, tree: Any, trigger: Any
) -> None:
    from runyard.model.plan import Variable

    given = {
        "project_variables": tuple(Variable("A", v) for v in project),
        "variables": tuple(Variable("A", v) for v in run),
    }
    text = f"{root}\na: {{script: x{', ' + job if job else ''}}}"
    plan = compile(trigger(**given), tree({".gitlab-ci.yml": text}))
    found = next(j for j in plan.workflows[0].jobs if j.key == "a")
    values = [
        v.value for v in (*found.variables, *given["project_variables"], *given["variables"]) if v.key == "A"
    ]
    assert values[-1] == value
