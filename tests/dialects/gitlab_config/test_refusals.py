"""Every refused configuration says what, where and, when it can guess, what was meant."""

from typing import Any

import pytest

from runyard.dialects.gitlab.config import check, compile, lint
from runyard.model.errors import Invalid, NothingToRun

# (text, sentence, line, column)
CASES = [
    ("", "Please provide content of .gitlab-ci.yml", 1, 1),
    ("- a", "Invalid configuration format", 1, 1),
    ("a: [", "Invalid YAML", 1, 5),
    ("a:\n\tscript: x", "a tab may not indent", 2, 1),
    ("a:\n  script:\n    - echo 1\n    - 'a': b\n    - echo c: d", "a text that holds `: ` must be in quotes", 4, 7),
    ("a:\n  script:\n    - 'a': b\n    - echo c: d", "a text that holds `: ` must be in quotes", 3, 7),
    ("a: {script: x, tags: docker}", "should be an array of strings (write a list: [docker])", 1, 22),
    ("a: {script: x, cache: {paths: out}}", "jobs:a:cache:paths config should be an array of strings (write a list: [out])", 1, 31),
    ("a: {script: x}\nb: {script: x, needs: a}", "jobs:b:needs config can only be a hash or an array (write a list: [a])", 2, 23),
    ("a: {script: x, only: main}", "jobs:a:only config should be an array of strings (write a list: [main])", 1, 22),
    ("a: {script: x, environment: {nme: prod, action: begin}}", "jobs:a:environment:action config should be one of", 1, 49),
    ("a: {script: x, rules: [{if: $A == main}]}", "put texts in quotes", 1, 29),
    ('a:\n  image: "x\n  script: y', "the quote that begins here is never closed", 2, 10),
    ("image: x\n  services:\n  - y", "check the indentation, and quote", 2, 11),
    ("a: {script: !custom x}", "unknown tag '!custom'", 1, 13),
    (".hidden: {script: x}", "jobs config should contain at least one visible job", 1, 1),
    ("job: {stage: test}", "jobs:job config should implement the script:, run:, or trigger: keyword", 1, 1),
    ("job: {script: ''}", "jobs:job:script config can't be blank", 1, 15),
    ("job: {script: [1]}", "jobs:job:script config should be a string or a nested array of strings up to 10 levels deep", 1, 16),
    ("job: {script: [[[[[[[[[[[[x]]]]]]]]]]]]}", "up to 10 levels deep", 1, 25),
    ("stags: [a]\njob: {script: x}", "root config contains unknown keys: stags (did you mean `stages`?)", 1, 1),
    ("job: {scirpt: x, script: y, foo: 1}", "jobs:job config contains unknown keys: scirpt, foo (did you mean `script`?)", 1, 7),
    ("stages: [a]\njob: {script: x}", "job job: chosen stage test does not exist; available stages are .pre, a, .post", 2, 1),
    ("stages: [tests]\njob: {stage: test, script: x}", "did you mean `tests`?", 2, 14),
    ("job: {script: x, needs: [gone]}", "job job: undefined need: gone", 1, 26),
    ("build: {script: x}\njob: {script: x, needs: [biuld]}", "did you mean `build`?", 2, 26),
    ("a: {script: x, needs: [a]}", "a job: need a is not defined in current or prior stages", 1, 24),
    ("a: {script: x, needs: [b]}\nb: {stage: deploy, script: x}", "a job: need b is not defined in current or prior stages", 1, 24),
    ("a: {script: x}\nb: {script: x, needs: [a, a]}", "b has the following needs duplicated: a.", 2, 27),
    ("a: {script: x, needs: [b]}\nb: {script: x, needs: [c]}\nc: {script: x, needs: [a]}", "circular dependencies: a needs b needs c needs a", 1, 1),
    ("defaults: {image: x}\na: {script: x}", "or trigger: keyword (did you mean `default`?)", 1, 1),
    ("a: {runs-on: ubuntu, script: x}\nb: {runs-on: ubuntu}", "form of GitHub Actions", 2, 1),
    (".a: {script: x}", "names begin with a dot are templates", 1, 1),
    ("a: {trigger: {includes: x.yml}}", "`project` or `include` (did you mean `include`?)", 1, 14),
    ("a: {script: x, cache: [out]}", "should be a hash (name the files under `paths:`)", 1, 24),
    ("a: {<<: *base, script: x}", "unknown alias *base: no &base stands above it in this file", 1, 9),
    ("a: {script: x, dependencies: [b]}", "a job: undefined dependency: b", 1, 30),
    ("a: {script: x, dependencies: [b]}\nb: {script: x}", "a job: dependency b is not defined in prior stages", 1, 30),
    ("b: {stage: build, script: x}\na: {script: x, needs: [], dependencies: [b]}", "a job: dependencies the b should be part of needs", 2, 41),
    ("a: {extends: .b, script: x}", "a: unknown keys in `extends` (.b)", 1, 14),
    (".base: {script: x}\na: {extends: .bsae}", "did you mean `.base`?", 2, 14),
    (".a: {extends: .b}\n.b: {extends: .a}\nj: {extends: .a, script: x}", "circular dependency detected in `extends`", 2, 15),
    ("a: {script: [!reference [.b, script]]}", '!reference [".b", "script"] could not be found', 1, 14),
    (".a: {script: [!reference [.b, script]]}\n.b: {script: [!reference [.a, script]]}\nj: {script: !reference [.a, script]}",
     "is part of a circular chain", 1, 15),
    ("a: {script: !reference x}", "!reference should be a list of keys", 1, 13),
    ("a: {script: x, rules: [{if: '${B}'}]}", "jobs:a:rules:rule if invalid expression syntax", 1, 29),
    ("a: {script: x, rules: [{when: sometimes}]}", "jobs:a:rules:rule:when config should be one of: on_success", 1, 31),
    ("a: {script: x, rules: [{allow_failure: {exit_codes: 1}}]}",
     "jobs:a:rules:rule allow failure should be a boolean value (exit codes belong under the job's own `allow_failure`)", 1, 40),
    ("a: {script: x, artifacts: {reports: {cobertura: c.xml}}}",
     "jobs:a:artifacts:reports config contains unknown keys: cobertura (write `coverage_report: {coverage_format: cobertura", 1, 38),
    ("a: {script: x, rules: [], only: [main]}", "jobs:a config key may not be used with `rules`: only", 1, 27),
    ("a: {script: x, when: delayed}", "start_in should be a duration", 1, 22),
    ("a: {script: x, start_in: 1h}", "start_in must be blank", 1, 16),
    ("a: {script: x, when: delayed, start_in: 2 weeks}", "at most 7 days", 1, 41),
    ("a: {script: x, when: never}", "jobs:a:when config should be one of", 1, 22),
    ("b: {stage: build, script: x}\na: {script: x, needs: [build]}", "`build` is a stage; name its jobs: b", 2, 24),
    ("a: {script: x, matrix: [{A: [1]}]}", "write `parallel: {matrix: [...]}`", 1, 16),
    ("a: {steps: [{run: make}]}", "form of GitHub Actions", 1, 1),
    ("a: {script: x, rules: [{when: $CI == '1'}]}", "write the condition under `if:`", 1, 31),
    ("a: {trigger: {file: child.yml}}", "a file is named under `include`", 1, 14),
    ("include: [{path: a.yml}]\na: {script: x}", "did you mean `local`?", 1, 11),
    ("spec: {inputs: {a: }}\na: {script: x}", "`spec` is a document of its own: write `---` after it", 1, 1),
    ("spec: {inputs: {target: {default: x}}}\n---\na: {script: '$[[ inputs.taget ]]'}", "did you mean `target`?", 3, 13),
    ("<<<<<<< HEAD\na: {script: x}\n=======\nb: {script: x}\n>>>>>>> b", "lines of a merge conflict are left", 2, 2),
    ("a: {script: x, cache: {key: [a]}}", "jobs:a:cache:key config should be a hash or a string", 1, 29),
    ("a: {script: x, only: {branches: [main]}}", "put it under `refs:`", 1, 23),
    ("a: {script: x, timeout: 0}", "jobs:a:timeout config should be a duration longer than 0", 1, 25),
    ("a: {script: x, rules: [{start_in: 1h}]}", "start_in may only be used with `when: delayed`", 1, 25),
    ("a: {script: x, rules: [{exists: {paths: [a], ref: main}}]}", "jobs:a:rules:rule:exists config missing required keys: project", 1, 46),
    ("a: {script: []}", "jobs:a:script config can't be blank", 1, 13),
    ("a: {script: x, publish: out}", "publish can only be used within a `pages` job", 1, 16),
    ("a: {script: x, manual_confirmation: 3}", "jobs:a:manual_confirmation config should be a string", 1, 37),
    ("a: {script: x, resource_group: 3}", "jobs:a:resource_group config should be a string", 1, 32),
    ("a: {script: x, inherit: {default: [imge]}}", "contains unknown values: imge (did you mean `image`?)", 1, 35),
    ("a: {script: x, environment: 'a%b'}", "environment config name can contain only letters", 1, 29),
    ("a: {script: x, environment: {name: review/}}", "cannot start or end with '/'", 1, 36),
    ("a: {script: x, environment: true}", "jobs:a:environment config should be a hash or a string", 1, 29),
    ("a: {script: x, environment: %s}" % ("e" * 256), "name is too long (maximum is 255 characters)", 1, 29),
    ("a: {script: x, environment: {name: a, kubernetes: 3}}", "jobs:a:environment:kubernetes config should be a hash", 1, 51),
    ("a: {script: x, artifacts: {paths: [a], expose_as: 'a: b'}}", "expose_as can contain only letters", 1, 51),
    ("a: {script: x, cache: {key: '%2e%2E'}}", "should not contain `/`", 1, 29),
    ("a: {script: x, cache: {key: a%2Fb}}", "should not contain `/`", 1, 29),
    ("a: {script: x, cache: {key: {files: [a], files_commits: [b]}}}", "cannot be used together: files, files_commits", 1, 42),
    ("a: {trigger: g/p, when: delayed, start_in: 1h}", "jobs:a:when config should be one of: on_success, on_failure, always, manual", 1, 25),
    ("a: {trigger: g/p, parallel: 2}", 'jobs:a:parallel config cannot use "parallel: <number>"', 1, 29),
    ("a: {trigger: g/p, allow_failure: {exit_codes: 1}}", "jobs:a:allow_failure config should be a boolean value", 1, 34),
    ("a: {needs: [{pipeline: g/p}, {pipeline: g/q}]}", "should contain at most one bridge need", 1, 30),
    ("a: {script: x, timeout: soon}", "jobs:a:timeout config should be a duration", 1, 25),
    ("a: {script: x, retry: 3}", "jobs:a:retry config must be between 0 and 2", 1, 23),
    ("a: {script: x, retry: {max: 1, when: script_failur}}", "did you mean `script_failure`?", 1, 38),
    ("a: {script: x, parallel: 201}", "jobs:a:parallel config must be less than or equal to 200", 1, 26),
    ("a: {script: x, parallel: 0}", "must be greater than or equal to 1", 1, 26),
    ("a: {script: x, parallel: {matrix: [{A: x}, {B: x}]}}", "makes two jobs named `a: [x]`", 1, 1),
    ("a: {script: x, parallel: 2}\na 1/2: {script: x}", "makes two jobs named `a 1/2`", 1, 1),
    ("a: {script: x, environment: {name: %s}}" % ("e" * 256), "name is too long (maximum is 255 characters)", 1, 36),
    ("a: {script: x, cache: {key: {files: [a, b, c]}, paths: [x]}}", "should have one or two `files`", 1, 29),
    ("a: {script: x, cache: {fallback_keys: [a, b, c, d, e, f]}}", "fallback_keys is too long (maximum is 5)", 1, 24),
    ("a: {{script: x, rules: [{{changes: [{}]}}]}}".format(", ".join("x" * 51)), "is too long (maximum is 50)", 1, 34),
    ("a: {script: x, timeout: 32 days}", "at most 30 days", 1, 25),
    ("a: {script: x, needs: [{job: b, parallel: {matrix: [{A: z}]}}]}\nb: {script: x, parallel: {matrix: [{A: y}]}}", "undefined need: b: [z]", 1, 24),
    ("a: {script: x, parallel: many}", "jobs:a:parallel should be an integer or a hash", 1, 26),
    (f"a: {{script: x, parallel: {{matrix: [{{A: {list(range(15))}, B: {list(range(15))}}}]}}}}", "generates too many jobs (maximum is 200)", 1, 36),
    ("a: {script: x, parallel: {matrix: [{A-B: [1]}]}}", "should be a variable", 1, 37),
    ("a: {script: x, allow_failure: perhaps}", "jobs:a:allow_failure config should be a boolean value", 1, 31),
    ("a: {script: x, allow_failure: {exit_codes: [a]}}", "should be an integer", 1, 45),
    ("a: {script: x, variables: {A-B: c}}", "has an invalid variable name: 'A-B'", 1, 28),
    ("a: {script: x, variables: {A: [b]}}", "jobs:a:variables:A config should be a string or a hash", 1, 31),
    ("a: {script: x, variables: {A: %s}}" % ("x" * 131_072), "jobs:a:variables:A config is too long", 1, 31),
    ("a: {script: x, variables: [A]}", "jobs:a:variables config should be a hash of key value pairs", 1, 27),
    ("variables: {A: {value: x, options: [y]}}\na: {script: x}", "value must be present in options", 1, 16),
    ("a: {script: x, artifacts: {paths: [1, {}]}}", "jobs:a:artifacts:paths config should be an array of strings", 1, 39),
    ("a: {script: x, artifacts: {pahts: [a]}}", "did you mean `paths`?", 1, 28),
    ("a: {script: x, artifacts: {paths: [a], expire_in: someday}}", "jobs:a:artifacts:expire_in config should be a duration", 1, 51),
    ("a: {script: x, artifacts: {reports: {junitt: a.xml}}}", "did you mean `junit`?", 1, 38),
    ("a: {script: x, artifacts: {paths: ['*'], expose_as: x}}", "paths without `*`", 1, 53),
    ("a: {script: x, cache: [{}, {}, {}, {}, {}]}", "too many caches (maximum is 4)", 1, 23),
    ("a: {script: x, cache: {key: a/b}}", "should not contain `/`", 1, 29),
    ("a: {script: x, coverage: abc}", "jobs:a:coverage config must be a regular expression", 1, 26),
    ("a: {script: x, coverage: '/(a/'}", "invalid pattern", 1, 26),
    ("a: {script: x, image: {}}", "should have a `name`", 1, 23),
    ("a: {{script: x, tags: [{}]}}".format(", ".join(f"t{i}" for i in range(50))), "jobs:a:tags config is too long (maximum is 49)", 1, 22),
    ("a: {script: x, inherit: {default: maybe}}", "should be a boolean value", 1, 35),
    ("a: {script: x, environment: {url: x}}", "should have a `name`", 1, 29),
    ("a: {script: x, environment: {name: x, on_stop: gone}}", "on_stop job gone is not defined", 1, 1),
    ("default: {image: a}\nimage: b\na: {script: x}", "root:image is defined both", 2, 1),
    ("default: {script: x}\na: {script: x}", "default config contains unknown keys: script", 1, 11),
    ("spec: {inputs: {a: {type: text}}}\n---\na: {script: x}", "spec:inputs:a:type config should be one of", 1, 27),
    ("spec: {inputs: {a: {default: 1}}}\n---\na: {script: x}", "`a` input: default value is not a string", 1, 30),
    ("spec: {inputs: {a: {options: [x], default: y}}}\n---\na: {script: x}", "not in the list of allowed options", 1, 44),
    ("spec: {inputs: {a: {regex: '('}}}\n---\na: {script: x}", "is not a regular expression", 1, 28),
    ("spec: {inputs: {a: {}}}\n---\na: {script: '$[[ inputs.b ]]'}", "unknown interpolation key: `b`", 3, 13),
    ("spec: {inputs: {a: {}}}\n---\na: {script: '$[[ inputs.a | upcase ]]'}", "no function matching `upcase`", 3, 13),
    ("spec: {inputs: {a: {}}}\n---\na: {script: '$[[ inputs.a|expand_vars|expand_vars|expand_vars|expand_vars ]]'}", "too many functions", 3, 13),
    ("spec: {inputs: {a: {type: array}}}\n---\na: {script: '$[[ inputs.a | expand_vars ]]'}", "expand_vars can only be used with string inputs", 3, 13),
    ("a: {script: x}\n---\nb: {script: x}", "second YAML document", 3, 1),
    ("a: {trigger: group/x, script: x}", "jobs:a config contains unknown keys: script", 1, 23),
    ("a: {trigger: {project: g/x, include: y.yml}}", "should have either `project` or `include`", 1, 14),
    ("a: {trigger: {project: g/x, strategy: follow}}", "should be one of: depend, mirror", 1, 39),
    ("a: {trigger: {include: [a.yml, b.yml, c.yml, d.yml]}}", "should have 1 to 3 entries", 1, 24),
    ("a: {trigger: {include: [{artifact: a.yml}]}}", "must specify the job where to fetch the artifact from", 1, 25),
    ("a: {trigger: {project: g/x, forward: {yaml: true}}}", "contains unknown keys: yaml", 1, 39),
    ("a: {run: [x]}", "jobs:a:run config should be a hash", 1, 11),
    ("a: {script: x, id_tokens: {A: {}}}", "jobs:a:id_tokens:A config missing required keys: aud", 1, 31),
    ("a: {script: x, needs: [{pipeline: $P, job: b, artifacts: false}]}", "artifacts should be true", 1, 24),
    ("a: {script: x, needs: [{project: p, job: b}]}", "should have `project`, `job` and `ref`", 1, 24),
    ("a: {script: x, rules: [{needs: [{project: p, job: b, ref: c}]}]}", "only jobs of this pipeline can be needed by a rule", 1, 33),
    ("a: {{script: x, needs: [{}]}}".format(", ".join(["{pipeline: $P, job: b}"] * 6)), "limited to 5", 1, 24),
    ("a: {script: x, only: {kubernetes: perhaps}}", "should be one of: active", 1, 35),
    ("include: {remote: 'ftp://x/y.yml'}\na: {script: x}", "does not have valid address!", 1, 19),
    ("include: {local: a.yml, remote: b}\na: {script: x}", "Each include must use only one of", 1, 10),
    ("include: {locl: a.yml}\na: {script: x}", "did you mean `local`?", 1, 10),
    ("include: {artifact: a.yml, job: b}\na: {script: x}", "for `trigger:include` of a child pipeline only", 1, 21),
    ("include: https://x/y.yml\na: {script: x}", "is not read here", 1, 10),
    ("include: {project: p, file: f.yml}\na: {script: x}", "is not read here", 1, 11),
    ("include: {project: p}\na: {script: x}", "include:project needs `file` with it", 1, 11),
    ("include: {template: T.yml}\na: {script: x}", "Template file `T.yml` is not a valid location!", 1, 21),
    ("include: {component: c}\na: {script: x}", "the address is not valid", 1, 22),
    ("include: missing.yml\na: {script: x}", "Local file `missing.yml` does not exist!", 1, 10),
    ("include: ../../etc/passwd.yml\na: {script: x}", "does not exist!", 1, 10),
    ("include: notes.txt\na: {script: x}", "Included file `notes.txt` does not have YAML extension!", 1, 10),
    ('"a\\e[31m": {script: x}', "contains control characters", 1, 1),
    ('"a\\nb": {script: x}', "contains control characters", 1, 1),
    ("stages: ['', b]\na: {stage: b, script: x}", "stages config has a bad name: ''", 1, 9),
    ("true: {script: x}", "`true` is a reserved word and cannot name a job", 1, 1),
    (f"{'n' * 256}: {{script: x}}", "name is too long (maximum is 255 characters)", 1, 1),
    ("workflow: {rules: [{when: manual}]}\na: {script: x}", "workflow:rules:rule:when config should be one of: always, never", 1, 27),
    ("workflow: {auto_cancel: {on_new_commit: all}}\na: {script: x}", "should be one of: conservative, interruptible, none", 1, 41),
    ("a: {script: x, services: [{alias: b}]}", "should have a `name`", 1, 27),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence", "line", "column"), CASES, ids=[case[1][:50] for case in CASES])
def test_a_refusal_names_its_place(
    tree: Any, text: str, sentence: str, line: int | None, column: int
) -> None:
    problems = check(tree({".gitlab-ci.yml": text}))
    found = [p for p in problems if sentence in f"{p.message} ({p.suggestion})"]
    assert found, [str(p) for p in problems]
    assert found[0].file == ".gitlab-ci.yml"
    assert (line is None or found[0].line == line) and found[0].column == column, str(found[0])


def test_check_and_compile_and_lint_agree(tree: Any, trigger: Any) -> None:
    text = "a: {script: 1, retry: 9}\nb: {needs: [x], script: y, foo: 1}\ninclude: gone.yml\n"
    files = tree({".gitlab-ci.yml": text})
    with pytest.raises(Invalid) as caught:
        compile(trigger(), files)
    assert (
        list(caught.value.problems)
        == check(files)
        == sorted(lint(files).errors, key=lambda p: (p.line, p.column))
    )
    assert [p.line for p in check(files)] == [1, 1, 2, 2, 3]


def test_a_problem_in_an_included_file_names_that_file(tree: Any) -> None:
    files = tree({".gitlab-ci.yml": "include: ci/a.yml\n", "ci/a.yml": "job:\n  script: x\n  retry: 7\n"})
    assert [str(p) for p in check(files)] == ["ci/a.yml:3:10: jobs:job:retry config must be between 0 and 2"]


def test_include_loops_and_floods_end(tree: Any) -> None:
    loop = tree(
        {
            ".gitlab-ci.yml": "include: a.yml\nj: {script: x}",
            "a.yml": "include: b.yml",
            "b.yml": "include: a.yml",
        }
    )
    assert "`a.yml` includes itself: .gitlab-ci.yml -> a.yml -> b.yml -> a.yml" in str(check(loop)[0])
    many = {f"ci/{i}.yml": "x: {script: y}" for i in range(151)}
    flood = tree({".gitlab-ci.yml": "include: 'ci/*.yml'", **many})
    assert "Maximum of 150 nested includes are allowed!" in [p.message for p in check(flood)]


def test_a_missing_file_is_nothing_to_run(tree: Any, trigger: Any) -> None:
    with pytest.raises(NothingToRun, match="Missing CI config file"):
        compile(trigger(), tree({}))
    assert [p.message for p in check(tree({}))] == ["Missing CI config file"]


def test_other_config_paths_are_read(tree: Any, trigger: Any) -> None:
    from runyard.model.work import Project

    project = Project(1, "g/p", extra={"gitlab": {"ci_config_path": "ci/main.yml"}})
    plan = compile(trigger(project=project), tree({"ci/main.yml": "a: {script: x}"}))
    assert plan.workflows[0].path == "ci/main.yml"
    assert [job.key for job in plan.workflows[0].jobs] == ["a"]


def test_pages_warn_and_run(tree: Any, trigger: Any) -> None:
    files = tree({".gitlab-ci.yml": "pages: {script: x}"})
    plan = compile(trigger(), files)
    assert "pages are not published" in plan.warnings[0]
    assert [p.severity for p in check(files)] == ["warning"]


TWO_PIPELINES = "may allow multiple pipelines to run for a single action due to `rules:when` clause with no `workflow:rules`"


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        ("a: {script: x, rules: [{if: $A}, {when: always}]}", True),
        ("a: {script: x, rules: [[{if: $A}, [{when: manual}]]]}", True),
        ("a: {script: x, rules: [{when: always}, {if: $A}]}", False),
        ("a: {script: x, rules: [{if: $A, when: always}]}", False),
        ("a: {script: x, rules: [{when: manual, allow_failure: true}]}", False),
        ("a: {script: x, rules: [{if: $A}, {when: never}]}", False),
        ("workflow: {rules: [{when: always}]}\na: {script: x, rules: [{when: always}]}", False),
    ],
)
def test_a_last_rule_that_always_holds_may_start_two_pipelines(tree: Any, text: str, warns: bool) -> None:
    """GitLab: entry/processable.rb warns where the last rule has no key but `when`, other than `never`."""
    found = lint(tree({".gitlab-ci.yml": text}))
    assert [p.message for p in found.warnings] == [f"jobs:a {TWO_PIPELINES}"] * warns and not found.errors


def test_rules_that_an_unread_include_may_bring_are_not_missed(tree: Any) -> None:
    text = "include: [{project: g/p, file: a.yml}]\na: {script: x, rules: [{when: always}]}"
    (warning,) = check(tree({".gitlab-ci.yml": text}))
    assert "is not read here" in warning.message


def test_warnings_crowd_out_no_error(tree: Any) -> None:
    jobs = [f"j{n}: {{script: x, rules: [{{when: always}}]}}" for n in range(200)]
    found = lint(tree({".gitlab-ci.yml": "\n".join([*jobs, "bad: {script: x, needs: [gone]}"])}))
    assert len(found.warnings) == 25
    assert [p.message for p in found.errors] == ["bad job: undefined need: gone"]


@pytest.mark.parametrize(
    ("text", "merged"),
    [
        (".job:\n  script: [x]", "---\n.job:\n  script:\n  - x\n"),  # nothing to run, but whole
        ("a: {script: x, needs: [gone]}", "---\na:\n  script: x\n  needs:\n  - gone\n"),
        ("a: {extends: .gone, script: x}", None),
        ("a: [", None),
    ],
)
def test_lint_shows_what_it_merged_of_a_wrong_text_too(tree: Any, text: str, merged: str | None) -> None:
    """GitLab: null where the text did not come so far (doc/api/lint.md shows the hidden job)."""
    found = lint(tree({".gitlab-ci.yml": text}))
    assert found.errors and found.merged_yaml == merged


def test_lint_shows_what_it_merged(tree: Any) -> None:
    files = tree({".gitlab-ci.yml": "include: a.yml\nj: {extends: .b}", "a.yml": ".b: {script: [on, 'yes']}"})
    found = lint(files)
    assert not found.errors
    assert [(i["type"], i["location"]) for i in found.includes] == [("local", "a.yml")]
    assert "j:\n  script:\n  - 'on'\n  - 'yes'\n" in found.merged_yaml
    assert [job["name"] for job in found.jobs] == ["j"]
    assert lint(files, content="x: {script: y}").jobs[0]["script"] == ["y"]
    assert lint(files, content="x: [").errors
    assert lint(tree({})).errors


def test_variables_in_a_circle_are_refused(tree: Any, trigger: Any) -> None:
    config = "variables: {A: $B-1, B: $A}\nx: {script: a}\n"
    with pytest.raises(Invalid, match="x: circular variable reference detected: A, B"):
        compile(trigger(), tree({".gitlab-ci.yml": config}))
    alone = "variables: {PATH: $PATH:/opt, C: $PATH}\nx: {script: a}\n"
    assert compile(trigger(), tree({".gitlab-ci.yml": alone})).workflows


def test_booleans_are_those_of_rubys_yaml(tree: Any, trigger: Any) -> None:
    """GitLab reads YAML 1.1, where a plain `yes` is true; in quotes it is a text."""
    files = tree({".gitlab-ci.yml": "a: {script: x, allow_failure: Yes, interruptible: off}"})
    job = compile(trigger(), files).workflows[0].jobs[0]
    assert (job.allow_failure, job.interruptible) == (True, False)
    quoted = check(tree({".gitlab-ci.yml": "a: {script: x, allow_failure: 'yes'}"}))
    assert [p.message for p in quoted] == ["jobs:a:allow_failure config should be a boolean value"]


def test_a_job_that_extends_nothing_known_is_blamed_once(tree: Any) -> None:
    problems = check(tree({".gitlab-ci.yml": ".base: {script: x}\na:\n  extends: .bse\n"}))
    assert [(p.message, p.suggestion) for p in problems] == [
        ("a: unknown keys in `extends` (.bse)", "did you mean `.base`?")
    ]
