"""Problem matchers: files read or refused, lines matched as the Actions runner does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runyard.syntax.matchers import (
    MAX_FILE_BYTES,
    MAX_LINE_BYTES,
    MAX_MATCHERS,
    Matcher,
    MatcherError,
    Problem,
    Scan,
    read_matchers,
    with_matchers,
    without_owners,
)

TSC = {"owner": "tsc", "pattern": [{"regexp": r"^([^\s].*)\((\d+),(\d+)\): (error|warning|info) (TS\d+): (.*)$",
       "file": 1, "line": 2, "column": 3, "severity": 4, "code": 5, "message": 6}]}  # fmt: skip
STYLISH = {"owner": "eslint", "pattern": [{"regexp": r"^([^\s].*)$", "file": 1},
           {"regexp": r"^\s+(\d+):(\d+)\s+(error|warning|info)\s+(.*)\s\s+(.*)$", "line": 1, "column": 2,
            "severity": 3, "message": 4, "code": 5, "loop": True}]}  # fmt: skip
THREE = {"owner": "three", "pattern": [{"regexp": "^begin (.*)$", "file": 1}, {"regexp": "^at (.*)$", "line": 1},
         {"regexp": "^say (.*)$", "message": 1}]}  # fmt: skip


def matchers(*rows: dict[str, Any]) -> list[Matcher]:
    return read_matchers(json.dumps({"problemMatcher": rows}).encode())[0]


def scan(text: str | bytes, *rows: dict[str, Any]) -> list[bytes | Problem]:
    looker = Scan(matchers(*rows))
    data = text.encode() if isinstance(text, str) else text
    return [*looker.feed(data), *looker.close()]


def problems(text: str, *rows: dict[str, Any]) -> list[Problem]:
    return [piece for piece in scan(text, *rows) if isinstance(piece, Problem)]


def test_one_line_gives_its_properties_and_leaves_the_output() -> None:
    found = scan("before\n\x1b[31msrc/a.ts(3,14): warning TS2304: No name\x1b[0m\nafter\n", TSC)
    assert found[0] == b"before\n" and found[2] == b"after\n" and len(found) == 3
    problem = found[1]
    assert isinstance(problem, Problem)
    assert problem.text == "src/a.ts(3,14): warning TS2304: No name"
    assert (problem.severity, problem.message) == ("warning", "No name")
    assert {key: problem.found[key] for key in ("file", "line", "column", "code")} == {
        "file": "src/a.ts", "line": "3", "column": "14", "code": "TS2304",
    }  # fmt: skip


def test_a_severity_that_github_does_not_know_is_output() -> None:
    assert scan("a.ts(1,2): info TS1: fine\n", TSC) == [b"a.ts(1,2): info TS1: fine\n"]


def test_an_empty_message_is_output() -> None:
    assert scan("E \n", {"owner": "x", "pattern": [{"regexp": "^E(.*)$", "message": 1}]}) == [b"E \n"]


@pytest.mark.parametrize(("given", "wanted"), [({}, "error"), ({"severity": "NOTICE"}, "notice"), ({"severity": "warning"}, "warning")])  # fmt: skip
def test_default_severities(given: dict[str, str], wanted: str) -> None:
    row = {"owner": "x", **given, "pattern": [{"regexp": "^E (.*)$", "message": 1}]}
    assert [problem.severity for problem in problems("E it broke\n", row)] == [wanted]


def test_a_loop_keeps_its_file_until_a_line_does_not_match() -> None:
    text = "a.js\n  1:2  error  One  r1\n  3:4  warning  Two  r2\n\n  5:6  error  Nobody's  r3\nb.js\n  7:8  error  Three  r4\n"
    found = problems(text, STYLISH)
    assert [(p.found["file"], p.found["line"], p.message, p.severity) for p in found] == [
        ("a.js", "1", "One", "error"), ("a.js", "3", "Two", "warning"), ("b.js", "7", "Three", "error"),
    ]  # fmt: skip


def test_three_lines_must_follow_each_other() -> None:
    assert [p.found for p in problems("begin f\nat 9\nsay it\n", THREE)] == [
        {"file": "f", "line": "9", "message": "it"}
    ]
    assert problems("begin f\nother\nat 9\nsay it\n", THREE) == []
    assert problems("begin f\nat 9\nother\nsay it\n", THREE) == []
    assert len(problems("begin f\nbegin g\nat 9\nsay it\nsay it\n", THREE)) == 1


def test_what_one_matcher_finds_resets_the_others() -> None:
    text = "begin f\nat 1\na.ts(1,2): error TS1: x\nsay late\n"
    assert [p.message for p in problems(text, THREE, TSC)] == ["x"]


def test_any_cut_of_the_output_gives_the_same() -> None:
    text = b"a.js\r\n  1:2  error  One  r1\r\nplain\nx.ts(1,2): error TS1: last"
    whole = scan(text, STYLISH, TSC)
    for size in (1, 2, 7):
        looker = Scan(matchers(STYLISH, TSC))
        found = [p for at in range(0, len(text), size) for p in looker.feed(text[at : at + size])]
        found += looker.close()
        joined = b"".join(p if isinstance(p, bytes) else b"<" + p.text.encode() + b">" for p in found)
        assert joined == b"".join(p if isinstance(p, bytes) else b"<" + p.text.encode() + b">" for p in whole)
        assert [p for p in found if isinstance(p, Problem)] == [p for p in whole if isinstance(p, Problem)]


def test_without_matchers_bytes_pass_at_once() -> None:
    assert Scan().feed(b"half a li") == [b"half a li"]


def test_giants_are_output_and_are_not_kept() -> None:
    looker = Scan(matchers(TSC))
    giant = b"x" * (MAX_LINE_BYTES + 1)
    assert looker.feed(giant) == [giant]
    rest = b"end(1,2): error TS1: of the giant\n"
    assert looker.feed(b"still ") == [b"still "]
    found = looker.feed(rest + b"a(1,2): error TS1: next\n")
    assert found[0] == rest and isinstance(found[1], Problem)
    assert Scan(matchers(TSC)).feed(giant + b"(1,2): error TS1: y\n") == [giant + b"(1,2): error TS1: y\n"]


def test_what_commands_show_is_no_output() -> None:
    row = {"owner": "all", "pattern": [{"regexp": "^(.+)$", "message": 1}]}
    assert scan("##[error]said already\n", row) == [b"##[error]said already\n"]


def test_matchers_may_come_and_go_within_a_step() -> None:
    looker = Scan()
    assert looker.feed(b"a.ts(1,2): error TS1: x\n") == [b"a.ts(1,2): error TS1: x\n"]
    looker.use(matchers(TSC))
    assert isinstance(looker.feed(b"a.ts(1,2): error TS1: x\n")[0], Problem)
    assert looker.feed(b"half") == []
    looker.use([])
    assert looker.feed(b" and half\n") == [b"half and half\n"]


def test_owners_replace_each_other_whatever_their_case() -> None:
    known = matchers(TSC, STYLISH)
    renamed = matchers({**TSC, "owner": "TSC"})
    assert [m.owner for m in with_matchers(known, renamed)] == ["TSC", "eslint"]
    assert [m.owner for m in without_owners(known, ["Eslint"])] == ["tsc"]
    with pytest.raises(MatcherError, match="at most"):
        with_matchers(matchers(*({**TSC, "owner": f"o{n}"} for n in range(MAX_MATCHERS))), matchers(STYLISH))


def test_an_expression_that_re2_does_not_know_is_left_out_with_a_sentence() -> None:
    rows = [TSC, {"owner": "ahead", "pattern": [{"regexp": "(?=x)(.*)", "message": 1}]}]
    found, notes = read_matchers(json.dumps({"problemMatcher": rows}).encode())
    assert [m.owner for m in found] == ["tsc"]
    assert len(notes) == 1 and "'ahead'" in notes[0]


LINE = {"regexp": "(.*)", "message": 1}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("nonsense", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "problemMatcher"),
        ('{"problemMatcher": 1}', "problemMatcher"),
        ({}, "Owner must not be empty"),
        ({"owner": ""}, "Owner must not be empty"),
        ({"owner": "x"}, "does not contain any patterns"),
        ({"owner": "x", "severity": "fatal", "pattern": [LINE]}, "default severity 'fatal'"),
        ({"owner": "x", "pattern": ["(.*)"]}, "list of at most"),
        ({"owner": "x", "pattern": [LINE] * 21}, "at most 20"),
        ({"owner": "x", "pattern": [{"regexp": "(.*)", "file": 1}]}, "must set 'message'"),
        ({"owner": "x", "pattern": [{**LINE, "loop": True}]}, "Only the last pattern"),
        ({"owner": "x", "pattern": [LINE, {"regexp": "(.*)", "loop": True}]}, "must set 'message'"),
        ({"owner": "x", "pattern": [LINE, LINE]}, "'message' is set twice"),
        ({"owner": "x", "pattern": [{**LINE, "file": 2}]}, "no group"),
        ({"owner": "x", "pattern": [{**LINE, "file": "1"}]}, "no group"),
        ({"owner": "x", "pattern": [{**LINE, "file": True}]}, "no group"),
    ],
)
def test_wrong_files_are_refused(document: Any, said: str) -> None:
    text = document if isinstance(document, str) else json.dumps({"problemMatcher": [document]})
    with pytest.raises(MatcherError, match=said):
        read_matchers(text.encode())


def test_big_files_and_doubles_are_refused() -> None:
    with pytest.raises(MatcherError, match="bytes"):
        read_matchers(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(MatcherError, match="Duplicate owner"):
        matchers(TSC, {**TSC, "owner": "Tsc"})
