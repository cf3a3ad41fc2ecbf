"""Dockerfiles as Docker's reference describes them."""

from __future__ import annotations

import re

import pytest

from runyard.syntax.actions import ActionError
from runyard.syntax.dockerfile import MAX_BYTES, expand, pairs, read


def test_stages_flags_continuations_and_texts() -> None:
    found = read(
        b"""#syntax=docker/dockerfile:1.7
# a comment
ARG V=3 W="a b"
FROM --platform=$TARGETPLATFORM base:${V} AS One
run echo \\
    # not part of it

    two   \\
  three
RUN --mount=type=cache,target=/c <<'EOF'
first
  second
EOF
FROM scratch
COPY --from=one --chown=1:2 /a /b
COPY --from=other/image:1 a b
CMD ["x", "y"]
""",
        "Dockerfile",
        {"TARGETPLATFORM": "linux/amd64"},
    )
    one, last = found.stages
    assert (one.base, one.name, one.at) == ("base:3", "one", "Dockerfile:4")
    assert one.instructions[0].text == "echo     two     three" and one.instructions[0].at == "Dockerfile:5"
    assert one.instructions[1].heredocs == "first\n  second\nEOF\n"
    assert last.instructions[0].flags == {"from": "one", "chown": "1:2"}
    assert last.instructions[2].listed() == ("x", "y") and last.instructions[0].listed() is None
    assert (
        found.source("ONE", 1) == 0 and found.source("0", 1) == 0 and found.source("other/image:1", 1) is None
    )
    assert found.arguments["W"] == "a b" and found.needed() == [0, 1]


def test_stages_that_nothing_uses_are_not_needed() -> None:
    text = b"FROM a AS x\nFROM b AS y\nFROM x AS z\nCOPY --from=y /f /\nFROM c\nCOPY --from=2 /f /"
    assert read(text, "D").needed() == [0, 1, 2, 3]
    assert read(b"FROM a AS x\nFROM b AS y\nFROM x", "D").needed() == [0, 2]
    assert read(b"FROM a AS a\nFROM a", "D").needed() == [0, 1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A-${A}", "1-1"),
        ("${B:-two}${A:-x}", "two1"),
        ("${E:-two}${E-two}", "two"),
        ("${A:+set}${E:+set}${E+there}${B+no}", "setthere"),
        (r"\$A$", "$A$"),
        ("$UNKNOWN.", "."),
    ],
)
def test_variables(text: str, value: str) -> None:
    assert expand(text, {"A": "1", "E": ""}) == value


def test_arguments_are_words_with_quotes() -> None:
    stage = read(b'FROM x\nARG A B=1 C=\'$x y\' D="a\\"b" E=a\\ b F=\\$x', "D").stages[0]
    expected = {"A": None, "B": "1", "C": "$x y", "D": 'a"b', "E": "a b", "F": r"\$x"}
    assert pairs(stage.instructions[0]) == expected


def test_shell_operators_are_no_texts() -> None:
    stage = read(
        b'FROM x\nRUN echo $((1<<X)) && cat <<<"$Y" <<< word\nRUN cat <<-A > f && cat <<B\n\t1\n\tA\n2\nB\nENV a=b',
        "D",
    ).stages[0]
    assert [i.word for i in stage.instructions] == ["RUN", "RUN", "ENV"]
    assert stage.instructions[1].heredocs == "\t1\n\tA\n2\nB\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "D: a Dockerfile needs a FROM"),
        (b"RUN x", "D:1: a Dockerfile begins with FROM"),
        (b"# escape=`\nFROM x", "D:1: only the backslash"),
        (b"FROM x AS", "D:1: expected `FROM image"),
        (b"FROM x AS a\nFROM y AS A", "D:2: there is a stage 'a' already"),
        (b"FROM $NONE", "D:1: '$NONE' is empty"),
        (b"FROM x\n\nFOO y", "D:3: 'FOO' is not an instruction"),
        (b"FROM x\nRUN", "D:2: RUN needs something"),
        (b"FROM x\nRUN --security=insecure x", "D:2: RUN --security=insecure is not served"),
        (b"FROM x\nRUN --mount=type=secret,id=a x", "D:2: RUN --mount=type=secret,id=a is not served"),
        (b"FROM x\nRUN cat <<EOF\nno end", "D:2: the text <<EOF does not end"),
        (b"FROM x\nCOPY <<EOF /f\nx\nEOF", "D:2: a text (<<EOF) in COPY is not served"),
        (b"FROM x\nONBUILD RUN y", "D:2: ONBUILD is not served"),
        (b"\xff", "D: a Dockerfile must be UTF-8"),
        (b"FROM x\n" * 21, "D:21: a Dockerfile may have at most 20 stages"),
        (b"FROM x\n" + b"RUN y\n" * 600, "at most 500 instructions"),
        (b"#" * (MAX_BYTES + 1), "at most"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: bytes, message: str) -> None:
    with pytest.raises(ActionError, match=re.escape(message)):
        read(text, "D")


def test_a_bad_argument_is_refused() -> None:
    for text, message in ((b"FROM x\nARG 1=2", "not the name"), (b"FROM x\nARG A='b", "not closed")):
        with pytest.raises(ActionError, match=message):
            pairs(read(text, "D").stages[0].instructions[0])
