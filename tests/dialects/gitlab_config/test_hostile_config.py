"""Hostile configurations: compile raises nothing but Invalid, in less than a second of work, whatever the
text."""

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.dialects.gitlab.config import check, compile, lint
from runyard.model.errors import Invalid
from runyard.syntax.yamltree import dump

CORPUS = Path(__file__).parents[2] / "hostile" / "yaml"
FILES = sorted(path for path in CORPUS.iterdir() if path.suffix in (".yml", ".bin"))

REFS = "".join(
    f".r{i}: {{script: [{', '.join([f'!reference [.r{i - 1}, script]'] * 20)}]}}\n" for i in range(1, 9)
)
# Each takes well under a second alone; a busy machine with shared cores may double or triple that. What
# explodes takes minutes.
LIMIT_S = 6  # of processor time; what is not linear takes minutes

GENERATED = {
    "many jobs": "".join(f"j{i}: {{script: x}}\n" for i in range(9000)),
    "many hidden": "".join(f".j{i}: {{script: x}}\n" for i in range(9000)) + "a: {script: x}",
    "reference bomb": ".r0: {script: [a, b, c]}\n" + REFS + "j: {script: !reference [.r8, script]}",
    "reference chain": ".r0: {script: [x]}\n" + "".join(f".r{i}: {{script: [!reference [.r{i - 1}, script]]}}\n" for i in range(1, 3000)) + "j: {script: x}",
    "reference tower": ".r0: {script: " + "[" * 50 + "]" * 50 + "}\n"
    + "".join(f".r{i}: {{script: {'[' * 50}!reference [.r{i - 1}, script]{']' * 50}}}\n" for i in range(1, 200)) + "j: {script: x}",
    "wide extends": ".b: {{variables: {{{}}}}}\n".format(", ".join(f"V{i}: x" for i in range(2000)))
    + "".join(f"j{i}: {{extends: [.b, .b, .b], script: x}}\n" for i in range(1000)),
    "many rules": "j:\n  script: x\n  rules:\n" + "    - if: $A == 'b'\n" * 20_000,
    "rules of rules": ".r: &r [{}]\n".format(", ".join(["{if: $A}"] * 900))
    + "".join(f"j{i}: {{script: x, rules: *r}}\n" for i in range(60)),
    "many needs": "".join(f"j{i}: {{script: x, needs: [{', '.join(f'j{k}' for k in range(max(0, i - 50), i))}]}}\n" for i in range(900)),
    "big matrix": "j: {{script: x, parallel: {{matrix: [{{A: [{}], B: [{}]}}]}}}}".format(",".join(map(str, range(5000))), ",".join(map(str, range(5000)))),
    "globs": "j: {{script: x, rules: [{{exists: ['{}']}}, {{changes: ['{}']}}]}}".format("**/" * 60 + "*a*b*c*", "{a,b}" * 40),
    "variable chain": "variables:\n" + "".join(f"  V{i}: $V{i - 1}$CI_PROJECT_DIR\n" for i in range(20_000)) + "j: {script: x}",
    "runner chain": "variables:\n" + "".join(f"  V{i}: $V{i + 1}\n" for i in range(3000)) + "  V3000: $CI_PROJECT_DIR\nj: {script: x}",
    "long lines": "j: {script: ['%s']}" % ("x" * 900_000),
    "unknown keys": "j: {{script: x, {}}}".format(", ".join(f"k{i}: 1" for i in range(20_000))),
    "unknown stages": "".join(f"j{i}: {{stage: s{i}, script: x}}\n" for i in range(4000)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_giants_end_soon_as_a_plan_or_as_invalid(name: str, tree: Any, trigger: Any) -> None:
    files = tree(
        {".gitlab-ci.yml": GENERATED[name], **{f"d{i}/a.txt": "" for i in range(2000)}}, frozenset({"a"})
    )
    for work in (lambda: compile(trigger(), files), lambda: check(files)):
        start = time.process_time()
        with contextlib.suppress(Invalid):
            work()
        assert time.process_time() - start < LIMIT_S


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_corpus_is_refused_with_a_place(path: Path, tree: Any, trigger: Any) -> None:
    files = tree({".gitlab-ci.yml": path.read_bytes()})
    start = time.process_time()
    if path.name == "duplicate_keys.yml":  # GitLab takes the last one; we say so
        assert compile(trigger(), files).warnings
    else:
        with pytest.raises(Invalid) as caught:
            compile(trigger(), files)
        assert all(p.file and p.line >= 1 and p.column >= 1 for p in caught.value.problems)
    assert time.process_time() - start < LIMIT_S
    assert check(files)


WORDS = [
    "script",
    "needs",
    "rules",
    "if",
    "when",
    "stage",
    "stages",
    "variables",
    "extends",
    "include",
    "local",
    "default",
    "image",
    "cache",
    "key",
    "paths",
    "artifacts",
    "reports",
    "junit",
    "retry",
    "max",
    "parallel",
    "matrix",
    "only",
    "except",
    "refs",
    "allow_failure",
    "exit_codes",
    "environment",
    "name",
    "url",
    "workflow",
    "inherit",
    "services",
    "dependencies",
    "timeout",
    "trigger",
    "tags",
    "coverage",
    "start_in",
    "changes",
    "exists",
    ".a",
    ".b",
    "job",
    "a",
    "b",
    "test",
    "build",
    "always",
    "manual",
    "never",
    "$A",
    "/x/",
    "1",
    "0",
    "-1",
    "true",
    "null",
]
SCALAR = st.sampled_from(WORDS) | st.integers(-5, 300) | st.booleans() | st.none() | st.text(max_size=6)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=25,
)
CONFIG = st.dictionaries(st.sampled_from([*WORDS, "x", "y"]), VALUE, max_size=7)


# The fixtures are a class and a function: nothing of one example is seen by the next.
FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=250, **FUZZ)  # type: ignore[arg-type]
@given(config=CONFIG)
def test_any_structure_compiles_or_is_invalid(config: dict[str, object], tree: Any, trigger: Any) -> None:
    assert_survives(dump(config), tree, trigger)  # type: ignore[arg-type]


SOUP = [
    *WORDS,
    ":",
    "- ",
    "\n",
    "  ",
    "!reference ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "<<",
    ", ",
    "'",
    '"',
    "|",
    "---\n",
]


@settings(max_examples=250, **FUZZ)  # type: ignore[arg-type]
@given(text=st.lists(st.sampled_from(SOUP)).map("".join))
def test_any_soup_compiles_or_is_invalid(text: str, tree: Any, trigger: Any) -> None:
    assert_survives(text, tree, trigger)


@settings(max_examples=100, **FUZZ)  # type: ignore[arg-type]
@given(raw=st.binary(max_size=200))
def test_any_bytes_compile_or_are_invalid(raw: bytes, tree: Any, trigger: Any) -> None:
    assert_survives(raw, tree, trigger)


def assert_survives(text: str | bytes, tree: Any, trigger: Any) -> None:
    files = tree({".gitlab-ci.yml": text, "a.yml": "b: {script: c}"})
    start = time.process_time()
    try:
        plan = compile(trigger(), files)
    except Invalid as error:
        assert error.message
    else:
        assert plan.workflows[0].jobs
    for problem in check(files):
        assert problem.message
        assert problem.line >= 1
    lint(files)
    assert time.process_time() - start < LIMIT_S
