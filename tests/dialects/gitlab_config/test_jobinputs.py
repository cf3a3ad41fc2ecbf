"""`inputs` and `run` of a job: what the runners get, what is refused, what may be given later
(docs/ci/jobs/job_inputs, contract §2.3, §3.3)."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from runyard.dialects.gitlab.config import JOB_INPUTS, compile
from runyard.dialects.gitlab.config.jobinputs import filled, taken
from runyard.dialects.gitlab.config.scope import escaped, input_pieces
from runyard.model.errors import Invalid
from runyard.model.offer import Kind
from runyard.syntax.expressions import render

JOB = r"""
a:
  inputs:
    target: {default: staging, options: [staging, prod], description: where}
    count: {type: number, default: 3}
    flag: {type: boolean, default: false}
    tags: {type: array, default: [x, y]}
    word: {default: ab, regex: '^[a-z]+$'}
  image: 'img:${{ job.inputs.word }}'
  services: ['db:${{job.inputs.word}}']
  before_script: ['echo ${{ job.inputs.flag }}']
  script: ["echo ${{ job.inputs.target }} it's \\${{ job.inputs.word }} $CI_JOB_ID"]
  after_script: ["echo '${{ job.inputs.tags }}'"]
  cache: {key: 'k-${{ job.inputs.target }}-$CI_JOB_NAME', paths: ['c/${{ job.inputs.count }}/$X']}
  artifacts: {name: '${{ job.inputs.target }}', paths: ['o-${{ job.inputs.count }}']}
"""
TEXTS = {"target": "it's $(id)", "count": "3", "flag": "false", "tags": '["x", "y"]', "word": "ab"}


@pytest.fixture
def plan(tree: Any, trigger: Any) -> Any:
    return compile(trigger(), tree({".gitlab-ci.yml": JOB})).workflows[0].jobs[0]


def rendered(value: Any) -> Any:
    facts = {
        "job": {
            "inputs": TEXTS,
            "input_words": {key: "'" + text.replace("'", "'\"'\"'") + "'" for key, text in TEXTS.items()},
        },
        "env": {"X": "x"},
    }
    return {k: rendered(v) for k, v in value.items()} if isinstance(value, dict) else \
        [rendered(v) for v in value] if isinstance(value, list) else \
        render(value, facts) if isinstance(value, str) else value  # fmt: skip


def test_our_runner_gets_templates_with_the_inputs_in_their_places(plan: Any) -> None:
    assert plan.inputs == {"target": "staging", "count": 3, "flag": False, "tags": ["x", "y"], "word": "ab"}
    assert (plan.image.name, plan.services[0].name) == ("img:${{ job.inputs.word }}", "db:${{ job.inputs.word }}")  # fmt: skip
    steps = {step.key: step for step in plan.steps}
    script = rendered(steps["script"].script)
    assert "\necho false\n" in script
    assert "\necho it's $(id) it's ${{ job.inputs.word }} $CI_JOB_ID\n" in script
    assert '\necho \'["x", "y"]\'\n' in rendered(steps["after_script"].script)
    assert rendered(steps["cache_restore_0"].params)["key"] == "k-it's $(id)-a-protected"
    assert rendered(steps["cache_restore_0"].params)["paths"] == ["c/3/x"]
    assert rendered(steps["upload"].params)["paths"] == ["o-3"]


def test_what_is_shown_of_a_value_is_quoted(plan: Any, tmp_path: Path) -> None:
    lines = rendered(next(step.script for step in plan.steps if step.key == "script")).splitlines()
    shown = [line for line in lines if line.startswith("printf")]
    told_ = subprocess.run(["sh", "-c", "\n".join(shown)], capture_output=True, text=True, check=True).stdout
    assert "$ echo it's $(id) it's ${{ job.inputs.word }} $CI_JOB_ID\x1b" in told_


def test_a_stock_runner_gets_what_was_written(plan: Any) -> None:
    payload = plan.extra["gitlab"]
    assert payload["steps"][0]["script"][0] == "echo ${{ job.inputs.flag }}"
    assert payload["cache"][0]["key"] == "k-${{ job.inputs.target }}-$CI_JOB_NAME-protected"
    assert filled(payload["cache"][0]["key"], TEXTS) == "k-it's $(id)-$CI_JOB_NAME-protected"
    assert filled(payload["steps"], TEXTS)[0]["script"][1] == "echo it's $(id) it's ${{ job.inputs.word }} $CI_JOB_ID"  # fmt: skip


PIECES = [
    ("a", [("a", "")]),
    ("${{ job.inputs.a }}b${{job.inputs.c}}", [("", "a"), ("b", "c"), ("", "")]),
    (r"\${{ job.inputs.a }}", [("${{ job.inputs.a }}", "")]),
    ("${{ 1 }}", [("${{ 1 }}", "")]),
    ("$${{ job.inputs.a }}", [("$", "a"), ("", "")]),
]


@pytest.mark.parametrize(("text", "pieces"), PIECES)
def test_the_pieces_of(text: str, pieces: list[tuple[str, str]]) -> None:
    assert input_pieces(text) == pieces


def test_a_job_without_inputs_keeps_such_texts(tree: Any, trigger: Any) -> None:
    text = "a: {script: 'echo ${{ job.inputs.x }} ${{ 1 + 2 }}', cache: {key: '${{ x }}', paths: [p]}}"
    job = compile(trigger(), tree({".gitlab-ci.yml": text})).workflows[0].jobs[0]
    script = next(step for step in job.steps if step.key == "script")
    assert not script.templated
    assert "\necho ${{ job.inputs.x }} ${{ 1 + 2 }}\n" in script.script
    assert job.steps[1].params["key"] == escaped("${{ x }}") + "-protected"


REFUSED = [
    ("inputs: {t: {type: number}}", "jobs:a:inputs:t config input must have a default value"),
    ("inputs: {t: }", "input must have a default value"),
    ("inputs: [t]", "jobs:a:inputs config should be a hash"),
    ("inputs: {t-t: {default: x}}", "has an invalid name: 't-t'"),
    ("inputs: {t: {default: 3}}", "`t` input: default value is not a string"),
    ("inputs: {t: {default: q, options: [z]}}", "not in the list of allowed options"),
    ("inputs: {t: {default: q, regex: '^z'}}", "does not match required RegEx pattern"),
    ("inputs: {t: {default: q, rules: []}}", "contains unknown keys: rules"),
    ("inputs: {target: {default: q}}, before_script: ['${{ job.inputs.tagret }}']", "jobs:a:before_script: unknown job input: `tagret` (did you mean `target`?)"),
    ("inputs: {t: {default: q}}, after_script: ['${{ t }}']", "jobs:a:after_script: only `job.inputs.NAME` is known in `${{ }}`"),
    ("run: [{name: n, script: s}]", "cannot be used together: script, run"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "sentence"), REFUSED)
def test_is_refused(keys: str, sentence: str, tree: Any, trigger: Any) -> None:
    with pytest.raises(Invalid) as refused:
        compile(trigger(), tree({".gitlab-ci.yml": f"a: {{script: x, {keys}}}"}))
    assert any(sentence in str(problem) for problem in refused.value.problems)


GIVEN = [
    ({"target": "prod"}, {"target": "prod"}, ""),
    ({"count": "4"}, {"count": 4}, ""),
    ({"flag": "true", "tags": '["z"]'}, {"flag": True, "tags": ["z"]}, ""),
    ({"tags": ["z", 1]}, {"tags": ["z", 1]}, ""),
    ({"target": "elsewhere"}, {}, "`elsewhere` cannot be used because it is not in the list of allowed options"),
    ({"count": "many"}, {}, "`count` input: provided value is not a number"),
    ({"flag": "perhaps"}, {}, "`flag` input: provided value is not a boolean"),
    ({"tags": "x"}, {}, "`tags` input: provided value is not an array"),
    ({"word": "A1"}, {}, "does not match required RegEx pattern"),
    ({"target": None}, {}, "provided value is not a string"),
    ({"other": "x"}, {}, "unknown input: other"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "values", "problem"), GIVEN)
def test_values_given_later(given: Any, values: Any, problem: str, plan: Any) -> None:
    if not problem:
        assert taken(plan, given) == values
        return
    with pytest.raises(Invalid) as refused:
        taken(plan, given)
    assert problem in refused.value.message


def test_a_job_asks_for_its_inputs(plan: Any) -> None:
    asked = {field.name: (field.kind, field.default, field.options) for field in JOB_INPUTS.fields(plan)}
    assert asked["target"][0] is Kind.CHOICE and asked["target"][1] in asked["target"][2]
    assert {name: kind for name, (kind, _, _) in asked.items() if name in ("count", "flag", "tags", "word")} == {
        "count": Kind.NUMBER, "flag": Kind.SWITCH, "tags": Kind.LIST, "word": Kind.TEXT,
    }  # fmt: skip
    # A form that nobody touched says what the file says.
    assert taken(plan, {name: default for name, (_, default, _) in asked.items()}) == plan.inputs


def test_a_list_of_scripts_is_a_script_in_shells_of_their_own(tree: Any, trigger: Any) -> None:
    text = """
a:
  run:
    - {name: one, script: 'echo $A-${{ job.B }}; export GONE=1; cd /', env: {A: "it's ${{ vars.B }}"}}
    - {name: two, script: 'echo ${GONE-none} $PWD'}
"""
    job = compile(trigger(), tree({".gitlab-ci.yml": text})).workflows[0].jobs[0]
    script = next(step.script for step in job.steps if step.key == "script")
    environment = {"B": "b b", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment, cwd="/tmp")  # fmt: skip
    assert [line for line in done.stdout.splitlines() if "\x1b" not in line] == ["it's b b-b b", "none /tmp"]
    assert "run" not in job.extra["gitlab"]


@pytest.mark.parametrize(
    "step", ["step: ./x, inputs: {m: 1}", "action: a/b@v1", "script: 'echo ${{ steps.x.outputs.y }}'"]
)
def test_functions_are_for_runners_that_have_them(step: str, tree: Any, trigger: Any) -> None:
    plan = compile(
        trigger(), tree({".gitlab-ci.yml": f"a: {{run: [{{name: n, {step}}}]}}\nb: {{script: x}}"})
    )
    a = plan.workflows[0].jobs[0]
    assert a.extra["gitlab"]["run"][0]["name"] == "n"
    assert "exit 1" in next(s.script for s in a.steps if s.key == "script")
    assert any("functions are not served" in warning for warning in plan.warnings)


WRONG_RUNS = [
    ("[]", "should have 1 to 200 steps"),
    ("x", "should be an array"),
    ("[x]", "should be a hash"),
    ("[{script: x}]", "should have a `name`"),
    ("[{name: 1x, script: x}]", "should have a `name`"),
    ("[{name: n}]", "should have one of: script, step, action"),
    ("[{name: n, script: x, step: y}]", "should have one of: script, step, action"),
    ("[{name: n, scirpt: x}]", "did you mean `script`?"),
    ("[{name: n, script: x, env: [A]}]", "jobs:a:run:env config should be a hash"),
    ("[{name: n, script: x, env: {A-B: c}}]", "invalid variable name: 'A-B'"),
    ("[{name: n, script: x, inputs: {a: b}}]", "inputs are for `step` and `action`"),
]


@pytest.mark.parametrize(("run", "sentence"), WRONG_RUNS)
def test_a_list_of_steps_is_refused(run: str, sentence: str, tree: Any, trigger: Any) -> None:
    with pytest.raises(Invalid) as refused:
        compile(trigger(), tree({".gitlab-ci.yml": f"a: {{run: {run}}}"}))
    assert any(sentence in str(problem) for problem in refused.value.problems)
