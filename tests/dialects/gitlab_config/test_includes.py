"""Includes of every kind, inputs and interpolation, against a Reach made of dicts (gitlab.md §3.6)."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from runyard.dialects.gitlab.config import check, compile, dry_run, lint
from runyard.model.errors import Forbidden, Invalid, NotFound
from runyard.model.plan import JobPlan
from runyard.model.trigger import Files
from runyard.model.work import Project

SHA = "f" * 40


@dataclass
class World:
    """`model.trigger.Reach` over projects by path and ref, the web, archives."""

    files: Any
    projects: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    web: Mapping[str, str] = field(default_factory=dict)
    archives: Mapping[tuple[str, str], str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)

    def template(self, name: str) -> bytes | None:
        return self.templates[name].encode() if name in self.templates else None

    def tree(self, project: str, ref: str) -> tuple[Files, str] | None:
        found = self.projects.get(project)
        if found is None:
            return None
        if (ref or "HEAD") not in found:
            raise NotFound("Reference not found")
        return self.files(found[ref or "HEAD"]), SHA

    def tags(self, project: str) -> Sequence[str]:
        return [ref for ref in self.projects.get(project, {}) if ref[0].isdigit()]

    def remote(self, url: str) -> bytes:
        if "127." in url:
            raise Forbidden("the host 127.0.0.1 is on this machine or in a private network")
        return self.web[url].encode()

    def artifact(self, job: str, path: str) -> bytes | None:
        text = self.archives.get((job, path))
        return text.encode() if text is not None else None


@pytest.fixture
def run(tree: Any, trigger: Any) -> Any:
    def work(
        text: str,
        *,
        files: Any = (),
        projects: Any = (),
        web: Any = (),
        archives: Any = (),
        templates: Any = (),
        **more: Any,
    ) -> dict[str, JobPlan]:
        world = World(tree, dict(projects), dict(web), dict(archives), dict(templates))
        plan = compile(trigger(reach=world, **more), tree({".gitlab-ci.yml": text, **dict(files)}))
        return {job.key: job for job in plan.workflows[0].jobs}

    return work


def script(job: JobPlan) -> list[str]:
    found: list[str] = job.extra["gitlab"]["steps"][0]["script"]
    return found


def refused(run: Any, text: str, **more: Any) -> str:
    with pytest.raises(Invalid) as caught:
        run(text, **more)
    return "\n".join(f"{p} ({p.suggestion})" for p in caught.value.problems)


def test_files_of_another_project_bring_their_own_local_files(run: Any) -> None:
    shared = {
        "HEAD": {"ci/a.yml": "include: ci/b.yml\na: {script: [from-a]}", "ci/b.yml": "b: {script: [from-b]}"},
        "v1": {"ci/a.yml": "a: {script: [old]}"},
    }
    text = "include: {project: group/shared, file: [ci/a.yml]}\n"
    jobs = run(text, projects={"group/shared": shared}, files={"ci/b.yml": "b: {script: [wrong]}"})
    assert (script(jobs["a"]), script(jobs["b"])) == (["from-a"], ["from-b"])
    text = "include: {project: group/shared, file: ci/a.yml, ref: v1}\nb: {script: [mine]}"
    assert script(run(text, projects={"group/shared": shared})["a"]) == ["old"]


def test_a_project_that_cannot_be_seen_is_not_told_from_one_that_is_not(run: Any) -> None:
    text = "include: {project: group/%s, file: a.yml, ref: '%s'}\na: {script: x}"
    world = {"group/shared": {"HEAD": {"b.yml": "b: {script: x}"}}}
    assert "Project `group/gone` not found or access denied!" in refused(
        run, text % ("gone", ""), projects=world
    )
    assert "Project `group/shared` reference `v9` does not exist!" in refused(
        run, text % ("shared", "v9"), projects=world
    )
    missing = refused(run, text % ("shared", ""), projects=world)
    assert (
        "Project `group/shared` file `a.yml` does not exist!" in missing
        and "did you mean `b.yml`?" in missing
    )


def test_a_remote_file_may_prove_what_it_is(run: Any) -> None:
    body = "a: {script: [remote]}"
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    web = {"https://x.test/a.yml": body}
    assert script(run("include: https://x.test/a.yml", web=web)["a"]) == ["remote"]
    text = "include: {remote: 'https://x.test/a.yml', integrity: 'sha256-%s'}"
    assert "a" in run(text % digest, web=web)
    assert "different content than `integrity` says" in refused(run, text % digest[::-1], web=web)
    assert "could not be fetched: the host 127.0.0.1" in refused(run, "include: http://127.0.0.1/a.yml")
    nested = {"https://x.test/a.yml": "include: b.yml"}
    assert "Local file `b.yml` does not have project!" in refused(
        run, "include: https://x.test/a.yml", web=nested
    )


def test_components_are_found_by_version(run: Any) -> None:
    def body(n: str) -> dict[str, str]:
        text = "spec:\n  component: [name, version, reference]\n  inputs: {stage: {default: test}}\n---\n"
        text += f"'$[[ component.name ]]-job': {{stage: '$[[ inputs.stage ]]', script: ['{n} $[[ component.version ]] $[[ component.reference ]]']}}"
        return {"templates/scan.yml": text}

    world = {
        "g/catalog": {
            "1.0.0": body("a"),
            "1.2.0": body("b"),
            "1.10.3": body("c"),
            "2.0.0-rc": body("d"),
            "main": body("e"),
        }
    }
    found = {}
    for version in ("1.0.0", "1.2", "1", "~latest", "main"):
        jobs = run(
            f"include: {{component: ci.test/g/catalog/scan@{version}, inputs: {{stage: build}}}}",
            projects=world,
        )
        assert jobs["scan-job"].stage == "build"
        found[version] = script(jobs["scan-job"])[0]
    assert found == {
        "1.0.0": "a 1.0.0 1.0.0", "1.2": "b 1.2.0 1.2", "1": "c 1.10.3 1", "~latest": "c 1.10.3 ~latest", "main": "e main main",
    }  # fmt: skip
    assert "no released version matches `3`" in refused(
        run, "include: {component: ci.test/g/catalog/scan@3}", projects=world
    )
    assert "content not found" in refused(
        run, "include: {component: ci.test/g/catalog/other@main}", projects=world
    )


def test_own_templates_are_served(run: Any) -> None:
    text = "include: {template: Workflows/MergeRequest-Pipelines.gitlab-ci.yml}\na: {script: x}"
    assert "a" in run(text)
    with pytest.raises(Invalid, match="filtered out by workflow rules"):
        run(text, ref="feature")


def test_an_operators_templates_come_before_our_own(run: Any) -> None:
    name = "Workflows/MergeRequest-Pipelines.gitlab-ci.yml"
    own = {name: "scan: {script: x}", "More.yml": "more: {script: x}"}
    text = f"include: [{{template: {name}}}, {{template: More.yml}}]\na: {{script: x}}"
    assert set(run(text, ref="feature", templates=own)) == {"a", "scan", "more"}
    with pytest.raises(Invalid, match=r"Template file `Other\.yml` is not a valid location!"):
        run("include: {template: Other.yml}\na: {script: x}", templates=own)


def test_inputs_are_filled_in_with_their_types(run: Any) -> None:
    included = """\
spec:
  inputs:
    job: {}
    count: {type: number, default: 2}
    flag: {type: boolean, default: true}
    list: {type: array, default: [x, y]}
    rules: {type: array, default: []}
---
"$[[ inputs.job ]]":
  script: [echo $[[ inputs.count ]], $[[ inputs.list ]], "flag=$[[ inputs.flag ]]"]
  parallel: $[[ inputs.count ]]
  allow_failure: $[[ inputs.flag ]]
  rules: $[[ inputs.rules ]]
"""
    text = "include: {local: a.yml, inputs: {job: build, rules: [{if: $CI, when: manual}]}}"
    jobs = run(text, files={"a.yml": included})
    assert list(jobs) == ["build 1/2", "build 2/2"]
    assert script(jobs["build 1/2"]) == ["echo 2", "x", "y", "flag=true"]
    assert jobs["build 1/2"].allow_failure and jobs["build 1/2"].gate.when == "manual"


FUNCTIONS = [  # source: doc/ci/inputs (functions), contract §3.6
    ("$[[ inputs.a | truncate(1,3) ]]", "hello", "ell"),
    ("$[[ inputs.a | truncate(10,3) ]]", "hello", ""),
    ("$[[ inputs.a | expand_vars ]]", "on $CI_COMMIT_REF_NAME and $NOT_KNOWN", "on main and $NOT_KNOWN"),
    ("$[[ inputs.a | posix_escape ]]", "a b'c$d", "a\\ b\\'c\\$d"),
    ("$[[ inputs.a | posix_escape ]]", "", "''"),
    ("$[[ inputs.a | expand_vars | truncate(0,2) ]]", "$CI_COMMIT_REF_NAME", "ma"),
    ("x$[[inputs.a]]y$[[ inputs.a ]]", "1", "x1y1"),
    ("$[[ matrix.X ]] stays", "1", "$[[ matrix.X ]] stays"),
    ("$[[ inputs.a", "1", "$[[ inputs.a"),
]


@pytest.mark.parametrize(("text", "value", "result"), FUNCTIONS)
def test_a_block_gives(run: Any, text: str, value: str, result: str) -> None:
    config = f"spec: {{inputs: {{a: {{}}}}}}\n---\nj: {{script: ['echo', '{text}']}}"
    assert script(run(config, inputs={"a": value})["j"])[1] == result


REFUSED = [
    ("a: {}", {}, "`a` input: required value has not been provided"),
    ("a: {}", {"a": 1}, "`a` input: provided value is not a string"),
    ("a: {type: number}", {"a": "x"}, "`a` input: provided value is not a number"),
    ("a: {type: array}", {"a": "x"}, "`a` input: provided value is not an array"),
    (
        "a: {options: [x, y]}",
        {"a": "z"},
        "`a` input: `z` cannot be used because it is not in the list of allowed options",
    ),
    ("a: {regex: '^v\\d'}", {"a": "x1"}, "`a` input: provided value does not match required RegEx pattern"),
    ("stage: {default: x}", {"stages": "x"}, "unknown input arguments: stages (did you mean `stage`?)"),
]


@pytest.mark.parametrize(("spec", "given", "sentence"), REFUSED)
def test_a_wrong_input_is_refused(run: Any, spec: str, given: Any, sentence: str) -> None:
    assert sentence in refused(run, f"spec: {{inputs: {{{spec}}}}}\n---\nj: {{script: x}}", inputs=given)


def test_inputs_of_forms_are_texts(run: Any) -> None:
    text = "spec: {inputs: {n: {type: number}, f: {type: boolean}}}\n---\nj: {script: x, parallel: $[[ inputs.n ]], allow_failure: $[[ inputs.f ]]}"
    jobs = run(text, inputs={"n": "3", "f": "true"})
    assert len(jobs) == 3 and jobs["j 1/3"].allow_failure


def test_rules_of_an_input_choose_its_options(run: Any) -> None:
    text = """\
spec:
  inputs:
    cloud: {options: [aws, gcp]}
    size:
      rules:
        - {if: '$[[ inputs.cloud ]] == "aws"', options: [t3], default: t3}
        - {options: [e2], default: e2}
---
j: {script: ['$[[ inputs.size ]]']}
"""
    assert script(run(text, inputs={"cloud": "aws"})["j"]) == ["t3"]
    assert script(run(text, inputs={"cloud": "gcp"})["j"]) == ["e2"]
    assert "`t3` cannot be used" in refused(run, text, inputs={"cloud": "gcp", "size": "t3"})


def test_inputs_without_a_spec_are_refused(run: Any) -> None:
    files = {"a.yml": "j: {script: x}"}
    assert "Given inputs not defined in the `spec` section" in refused(
        run, "include: {local: a.yml, inputs: {b: c}}", files=files
    )
    assert "Given inputs not defined" in refused(run, "j: {script: x}", inputs={"b": "c"})


def test_rules_look_into_other_projects(run: Any) -> None:
    text = "a: {script: x, rules: [{exists: {project: g/o, ref: main, paths: [%s]}}]}\nb: {script: y}"
    world = {"g/o": {"main": {"Dockerfile": ""}}}
    assert "a" in run(text % "Dockerfile", projects=world)
    assert "a" not in run(text % "Makefile", projects=world)
    assert "is not a valid project path" in refused(run, text % "x")


def test_a_child_pipeline_is_made_of_what_its_bridge_includes(run: Any) -> None:
    child = {
        "child": {
            "include": [{"artifact": "gen.yml", "job": "make"}, {"local": "b.yml", "inputs": {"n": "q"}}],
            "name": "t",
        }
    }
    files = {
        "b.yml": "spec: {inputs: {n: {}}}\n---\nb: {script: ['$[[ inputs.n ]]']}",
        "c.yml": "c: {script: [local]}",
    }
    archives = {("make", "gen.yml"): "include: c.yml\na: {script: [generated]}"}
    jobs = run("never: {script: x}", files=files, archives=archives, options=child, source="parent_pipeline")
    assert {key: script(job) for key, job in jobs.items()} == {"c": ["local"], "a": ["generated"], "b": ["q"]}
    assert "File `gen.yml` does not exist in the artifacts of job `make`!" in refused(
        run, "", options=child, files=files
    )


def test_needs_follow_the_leg_of_a_matrix(run: Any) -> None:
    text = """\
build: {stage: build, script: x, parallel: {matrix: [{OS: [a, b], V: ['1']}]}}
test:
  script: x
  needs: [{job: build, parallel: {matrix: [{OS: ['$[[ matrix.OS ]]'], V: ['1']}]}}]
  parallel: {matrix: [{OS: [a, b]}]}
"""
    jobs = run(text)
    assert {key: [need.group for need in job.needs] for key, job in jobs.items() if job.needs} == {
        "test: [a]": ["build: [a, 1]"], "test: [b]": ["build: [b, 1]"],
    }  # fmt: skip


def test_a_check_trusts_what_it_cannot_read(tree: Any) -> None:
    text = "include: {project: g/o, file: a.yml}\nj: {extends: .there, stage: theirs, needs: [other]}\nk: {scirpt: x}"
    problems = check(tree({".gitlab-ci.yml": text}))
    assert [p.severity for p in problems] == ["warning", "error"]
    assert "did you mean `script`?" in str(problems[1])
    assert not any("jobs:j" in p.message for p in problems)  # what it extends may give it a script
    assert not any("there" in p.message and p.severity == "error" for p in problems)


@pytest.mark.parametrize(
    "job",
    ["{tags: [theirs]}", "{script: !reference [.x, script]}", "{script: x, retry: !reference [.x, retry]}"],
)
def test_a_check_takes_a_job_for_the_rest_of_one_that_it_cannot_read(tree: Any, job: str) -> None:
    unread = "include: {project: g/o, file: a.yml}\n"
    assert [p.severity for p in check(tree({".gitlab-ci.yml": f"{unread}j: {job}"}))] == ["warning"]
    assert [p.severity for p in check(tree({".gitlab-ci.yml": f"j: {job}"}))] != []


def test_of_a_key_that_stands_twice_the_last_counts(tree: Any, run: Any) -> None:
    text = "a:\n  script: x\n  variables: {A: old, B: gone}\n  variables: {A: new}\n"
    (warning,) = check(tree({".gitlab-ci.yml": text}))
    assert (warning.severity, warning.line, warning.column) == ("warning", 4, 3)
    assert "'variables': the one on line 3 is ignored" in warning.message
    told = {v.key: v.value for v in run(text)["a"].variables}
    assert told["A"] == "new" and "B" not in told


def test_a_check_of_a_file_with_inputs_needs_none(tree: Any) -> None:
    text = "spec: {inputs: {a: {}, n: {type: number}, s: {options: [test]}}}\n---\nj: {script: '$[[ inputs.a ]]', parallel: $[[ inputs.n ]], stage: '$[[ inputs.s ]]'}"
    assert check(tree({".gitlab-ci.yml": text})) == []


def test_a_dry_run_says_which_jobs_there_would_be(tree: Any, trigger: Any) -> None:
    text = "a: {script: x, rules: [{if: $CI_COMMIT_TAG}]}\nb: {script: y}"
    files = tree({".gitlab-ci.yml": text})
    assert [job["name"] for job in dry_run(trigger(), files).jobs] == ["b"]
    assert [job["name"] for job in lint(files).jobs] == ["a", "b"]
    empty = dry_run(trigger(), tree({".gitlab-ci.yml": "a: {script: x, rules: [{if: $CI_COMMIT_TAG}]}"}))
    assert "would have been empty" in empty.errors[0].message


def test_facts_of_events_become_variables(run: Any) -> None:
    request = {
        "iid": 4, "id": 11, "title": "T", "description": "D", "draft": True, "source_branch": "f", "target_branch": "main", "labels": ["a", "b"],
        "assignees": [], "diff_base_sha": "b" * 40, "event_type": "detached",
    }  # fmt: skip
    text = "a: {script: x, rules: [{if: '$CI_MERGE_REQUEST_IID == \"4\" && $CI_COMMIT_BRANCH == null'}]}"
    job = run(
        text,
        source="merge_request_event",
        ref="f",
        options={"merge_request": request},
        project=Project(7, "g/app"),
    )["a"]
    values = {v.key: v.value for v in job.variables}
    assert values["CI_MERGE_REQUEST_LABELS"] == "a,b" and "CI_MERGE_REQUEST_ASSIGNEES" not in values
    assert (
        values["CI_MERGE_REQUEST_REF_PATH"] == "refs/merge-requests/4/head"
        and values["CI_MERGE_REQUEST_DRAFT"] == "true"
    )
    assert values["CI_COMMIT_BEFORE_SHA"] == "0" * 40 and values["CI_MERGE_REQUEST_DIFF_BASE_SHA"] == "b" * 40
    facts = {"schedule": {"description": "nightly"}, "trigger": {"short_token": "abcd", "payload": "{}"}}
    job = run("a: {script: x}", source="trigger", options=facts)["a"]
    values = {v.key: v.value for v in job.variables}
    assert (
        values["CI_PIPELINE_SCHEDULE_DESCRIPTION"],
        values["CI_TRIGGER_SHORT_TOKEN"],
        values["CI_PIPELINE_TRIGGERED"],
    ) == ("nightly", "abcd", "true")
    assert next(v for v in job.variables if v.key == "TRIGGER_PAYLOAD").file


def test_a_job_whose_base_is_not_read_may_be_in_any_stage(tree: Any) -> None:
    text = """
include: {project: g/p, file: x.yml}
.mine: {extends: .theirs}
setup: {script: x, stage: build}
clean: {extends: [.mine, .gone], dependencies: [setup], needs: [test]}
test: {script: x}
deploy: {extends: .mine, needs: [roll]}
roll: {extends: .theirs, script: x}
early: {stage: build, script: x, needs: [test]}
"""
    problems = check(tree({".gitlab-ci.yml": text}))
    assert [problem.message for problem in problems if problem.severity == "error"] == [
        "early job: need test is not defined in current or prior stages"
    ]
