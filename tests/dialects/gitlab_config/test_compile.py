"""Decisions at compile time that examples do not show: precedence, what rules see, who is in the pipeline."""

from typing import Any

import pytest

from runyard.dialects.gitlab.config import check, compile, config_path, entries
from runyard.model.errors import Invalid, NothingToRun
from runyard.model.plan import JobPlan, Order, Plan, Variable
from runyard.model.trigger import Commit, ServerFacts
from runyard.model.work import Project
from runyard.syntax.expressions import render
from runyard.syntax.variables import Value, expand, expand_all


def jobs(plan: Plan) -> dict[str, JobPlan]:
    return {job.key: job for job in plan.workflows[0].jobs}


def values(job: JobPlan) -> dict[str, str]:
    return {v.key: v.value for v in job.variables}


def make(text: str, tree: Any, trigger: Any, **changes: Any) -> dict[str, JobPlan]:
    return jobs(compile(trigger(**changes), tree({".gitlab-ci.yml": text})))


def test_entries_and_config_path(tree: Any) -> None:
    assert entries(tree({".gitlab-ci.yml": "", "x": ""})) == [".gitlab-ci.yml"]
    assert entries(tree({"x": ""})) == []
    assert config_path(Project(1, "a/b")) == ".gitlab-ci.yml"


def test_predefined_variables_of_a_branch_and_a_tag(tree: Any, trigger: Any) -> None:
    found = values(make("a: {script: x}", tree, trigger, ref="feat/X_1")["a"])
    expected = {
        "CI": "true", "GITLAB_CI": "true", "CI_SERVER_NAME": "GitLab", "CI_PROJECT_PATH": "group/sub/app", "CI_PROJECT_NAME": "app",
        "CI_PROJECT_TITLE": "App", "CI_PROJECT_NAMESPACE": "group/sub", "CI_PROJECT_ROOT_NAMESPACE": "group", "CI_PROJECT_PATH_SLUG": "group-sub-app",
        "CI_COMMIT_REF_NAME": "feat/X_1", "CI_COMMIT_REF_SLUG": "feat-x-1", "CI_COMMIT_BRANCH": "feat/X_1", "CI_COMMIT_SHORT_SHA": "a1b2c3d4",
        "CI_COMMIT_BEFORE_SHA": "0" * 40, "CI_COMMIT_TITLE": "Title here", "CI_COMMIT_DESCRIPTION": "Body", "CI_COMMIT_REF_PROTECTED": "false",
        "CI_COMMIT_AUTHOR": "Ada <ada@example.com>", "CI_PIPELINE_SOURCE": "push", "CI_JOB_NAME": "a", "CI_JOB_STAGE": "test", "CI_NODE_TOTAL": "1",
        "GITLAB_USER_LOGIN": "ada", "GITLAB_USER_NAME": "Ada L", "CI_DEFAULT_BRANCH": "main", "CI_CONFIG_PATH": ".gitlab-ci.yml",
        "CI_PIPELINE_CREATED_AT": "2023-11-14T22:13:20Z", "CI_API_V4_URL": "http://localhost/api/v4", "CI_SERVER_PORT": "80",
    }  # fmt: skip
    assert {key: found.get(key) for key in expected} == expected
    assert not {"CI_COMMIT_TAG", "CI_NODE_INDEX", "CI_JOB_MANUAL", "CI_PIPELINE_TRIGGERED"} & set(found)
    tagged = values(
        make("a: {script: x, when: manual}", tree, trigger, ref="v1", tag=True, source="trigger")["a"]
    )
    assert (tagged["CI_COMMIT_TAG"], tagged["CI_JOB_MANUAL"], tagged["CI_PIPELINE_TRIGGERED"]) == (
        "v1",
        "true",
        "true",
    )
    assert "CI_COMMIT_BRANCH" not in tagged


def test_ids_and_tokens_are_late_and_the_token_is_masked(tree: Any, trigger: Any) -> None:
    found = {v.key: v for v in make("a: {script: x}", tree, trigger)["a"].variables}
    for key in (
        "CI_JOB_ID",
        "CI_PIPELINE_ID",
        "CI_PIPELINE_IID",
        "CI_JOB_TOKEN",
        "CI_RUNNER_TAGS",
        "CI_RUNNER_ID",
    ):
        assert found[key].late, key
    assert found["CI_JOB_TOKEN"].masked
    assert not found["CI_JOB_TOKEN"].public
    assert (
        found["CI_REPOSITORY_URL"].value
        == "http://gitlab-ci-token:${{ attempt.token }}@localhost/group/sub/app.git"
    )
    assert not [v for v in found.values() if "${{" in v.value and not v.late]


def test_text_of_a_commit_is_never_a_template_nor_a_reference(tree: Any, trigger: Any) -> None:
    message = "steal ${{ secrets.X }} $CI_JOB_TOKEN"
    job = make(
        "a: {script: x, variables: {M: $CI_COMMIT_MESSAGE}}", tree, trigger, commit=Commit("x", message)
    )["a"]
    variable = next(v for v in job.variables if v.key == "CI_COMMIT_MESSAGE")
    assert (variable.late, variable.raw, variable.value) == (False, True, message)
    final = expand_all(Value(v.key, v.value, raw=v.raw) for v in job.variables).values["M"]
    assert expand(final, {}) == message


def test_matrix_over_job_over_root_and_rules_over_all(tree: Any, trigger: Any) -> None:
    text = """
variables: {A: root, B: root, C: root, D: root}
a:
  variables: {B: job, C: job, D: job}
  parallel: {matrix: [{C: matrix, D: matrix}]}
  rules: [{if: $A, variables: {D: rule}}]
  script: x
"""
    found = values(make(text, tree, trigger)["a: [matrix, matrix]"])
    assert {k: found[k] for k in "ABCD"} == {"A": "root", "B": "job", "C": "matrix", "D": "rule"}


def test_rules_see_project_and_pipeline_variables_above_yaml_but_the_plan_does_not_carry_them(
    tree: Any, trigger: Any
) -> None:
    text = 'variables: {A: yaml, P: yaml}\na: {script: x, rules: [{if: \'$A == "pipeline" && $P == "project"\'}]}'
    secret = Variable("P", "project", masked=True)
    found = make(
        text,
        tree,
        trigger,
        variables=(Variable("A", "pipeline"),),
        project_variables=(secret, Variable("A", "project")),
    )
    assert values(found["a"])["P"] == "yaml"


def test_conditions_compare_unexpanded_values_and_globs_use_expanded_ones(tree: Any, trigger: Any) -> None:
    text = """
variables: {X: $Y, Y: "y", DIR: "$BASE/sub", BASE: docs}
literal: {script: x, rules: [{if: '$X == "$Y"'}]}
expanded: {script: x, rules: [{if: '$X == "y"'}]}
glob: {script: x, rules: [{changes: ["$DIR/*"]}]}
"""
    files = tree({".gitlab-ci.yml": text}, frozenset({"docs/sub/a"}))
    assert sorted(jobs(compile(trigger(), files))) == ["glob", "literal"]


def test_job_variables_are_not_visible_to_workflow_rules(tree: Any, trigger: Any) -> None:
    text = "workflow: {rules: [{if: '$CI_JOB_NAME || $J', when: never}, {if: $R}]}\nvariables: {R: '1'}\na: {script: x, variables: {J: '1'}}"
    assert list(make(text, tree, trigger)) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "workflow: {rules: [{if: $NO}]}\na: {script: x}",
        "workflow: {rules: [{when: never}]}\na: {script: x}",
        "a: {script: x, rules: [{if: $NO}]}",
        "a: {script: x, only: [tags]}",
        "a: {stage: .pre, script: x}\nb: {stage: .post, script: x}",
    ],
)
def test_rules_may_leave_nothing_to_run(text: str, tree: Any, trigger: Any) -> None:
    with pytest.raises(NothingToRun):
        make(text, tree, trigger)


def test_a_need_that_rules_left_out_is_an_error_of_the_pipeline(tree: Any, trigger: Any) -> None:
    text = "a: {script: x, rules: [{if: $NO}]}\nb: {script: x, needs: [a]}"
    with pytest.raises(
        Invalid, match="'b' job needs 'a' job, but 'a' does not exist in the pipeline"
    ) as caught:
        make(text, tree, trigger)
    assert caught.value.problems[0].line == 2


@pytest.mark.parametrize("message", ["x [skip ci]", "[CI SKIP] x", "a\n\n[ci-skip]", "[skip_ci]"])
def test_skip_ci_saves_a_skipped_run_for_pushes_only(message: str, tree: Any, trigger: Any) -> None:
    files = tree({".gitlab-ci.yml": "a: {script: x}"})
    commit = Commit("x", message)
    assert compile(trigger(commit=commit), files).skipped
    assert not compile(trigger(commit=commit, source="api"), files).skipped
    assert not compile(trigger(commit=Commit("x", "skip ci")), files).skipped
    assert compile(trigger(options={"push_options": ("ci.skip",)}), files).skipped


def test_tags_never_supersede(tree: Any, trigger: Any) -> None:
    files = tree({".gitlab-ci.yml": "a: {script: x}"})
    assert compile(trigger(), files).supersedes == "conservative"
    assert compile(trigger(tag=True, ref="v1"), files).supersedes == "none"


def test_workflow_rules_switch_the_default_only_off(tree: Any, trigger: Any) -> None:
    merge = {"source": "merge_request_event"}
    with pytest.raises(NothingToRun):
        make("a: {script: x}", tree, trigger, **merge)
    assert "a" in make("workflow: {rules: [{when: always}]}\na: {script: x}", tree, trigger, **merge)
    assert "a" in make("a: {script: x, only: [merge_requests]}", tree, trigger, **merge)


def test_stage_jobs_look_at_stages_and_needs_jobs_at_needs(tree: Any, trigger: Any) -> None:
    found = make("a: {stage: build, script: x}\nb: {script: x}\nc: {script: x, needs: []}", tree, trigger)
    assert [found[k].gate.order for k in "abc"] == [Order.STAGE, Order.STAGE, Order.NEEDS]
    assert [found[k].stage_index for k in "abc"] == [0, 1, 1]


@pytest.mark.parametrize(
    "image",
    [
        "--privileged",
        "-v/:/h",
        "alpine --net=host",
        "$CI_COMMIT_TITLE --x",
        "a\nb",
        "${{ secrets.X }}",
        "a" * 600,
    ],
)
def test_images_that_are_no_names_are_refused(image: str, tree: Any, trigger: Any) -> None:
    import json

    with pytest.raises(Invalid, match="is not the name of an image"):
        make(f"a: {{script: x, image: {json.dumps(image)}}}", tree, trigger)


def test_an_image_of_a_variable_that_is_not_known_stops_no_pipeline(tree: Any, trigger: Any) -> None:
    text = "variables: {IMAGE: '$CI_REGISTRY_IMAGE/x:$CI_PIPELINE_ID'}\na: {script: x, image: $IMAGE, services: [$DB]}"
    plan = compile(trigger(), tree({".gitlab-ci.yml": text}))
    (job,) = plan.workflows[0].jobs
    assert job.image is not None and job.image.name == "$CI_REGISTRY_IMAGE/x:${{ run.id }}"
    assert [service.name for service in job.services] == ["$DB"]
    assert [w.partition(": ")[2] for w in plan.warnings] == [
        "`$IMAGE` is not the name of an image: CI_REGISTRY_IMAGE is not known here; set it as a CI/CD variable, or jobs that want it fail",
        "`$DB` is not the name of an image: DB is not known here; set it as a CI/CD variable, or jobs that want it fail",
    ]


def test_an_image_may_name_what_only_the_claim_knows(tree: Any, trigger: Any) -> None:
    job = make("a: {script: x, image: 'reg/$CI_PROJECT_NAME:$CI_PIPELINE_ID'}", tree, trigger)["a"]
    assert job.image is not None
    assert job.image.name == "reg/app:${{ run.id }}"


def test_expansion_bombs_are_located_errors(tree: Any, trigger: Any) -> None:
    bomb = "\n".join(f"  V{i}: $V{i - 1}$V{i - 1}" for i in range(1, 60))
    text = f"variables:\n  V0: {'x' * 100}\n{bomb}\na: {{script: x, resource_group: $V59}}"
    with pytest.raises(Invalid, match="expands to more than"):
        make(text, tree, trigger)


def test_all_variables_together_are_bounded(tree: Any, trigger: Any) -> None:
    root = "\n".join(f"  V{i}: x" for i in range(3000))
    text = f"variables:\n{root}\n" + "".join(f"j{i}: {{script: x}}\n" for i in range(1500))
    with pytest.raises(Invalid, match="more than 1200000 variables"):
        make(text, tree, trigger)


def test_too_many_jobs_are_refused(tree: Any, trigger: Any) -> None:
    with pytest.raises(Invalid, match="at most 20000 are allowed"):
        make("".join(f"j{i}: {{script: x, parallel: 200}}\n" for i in range(101)), tree, trigger)


def test_needs_limit(tree: Any, trigger: Any) -> None:
    text = "".join(f"j{i}: {{stage: build, script: x}}\n" for i in range(51)) + "a: {script: x, needs: [%s]}"
    names = ", ".join(f"j{i}" for i in range(51))
    said = "one job can only need 50 others, but 51 are listed"
    with pytest.raises(Invalid, match=said):
        make(text % names, tree, trigger)
    more = make(text % names, tree, trigger, server=ServerFacts(needs_per_job=51))
    assert len(more["a"].needs) == 51
    (warning,) = check(tree({".gitlab-ci.yml": text % names}))
    assert (
        warning.severity == "warning"
        and said in warning.message
        and "RUNYARD_NEEDS_PER_JOB" in warning.message
    )


def test_extends_depth_is_ten(tree: Any, trigger: Any) -> None:
    chain = ".j0: {script: x}\n" + "".join(f".j{i}: {{extends: .j{i - 1}}}\n" for i in range(1, 11))
    assert "a" in make(chain + "a: {extends: .j9}", tree, trigger)
    with pytest.raises(Invalid, match="nesting too deep in `extends`"):
        make(chain + "a: {extends: .j10}", tree, trigger)


def test_reference_depth_is_ten(tree: Any, trigger: Any) -> None:
    chain = ".r0: {script: [x]}\n" + "".join(
        f".r{i}: {{script: [!reference [.r{i - 1}, script]]}}\n" for i in range(1, 12)
    )
    assert "a" in make(chain.split(".r10:")[0] + "a: {script: !reference [.r9, script]}", tree, trigger)
    with pytest.raises(Invalid, match=r"nested deeper than 10 references|up to 10 levels"):
        make(chain + "a: {script: !reference [.r11, script]}", tree, trigger)


def test_null_removes_a_default_and_an_extended_key(tree: Any, trigger: Any) -> None:
    text = "default: {retry: 2, tags: [x]}\n.b: {timeout: 1h, script: [x]}\na: {extends: .b, timeout: null, tags: null}"
    job = make(text, tree, trigger)["a"]
    assert (job.timeout_s, job.tags, job.retry.max) == (None, (), 2)


def test_dependency_names_of_parallel_jobs(tree: Any, trigger: Any) -> None:
    text = "b: {stage: build, script: x, parallel: 2, artifacts: {paths: [o]}}\na: {script: x, dependencies: [b]}"
    job = make(text, tree, trigger)["a"]
    assert job.extra["gitlab"]["dependencies"] == ["b 1/2", "b 2/2"]
    assert next(s for s in job.steps if s.key == "download").params["jobs"] == ["b"]


def test_paths_are_templates_over_the_jobs_environment_and_scripts_are_none(tree: Any, trigger: Any) -> None:
    text = """
variables: {OUT: $CI_PROJECT_DIR/out}
a: {script: "echo ${{ x }}", after_script: ["echo ${{ y }}"], artifacts: {paths: ["$OUT/${{ z }}", y, $$X], exclude: ["%T%"]}}
"""
    steps = {step.key: step for step in make(text, tree, trigger)["a"].steps}
    context = {"env": {"OUT": "/w/out"}, "job": {"status": "failure"}}
    assert not steps["script"].templated
    assert "echo ${{ x }}\n" in (steps["script"].script or "")
    assert "echo ${{ y }}\n" in render(steps["after_script"].script or "", context)
    assert render(steps["after_script"].env["CI_JOB_STATUS"], context) == "failed"
    assert [render(path, context) for path in steps["upload"].params["paths"]] == [
        "/w/out/${{ z }}",
        "y",
        "$X",
    ]
    assert steps["upload"].params["exclude"] == ["%T%"]


def test_time_limits_of_scripts_come_from_variables(tree: Any, trigger: Any) -> None:
    text = "variables: {RUNNER_SCRIPT_TIMEOUT: 10m, RUNNER_AFTER_SCRIPT_TIMEOUT: 1m}\na: {script: x, after_script: [y]}"
    steps = {step.key: step for step in make(text, tree, trigger)["a"].steps}
    assert (steps["script"].timeout_s, steps["after_script"].timeout_s) == (600, 60)


def test_what_is_done_in_part_is_a_warning(tree: Any, trigger: Any) -> None:
    text = "pages: {script: x, services: [redis], variables: {GIT_SUBMODULE_STRATEGY: recursive}}"
    plan = compile(trigger(), tree({".gitlab-ci.yml": text}))
    assert [warning.split(": ", 1)[0] for warning in plan.warnings] == [".gitlab-ci.yml:1:1"]


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("secrets: {A: {vault: x}}", True, False),
        ("identity: google_cloud", True, False),
        ("release: {tag_name: x}", False, True),
        ("release:", False, False),
    ],
)
def test_what_one_job_asks_for_in_vain_fails_that_job_only(
    text: str, before: bool, after: bool, tree: Any, trigger: Any
) -> None:
    files = tree({".gitlab-ci.yml": f"a:\n  script: make\n  {text}\nb: {{script: x}}"})
    plan = compile(trigger(), files)
    first, second = plan.workflows[0].jobs
    [step] = [one for one in first.steps if one.key == "script"]
    above, _, below = step.script.partition("\nmake\n")
    assert [" is not served: " in part and "exit 1" in part for part in (above, below)] == [before, after]
    assert [w.startswith(".gitlab-ci.yml:3:3: jobs:a:") for w in plan.warnings] == [True] * (before or after)
    assert second.name == "b"


def test_the_pipelines_name_is_a_variable_of_its_jobs(tree: Any, trigger: Any) -> None:
    text = "workflow: {name: n-$CI_COMMIT_REF_NAME}\na: {script: x}"
    assert values(make(text, tree, trigger)["a"])["CI_PIPELINE_NAME"] == "n-main"


def test_every_late_variable_renders_over_the_claims_facts(tree: Any, trigger: Any) -> None:
    facts = {
        "run": {"id": 5, "number": 2, "url": "http://h/p/5"},
        "attempt": {"id": 9, "token": "tok", "url": "http://h/j/9"},
        "runner": {"id": 1, "description": "r", "tags": ["docker", "a b"]},
    }
    late = [v for v in make("a: {script: x}", tree, trigger)["a"].variables if v.late]
    found = {v.key: render(v.value, facts) for v in late}
    assert found == {
        "CI_PIPELINE_ID": "5",
        "CI_PIPELINE_IID": "2",
        "CI_PIPELINE_URL": "http://h/p/5",
        "CI_JOB_ID": "9",
        "CI_JOB_URL": "http://h/j/9",
        "CI_JOB_TOKEN": "tok",
        "CI_REPOSITORY_URL": "http://gitlab-ci-token:tok@localhost/group/sub/app.git",
        "CI_RUNNER_ID": "1",
        "CI_RUNNER_DESCRIPTION": "r",
        "CI_RUNNER_TAGS": '["docker", "a b"]',
    }
    nobody = {**facts, "runner": {"id": 1, "description": "", "tags": []}}
    assert {render(v.value, nobody) for v in late if v.key == "CI_RUNNER_TAGS"} == {"[]"}


def test_files_of_includes_share_one_budget(tree: Any, trigger: Any) -> None:
    big = "x: {{script: [{}]}}".format(", ".join(["a"] * 15_000))
    files = {f"ci/{i}.yml": big.replace("x:", f"x{i}:") for i in range(27)}
    with pytest.raises(Invalid, match=r"more than \d+ nodes"):
        compile(trigger(), tree({".gitlab-ci.yml": "include: 'ci/*.yml'", **files}))


def test_a_merge_request_pipeline_tried_without_one_has_its_variables(tree: Any, trigger: Any) -> None:
    text = "a: {script: x, rules: [{if: '$CI_MERGE_REQUEST_IID && $CI_MERGE_REQUEST_TARGET_BRANCH_NAME == $CI_DEFAULT_BRANCH'}]}\nb: {script: x, rules: [{if: $CI_COMMIT_BRANCH}]}"
    files = tree({".gitlab-ci.yml": text})
    plan = compile(trigger(source="merge_request_event", ref="topic"), files)
    assert [job.key for job in plan.workflows[0].jobs] == ["a"]
    assert [job.key for job in compile(trigger(), files).workflows[0].jobs] == ["b"]
