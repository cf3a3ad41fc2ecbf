"""Configurations that gitlab-ci-local and Runyard must read alike, by keyword. A text is `.gitlab-ci.yml`; a
dict has more files.

Where the two differ and GitLab agrees with us, the name stands in DIFFERENCES with the reason and its source.
"""

Files = str | dict[str, str]

X = "script: [x]"


def job(more: str = "", name: str = "a") -> str:
    """One job with a script and these keys."""
    return f"{name}: {{{X}{', ' if more else ''}{more}}}\n"


def when(condition: str, variables: str = "") -> str:
    """A job that is there when the condition holds, and one that always is."""
    head = f"variables: {{{variables}}}\n" if variables else ""
    quoted = condition.replace("'", "''")
    return f"{head}a: {{{X}, rules: [{{if: '{quoted}'}}]}}\nz: {{{X}}}\n"


STAGES: dict[str, Files] = {
    "stage default": job(),
    "stages default": job("stage: build") + job("stage: deploy", "b") + job("stage: test", "c"),
    "stages own": "stages: [one, two]\n" + job("stage: two") + job("stage: one", "b"),
    "stages pre post": "stages: [m]\n" + job("stage: .post") + job("stage: m", "b") + job("stage: .pre", "c"),
    "stage unknown": "stages: [one]\n" + job("stage: two"),
    "stages written with pre": "stages: [.pre, one, .post]\n" + job("stage: one") + job("stage: .post", "b"),
    "stage default absent from stages": "stages: [one]\n" + job(),
    "hidden jobs": ".h: {script: [y]}\n" + job(),
    "many names": "".join(job(name=f"'{n}'") for n in ("a b", "a:b", "a/b", "ä", "1", "a-b_c.d")),
    "only pre": job("stage: .pre") + job("", "b"),
}

SCRIPT: dict[str, Files] = {
    "script string": "a: {script: echo x}\n",
    "script nested": "a: {script: [[echo x, [echo y]], echo z]}\n",
    "script absent": "a: {stage: test}\n",
    "before after": job("before_script: [b], after_script: [c]"),
    "global before": "before_script: [g]\n" + job() + job("before_script: []", "b"),
    "default before": "default: {before_script: [g], after_script: [h]}\n" + job(),
    "multi-line": "a:\n  script:\n    - |\n      echo a\n      echo b\n    - >-\n      echo c\n",
    "reference script": ".s: {script: [x, y]}\na: {script: [!reference [.s, script], z]}\n",
    "reference nested": ".s: {script: [x]}\n.t: {script: [!reference [.s, script]]}\na: {script: [!reference [.t, script]]}\n",
    "reference variables": ".v: {variables: {A: '1'}}\na: {script: x, variables: !reference [.v, variables], rules: [{if: '$A == \"1\"'}]}\n",
    "reference rules": ".r: {rules: [{if: $CI, when: manual}]}\na: {script: x, rules: [!reference [.r, rules]]}\n",
    "reference missing": "a: {script: [!reference [.gone, script]]}\n",
    "reference one key": ".v: {variables: {A: manual}}\na: {script: x, when: !reference [.v, variables, A]}\n",
    "hooks": job("hooks: {pre_get_sources_script: [h]}"),
    "coverage": job("coverage: '/\\d+%/'"),
    "anchors": ".x: &x {script: [y], stage: build}\na: *x\nb: {<<: *x, stage: test}\n",
    "anchor lists": ".x: &x [y, z]\na: {script: *x}\n",
}

EXTENDS: dict[str, Files] = {
    "extends one": ".b: {script: [y], stage: build, when: manual}\na: {extends: .b}\n",
    "extends list": ".b: {script: [y], stage: build}\n.c: {stage: deploy}\na: {extends: [.b, .c]}\n",
    "extends order": ".b: {script: [y], stage: build}\n.c: {stage: deploy}\na: {extends: [.c, .b]}\n",
    "extends chain": ".a: {script: [y]}\n.b: {extends: .a, stage: build}\n.c: {extends: .b, when: manual}\na: {extends: .c}\n",
    "extends own wins": ".b: {script: [y], stage: build}\na: {extends: .b, stage: test}\n",
    "extends deep merge": ".b: {script: [y], variables: {A: '1', B: '1'}}\na: {extends: .b, variables: {B: '2'}, rules: [{if: '$A == \"1\" && $B == \"2\"'}]}\n",
    "extends replaces lists": ".b: {script: [y], rules: [{when: never}]}\na: {extends: .b, rules: [{when: always}]}\nz: {script: x}\n",
    "extends a visible job": job("stage: build") + "b: {extends: a}\n",
    "extends unknown": "a: {extends: .gone, script: x}\n",
    "extends circle": ".a: {extends: .b}\n.b: {extends: .a}\na: {extends: .a, script: x}\n",
    "extends rules and needs": ".b: {needs: [z], rules: [{when: manual}]}\nz: {script: x}\na: {extends: .b, script: x}\n",
    "extends allow_failure": ".b: {allow_failure: true}\na: {extends: .b, script: x}\n",
}

DEFAULTS: dict[str, Files] = {
    "default image": "default: {image: alpine}\n" + job(),
    "default many": "default: {image: alpine, retry: 2, timeout: 1h, interruptible: true, tags: [x], services: [redis]}\n"
    + job(),
    "inherit none": "default: {before_script: [x]}\n" + job("inherit: {default: false}"),
    "inherit some": "default: {before_script: [x], image: y}\n" + job("inherit: {default: [image]}"),
    "inherit variables none": "variables: {A: '1'}\na: {script: x, inherit: {variables: false}, rules: [{if: '$A == null'}]}\nz: {script: x}\n",
    "inherit variables some": "variables: {A: '1', B: '1'}\na: {script: x, inherit: {variables: [A]}, rules: [{if: '$A && $B == null'}]}\nz: {script: x}\n",
    "image object": job("image: {name: alpine, entrypoint: ['']}"),
    "image options": job(
        "image: {name: alpine, docker: {user: root, platform: linux/arm64}, pull_policy: always}"
    ),
    "services": job("services: [redis, {name: postgres, alias: db, command: [x], variables: {P: q}}]"),
    "unknown root key": "unknown: 1\n" + job(),
    "cache": job("cache: {key: k, paths: [p], policy: pull}"),
    "cache list": job("cache: [{key: k, paths: [p]}, {key: {files: [f]}, paths: [q]}]"),
    "cache key prefix": job(
        "cache: {key: {files: [f], prefix: p}, paths: [q], when: always, fallback_keys: [z]}"
    ),
    "artifacts": job(
        "artifacts: {paths: [p], exclude: [q], expire_in: 1 week, when: always, name: n, untracked: true}"
    ),
    "artifacts reports": job(
        "artifacts: {reports: {junit: [a.xml, b.xml], dotenv: d.env, coverage_report: {coverage_format: cobertura, path: c.xml}}}"
    ),
    "artifacts reports as before 15.0": job("artifacts: {reports: {cobertura: c.xml}}"),
    "inputs of a job": "a: {inputs: {w: {default: x, options: [x, y]}}, script: ['echo ${{ job.inputs.w }}']}\n",
    "inputs of a job without a default": "a: {inputs: {w: {type: string}}, script: [x]}\n",
    "run": "a: {run: [{name: one, script: x}]}\n",
    "rules allow_failure exit_codes": job("rules: [{allow_failure: {exit_codes: 1}}]"),
    "retry number": job("retry: 2"),
    "retry hash": job("retry: {max: 1, when: [script_failure, runner_system_failure]}"),
    "retry exit codes": job("retry: {max: 1, exit_codes: [1, 2]}"),
    "timeout": job("timeout: 3 hours 30 minutes"),
    "interruptible": job("interruptible: true"),
    "resource_group": job("resource_group: prod"),
    "tags": job("tags: [a, b]"),
    "id_tokens": job("id_tokens: {T: {aud: 'https://x'}}"),
    "environment name": job("environment: prod"),
    "environment hash": job(
        "environment: {name: review/$CI_COMMIT_REF_SLUG, url: 'https://x', deployment_tier: staging, auto_stop_in: 1 day}"
    ),
    "environment on_stop": job("environment: {name: r, on_stop: b}")
    + job("environment: {name: r, action: stop}, when: manual", "b"),
    "manual_confirmation": job("when: manual, manual_confirmation: sure?"),
}

STARTS: dict[str, Files] = {
    "when manual": job("when: manual"),
    "when manual blocking": job("when: manual, allow_failure: false"),
    "when always": job("when: always"),
    "when on_failure": job("when: on_failure"),
    "when delayed": job("when: delayed, start_in: 5 minutes"),
    "when on_success": job("when: on_success"),
    "allow_failure": job("allow_failure: true"),
    "allow_failure codes": job("allow_failure: {exit_codes: [3, 4]}"),
    "allow_failure code": job("allow_failure: {exit_codes: 3}"),
    "rules manual": job("rules: [{when: manual}]"),
    "rules manual allowed": job("rules: [{when: manual, allow_failure: true}]"),
    "rules over when": job("when: manual, rules: [{when: always}]"),
    "rules keep when": job("when: manual, rules: [{if: $CI}]"),
    "rules keep when always": job("when: always, rules: [{if: $CI}]"),
    "rules keep allow_failure": job("allow_failure: true, rules: [{if: $CI}]"),
    "rules delayed": job("rules: [{when: delayed, start_in: 1 hour}]"),
    "rules allow_failure": job("rules: [{if: $CI, allow_failure: true}]"),
    "rules on_failure": job("rules: [{when: on_failure}]"),
    "rules manual job allow_failure": job("allow_failure: true, rules: [{when: manual}]"),
}

RULES: dict[str, Files] = {
    "rules first wins": job("rules: [{if: $CI, when: manual}, {when: always}]"),
    "rules second": job("rules: [{if: $NOPE, when: manual}, {when: always}]"),
    "rules none": job("rules: [{if: $NOPE}]") + job("", "z"),
    "rules never": job("rules: [{if: $CI, when: never}, {when: always}]") + job("", "z"),
    "rules empty": job("rules: []") + job("", "z"),
    "rules nested": job("rules: [[{if: $NOPE}], [{when: manual}]]"),
    "rules variables": job("rules: [{if: $CI, variables: {A: b}}]"),
    "rules needs": job("", "b") + job("rules: [{if: $CI, needs: [b]}]"),
    "rules needs replace": job("", "b") + job("", "c") + job("needs: [c], rules: [{if: $CI, needs: [b]}]"),
    "rules interruptible": job("rules: [{if: $CI, interruptible: true}]"),
    "rules exists": {
        ".gitlab-ci.yml": job("rules: [{exists: [Dockerfile]}]") + job("", "z"),
        "Dockerfile": "FROM x",
    },
    "rules exists not": job("rules: [{exists: [Gemfile]}]") + job("", "z"),
    "rules exists glob": {
        ".gitlab-ci.yml": job("rules: [{exists: ['src/**/*.py']}]") + job("", "z"),
        "src/a/b/c.py": "x",
    },
    "rules exists one level": {
        ".gitlab-ci.yml": job("rules: [{exists: ['src/*.py']}]") + job("", "z"),
        "src/a/c.py": "x",
    },
    "rules exists several": {
        ".gitlab-ci.yml": job("rules: [{exists: [no, 'b.{txt,md}']}]") + job("", "z"),
        "b.md": "x",
    },
    "rules exists paths": {
        ".gitlab-ci.yml": job("rules: [{exists: {paths: [a.txt]}}]") + job("", "z"),
        "a.txt": "x",
    },
    "rules exists variable": {
        ".gitlab-ci.yml": "variables: {F: a.txt}\n" + job("rules: [{exists: [$F]}]") + job("", "z"),
        "a.txt": "x",
    },
    "rules exists and if": {
        ".gitlab-ci.yml": job("rules: [{if: $NOPE, exists: [a.txt]}]") + job("", "z"),
        "a.txt": "x",
    },
    "rules changes unknown": job("rules: [{changes: [a.txt]}]"),
    "rules changes hash": job("rules: [{changes: {paths: [a.txt]}}]"),
    "workflow always": "workflow: {rules: [{when: always}]}\n" + job(),
    "workflow if": "workflow: {rules: [{if: $CI}]}\n" + job(),
    "workflow name": "workflow: {name: 'n $CI_COMMIT_BRANCH', rules: [{if: $CI}]}\n" + job(),
    "workflow variables": "workflow: {rules: [{if: $CI, variables: {A: '1'}}]}\n" + when('$A == "1"'),
    "workflow auto_cancel": "workflow: {auto_cancel: {on_new_commit: interruptible, on_job_failure: all}}\n"
    + job(),
    "only branches": job("only: [branches]") + job("", "z"),
    "only tags": job("only: [tags]") + job("", "z"),
    "only main": job("only: [main]") + job("", "z"),
    "only other": job("only: [develop]") + job("", "z"),
    "only pattern": job("only: ['/^ma/']") + job("", "z"),
    "except main": job("except: [main]") + job("", "z"),
    "except pattern": job("except: ['/^dev/']"),
    "only and except": job("only: [branches], except: [main]") + job("", "z"),
    "only refs hash": job("only: {refs: [main]}") + job("", "z"),
    "only variables": "variables: {A: '1'}\n" + job("only: {variables: ['$A == \"1\"']}") + job("", "z"),
    "except variables": "variables: {A: '1'}\n" + job("except: {variables: ['$A == \"1\"']}") + job("", "z"),
    "only web": job("only: [web]") + job("", "z"),
    "only pushes": job("only: [pushes]") + job("", "z"),
}

CONDITIONS = [  # (condition, variables)
    ("$CI", ""), ("$NOPE", ""), ('$CI_COMMIT_BRANCH == "main"', ""), ('$CI_COMMIT_BRANCH != "main"', ""), ("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", ""),
    ("$CI_COMMIT_TAG", ""), ("$CI_COMMIT_TAG == null", ""), ("$NOPE == null", ""), ("$NOPE != null", ""), ('$NOPE == ""', ""), ('$E == ""', "E: ''"),
    ("$E", "E: ''"), ("$E == null", "E: ''"), ("$A && $B", "A: '1', B: '1'"), ("$A && $NOPE", "A: '1'"), ("$A || $NOPE", "A: '1'"), ("$NOPE || $A", "A: '1'"),
    ("$NOPE && $A || $B", "A: '1', B: '1'"), ("$NOPE && ($A || $B)", "A: '1', B: '1'"), ("($A)", "A: '1'"), ('"x" == "x"', ""), ('$A == "1" && $B == "2"', "A: '1', B: '2'"),
    ("$A =~ /^b/", "A: bcd"), ("$A =~ /^c/", "A: bcd"), ("$A !~ /^c/", "A: bcd"), ("$A =~ /BCD/i", "A: bcd"), ("$NOPE =~ /x./", ""), ("$NOPE !~ /x./", ""),
    ("$A =~ /^v\\d+\\.\\d+$/", "A: v1.2"), ("$A =~ /a\\/b/", "A: a/b"), ("$A =~ $P", "A: abc, P: /b.$/"), ("$A == 'b'", "A: b"), ("$A =~ /^(x|bcd)$/", "A: bcd"),
    ('$A == "b" || $A == "c"', "A: c"), ('$A == $B', "A: x, B: x"), ("$A =~ /[[:digit:]]+/", "A: a1"), ("$A == '$B'", "A: $B"), ("${A}", "A: '1'"), ("$A ==", "A: '1'"),
    ("$A == true", "A: 'true'"), ("$A == \"true\"", "A: 'true'"), ("$A == \"1\"", "A: 1"), ("$CI_PIPELINE_SOURCE == \"push\"", ""), ("$CI_PIPELINE_SOURCE == \"schedule\"", ""),
]  # fmt: skip

NEEDS: dict[str, Files] = {
    "needs": job("", "b") + job("needs: [b]"),
    "needs hash": job("", "b") + job("needs: [{job: b, artifacts: false}]"),
    "needs optional absent": job("rules: [{if: $NOPE}]", "b") + job("needs: [{job: b, optional: true}]"),
    "needs optional undefined": job("needs: [{job: gone, optional: true}]"),
    "needs undefined": job("needs: [gone]"),
    "needs empty": job("stage: deploy, needs: []"),
    "needs of a later stage": job("stage: deploy", "b") + job("stage: build, needs: [b]"),
    "needs of its own stage": job("stage: build", "b") + job("stage: build, needs: [b]"),
    "needs a chain": job("stage: build", "b") + job("needs: [b]", "c") + job("stage: deploy, needs: [c]"),
    "needs a matrix": "b: {script: x, parallel: {matrix: [{V: [p, q]}]}}\n" + job("needs: [b]"),
    "needs a leg": "b: {script: x, parallel: {matrix: [{V: [p, q]}]}}\n"
    + job("needs: [{job: b, parallel: {matrix: [{V: p}]}}]"),
    "dependencies": job("stage: build", "b") + job("dependencies: [b]"),
    "dependencies empty": job("stage: build", "b") + job("dependencies: []"),
    "dependencies undefined": job("dependencies: [gone]"),
    "needs a circle": job("needs: [b]") + job("needs: [a]", "b"),
    "parallel 3": job("parallel: 3"),
    "matrix one": job("parallel: {matrix: [{A: [x, y]}]}"),
    "matrix two": job("parallel: {matrix: [{A: [x, y], B: [p, q]}]}"),
    "matrix entries": job("parallel: {matrix: [{A: [x], B: [p, q]}, {A: [y], B: r}]}"),
    "matrix scalars": job("parallel: {matrix: [{A: x, B: [1, 2]}]}"),
    "matrix rules": job(
        "parallel: {matrix: [{A: [x, y]}]}, rules: [{if: '$A == \"x\"', when: manual}, {when: on_success}]"
    ),
    "matrix and variables": "variables: {A: root}\n"
    + job("parallel: {matrix: [{A: [x]}]}, rules: [{if: '$A == \"x\"'}]"),
    "parallel 0": job("parallel: 0"),
    "variables hash": "variables: {A: {value: b, description: d}, B: {value: '1', expand: false}}\n"
    + when('$A == "b"'),
    "job variables over root": "variables: {A: r}\n" + job("variables: {A: j}, rules: [{if: '$A == \"j\"'}]"),
    "variables numbers": "variables: {A: 1, B: 1.5, C: true}\n"
    + job('rules: [{if: \'$A == "1" && $B == "1.5" && $C == "true"\'}]'),
}

INCLUDES: dict[str, Files] = {
    "include local": {
        ".gitlab-ci.yml": "include: {local: ci/b.yml}\n" + job(),
        "ci/b.yml": job("stage: build", "b"),
    },
    "include string": {".gitlab-ci.yml": "include: ci/b.yml\n" + job(), "ci/b.yml": job("", "b")},
    "include slash": {".gitlab-ci.yml": "include: [{local: /ci/b.yml}]\n" + job(), "ci/b.yml": job("", "b")},
    "include list": {
        ".gitlab-ci.yml": "include: [b.yml, {local: c.yml}]\n" + job(),
        "b.yml": job("", "b"),
        "c.yml": job("", "c"),
    },
    "include nested": {
        ".gitlab-ci.yml": "include: b.yml\n" + job(),
        "b.yml": "include: c.yml\n" + job("", "b"),
        "c.yml": job("", "c"),
    },
    "include overridden": {
        ".gitlab-ci.yml": "include: b.yml\nb: {stage: deploy}\n",
        "b.yml": job("stage: build", "b"),
    },
    "include later wins": {
        ".gitlab-ci.yml": "include: [b.yml, c.yml]\n",
        "b.yml": job("stage: build"),
        "c.yml": job("stage: deploy"),
    },
    "include merges variables": {
        ".gitlab-ci.yml": "include: b.yml\nvariables: {B: '2'}\n"
        + job('rules: [{if: \'$A == "1" && $B == "2"\'}]'),
        "b.yml": "variables: {A: '1', B: '1'}\n",
    },
    "include stages": {".gitlab-ci.yml": "include: b.yml\n" + job("stage: s"), "b.yml": "stages: [s]\n"},
    "include glob": {
        ".gitlab-ci.yml": "include: {local: 'ci/*.yml'}\n",
        "ci/b.yml": job("", "b"),
        "ci/c.yml": job("", "c"),
    },
    "include glob deep": {
        ".gitlab-ci.yml": "include: {local: 'ci/**/*.yml'}\n",
        "ci/b.yml": job("", "b"),
        "ci/d/c.yml": job("", "c"),
    },
    "include missing": {".gitlab-ci.yml": "include: gone.yml\n" + job()},
    "include rules": {
        ".gitlab-ci.yml": "include: [{local: b.yml, rules: [{if: $CI}]}, {local: c.yml, rules: [{if: $NOPE}]}]\n"
        + job(),
        "b.yml": job("", "b"),
        "c.yml": job("", "c"),
    },
    "include rules exists": {
        ".gitlab-ci.yml": "include: [{local: b.yml, rules: [{exists: [d.txt]}]}]\n" + job(),
        "b.yml": job("", "b"),
        "d.txt": "",
    },
    "include extends": {
        ".gitlab-ci.yml": "include: b.yml\na: {extends: .b}\n",
        "b.yml": ".b: {script: [y], when: manual}\n",
    },
    "include reference": {
        ".gitlab-ci.yml": "include: b.yml\na: {script: !reference [.b, script]}\n",
        "b.yml": ".b: {script: [y]}\n",
    },
    "include inputs": {
        ".gitlab-ci.yml": "include: {local: b.yml, inputs: {stage: build, name: n}}\n" + job(),
        "b.yml": "spec:\n  inputs:\n    stage: {default: test}\n    name: {}\n---\n$[[ inputs.name ]]-job:\n  stage: $[[ inputs.stage ]]\n  script: [x]\n",
    },
    "include input defaults": {
        ".gitlab-ci.yml": "include: b.yml\n",
        "b.yml": "spec: {inputs: {w: {default: manual}, n: {type: number, default: 2}}}\n---\na:\n  script: x\n  when: $[[ inputs.w ]]\n  allow_failure: false\n",
    },
    "include input missing": {
        ".gitlab-ci.yml": "include: b.yml\n",
        "b.yml": "spec: {inputs: {w: {}}}\n---\na: {script: '$[[ inputs.w ]]'}\n",
    },
    "include input options": {
        ".gitlab-ci.yml": "include: {local: b.yml, inputs: {w: z}}\n",
        "b.yml": "spec: {inputs: {w: {options: [x, y]}}}\n---\na: {script: '$[[ inputs.w ]]'}\n",
    },
    "include input type": {
        ".gitlab-ci.yml": "include: {local: b.yml, inputs: {w: z}}\n",
        "b.yml": "spec: {inputs: {w: {type: number}}}\n---\na: {script: '$[[ inputs.w ]]'}\n",
    },
    "include input boolean": {
        ".gitlab-ci.yml": "include: {local: b.yml, inputs: {f: true}}\n",
        "b.yml": "spec: {inputs: {f: {type: boolean}}}\n---\na:\n  script: x\n  allow_failure: $[[ inputs.f ]]\n",
    },
    "include input array": {
        ".gitlab-ci.yml": "include: {local: b.yml, inputs: {r: [{when: manual}]}}\n",
        "b.yml": "spec: {inputs: {r: {type: array}}}\n---\na:\n  script: x\n  rules: $[[ inputs.r ]]\n",
    },
    "trigger include": {".gitlab-ci.yml": "a: {trigger: {include: b.yml}}\n", "b.yml": job("", "b")},
    "trigger strategy": {
        ".gitlab-ci.yml": "a: {trigger: {include: [{local: b.yml}], strategy: depend}, stage: deploy}\n",
        "b.yml": job("", "b"),
    },
    "trigger project": "a: {trigger: {project: g/other, branch: main}, when: manual}\n" + job("", "z"),
    "trigger rules": {
        ".gitlab-ci.yml": "a: {trigger: {include: b.yml}, rules: [{if: $CI, when: manual}]}\n",
        "b.yml": job("", "b"),
    },
}

CASES: dict[str, Files] = {
    **STAGES,
    **SCRIPT,
    **EXTENDS,
    **DEFAULTS,
    **STARTS,
    **RULES,
    **{f"if {condition}": when(condition, variables) for condition, variables in CONDITIONS},
    **NEEDS,
    **INCLUDES,
}

_MANUAL = "a manual job outside rules is allowed to fail (doc/ci/yaml `when`; contract §3.3); the list of gitlab-ci-local says false"
_REFS = "gitlab-ci-local lists jobs without judging only/except; GitLab leaves them out (doc/ci/yaml `only`; contract §3.5)"

DIFFERENCES: dict[str, str] = {
    **dict.fromkeys(
        ("reference one key", "extends one", "extends chain", "environment on_stop", "manual_confirmation", "when manual", "include extends"), _MANUAL
    ),
    **dict.fromkeys(("only tags", "only other", "except main", "only and except", "except variables", "only web"), _REFS),
    "if $A == '$B'": "rules:if compares unexpanded values, so the value `$B` is the text in quotes (contract §3.12: build/context/base.rb)",
    "if $A == true": "`true` is no token of the grammar: invalid expression syntax (contract §3.4)",
    "needs optional absent": "the list shows needs as written; an optional need that rules left out is none (doc/ci/yaml `needs:optional`)",
    "needs optional undefined": "as above",
    "needs a circle": "the list does not look for circles; GitLab refuses them (contract §3.1: logical validation)",
    "parallel 3": "GitLab names the jobs `a 1/3` (contract §3.8); the list writes `a: [1/3]`",
    "include glob deep": "`**/` is also no folder at all: doc/ci/yaml `include:local` with `configs/**/*.yml` matches files of `configs` too",
    "run": "gitlab-ci-local knows no `run`; GitLab takes it in place of a script (doc/ci/yaml `run`)",
    "rules allow_failure exit_codes": "GitLab's rule takes a boolean (entry/rules/rule.rb); the list follows the editor's schema",
    "trigger project": "gitlab-ci-local wants to reach the other project before it lists",
}  # fmt: skip
