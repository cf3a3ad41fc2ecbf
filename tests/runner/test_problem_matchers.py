"""`::add-matcher::` in a job: annotations with places in the repository, from one step to the next, and files
that it must not read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runyard.model.state import Outcome
from runyard.syntax.matchers import MAX_FILE_BYTES
from tests.runner.conftest import Yard, actions

GCC = {"problemMatcher": [{"owner": "gcc", "pattern": [
    {"regexp": "^(.*):(\\d+):(\\d+): (warning|error): (.*)$", "file": 1, "line": 2, "column": 3, "severity": 4, "message": 5}]}]}  # fmt: skip
WRITE = f"mkdir -p src; echo x > src/a.c; cat > gcc.json <<'EOF'\n{json.dumps(GCC)}\nEOF\n"


def annotations(yard: Yard, attempt_id: int, number: int) -> list[dict[str, Any]]:
    return yard.steps(attempt_id)[number].extra.get("annotations", [])


def test_matched_lines_become_annotations_in_this_step_and_the_next(yard: Yard) -> None:
    attempt, log = yard.run(
        actions(
            f"{WRITE}echo 'src/a.c:1:2: error: too early'\necho '::add-matcher::gcc.json'\necho 'src/a.c:3:4: error: broken'"
        ),
        actions('echo "$PWD/src/a.c:5:6: warning: hmm"; echo "::add-mask::hush-hush"; echo "src/none.c:7:8: error: hush-hush"', "two"),
        actions('echo "::remove-matcher owner=GCC::"; echo "src/a.c:9:9: error: unheard"', "three"),
    )  # fmt: skip
    assert attempt.outcome is Outcome.PASSED, log
    assert "Added matchers: 'gcc'. " in log and "Removed matchers: 'GCC'" in log
    assert "\nsrc/a.c:1:2: error: too early\n" in log and "\nsrc/a.c:9:9: error: unheard\n" in log
    assert "##[error]src/a.c:3:4: error: broken\n" in log
    assert annotations(yard, attempt.id, 0) == [
        {"level": "error", "message": "broken", "line": "3", "col": "4", "file": "src/a.c"}
    ]
    assert annotations(yard, attempt.id, 1) == [
        {"level": "warning", "message": "hmm", "line": "5", "col": "6", "file": "src/a.c"},
        {"level": "error", "message": "***", "line": "7", "col": "8"},
    ]
    assert annotations(yard, attempt.id, 2) == []


def test_a_file_of_a_repository_below_the_workspace_is_named_from_there(yard: Yard) -> None:
    attempt, log = yard.run(
        actions(
            f"{WRITE}mkdir -p lib/.git lib/sub; cp src/a.c lib/sub/\necho '::add-matcher::gcc.json'\necho 'lib/sub/a.c:1:2: error: there'"
        )
    )
    assert [one.get("file") for one in annotations(yard, attempt.id, 0)] == ["sub/a.c"], log


def test_at_most_ten_of_a_kind_are_kept_with_those_of_commands(yard: Yard) -> None:
    attempt, log = yard.run(
        actions(
            f"{WRITE}echo '::error::first'\necho '::add-matcher::gcc.json'\nfor n in $(seq 12); do echo \"src/a.c:$n:1: error: e$n\"; done"
        )
    )
    kept = annotations(yard, attempt.id, 0)
    assert len(kept) == 10 and kept[0]["message"] == "first" and kept[-1]["message"] == "e9"
    assert "##[error]src/a.c:12:1: error: e12" in log


@pytest.mark.parametrize(
    ("make", "path"),
    [
        ("true", "none.json"),
        ("ln -s gcc.json link.json", "link.json"),
        ("mkdir d; mv gcc.json d/; ln -s d linked", "linked/gcc.json"),
        ("true", "/etc/hostname"),
        ("true", "../../../../../../../etc/hostname"),
        ("mkfifo pipe", "pipe"),
        ("true", "."),
        ("true", ""),
        (f"head -c {MAX_FILE_BYTES + 1} /dev/zero > big.json", "big.json"),
        ("echo '{\"problemMatcher\": [{}]}' > bad.json", "bad.json"),
    ],
)
def test_a_file_that_is_none_fails_the_step_with_a_sentence(yard: Yard, make: str, path: str) -> None:
    attempt, log = yard.run(actions(f"{WRITE}{make}\necho '::add-matcher::{path}'\necho still here"))
    assert attempt.outcome is Outcome.FAILED
    assert "##[error]Unable to process command '::add-matcher::' successfully" in log and "still here" in log
    (said,) = annotations(yard, attempt.id, 0)
    assert said["message"] == attempt.message


def test_an_expression_of_another_language_is_left_out_and_harms_nothing(yard: Yard) -> None:
    rows = {"problemMatcher": [{"owner": "x", "pattern": [{"regexp": "(?<!a)b(.*)", "message": 1}]}]}
    attempt, log = yard.run(
        actions(f"echo '{json.dumps(rows)}' > x.json; echo '::add-matcher::x.json'; echo bad")
    )
    assert attempt.outcome is Outcome.PASSED
    assert "##[warning]The problem matcher 'x' is left out" in log and "\nbad\n" in log


def test_links_among_sources_are_not_followed(yard: Yard) -> None:
    """Whether a file of this machine exists must not show in an annotation."""
    attempt, _ = yard.run(
        actions(
            f"{WRITE}ln -s /etc/hostname src/link.c; ln -s /etc etc\necho '::add-matcher::gcc.json'\necho 'src/link.c:1:1: error: a'; echo 'etc/hostname:1:1: error: b'; echo '/etc/hostname:1:1: error: c'"
        )
    )
    assert [one.get("file") for one in annotations(yard, attempt.id, 0)] == [None, None, None]
