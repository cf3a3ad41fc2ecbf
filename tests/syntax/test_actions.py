"""`uses` and `action.yml`: what is read, and what strangers may not write."""

from __future__ import annotations

import pytest

from runyard.syntax.actions import (
    ActionError,
    Composite,
    Container,
    Script,
    parse_uses,
    read_manifest,
    shell_argv,
    shell_script,
)


@pytest.mark.parametrize(
    ("text", "repository", "path", "ref", "image"),
    [
        ("actions/checkout@v4", "actions/checkout", "", "v4", ""),
        ("o/r/sub/dir@refs/heads/x", "o/r", "sub/dir", "refs/heads/x", ""),
        ("o/.github@main", "o/.github", "", "main", ""),
        ("./a/./b", "", "a/b", "", ""),
        ("$/a", "", "a", "", ""),
        ("./", "", "", "", ""),
        ("docker://alpine:3", "", "", "", "alpine:3"),
    ],
)  # fmt: skip
def test_uses(text: str, repository: str, path: str, ref: str, image: str) -> None:
    found = parse_uses(text)
    assert (found.repository, found.path, found.ref, found.image) == (repository, path, ref, image)


@pytest.mark.parametrize(
    "text",
    ["", "checkout", "a/b", "a/b@", "-a/b@v1", "a/-b@v1", "a/b@v 1", "a/../b@v1", "a/b/../../c@v1", "./../x", "./a/../../x", "$/..", "a/..@v1", "a/b\0@v1", "docker://", "../x", "/abs", "a/b@@x", "a\\b/c@v1"],
)  # fmt: skip
def test_uses_that_are_none(text: str) -> None:
    with pytest.raises(ActionError):
        parse_uses(text)


def test_a_script() -> None:
    found = read_manifest(
        b"runs: {using: node20, main: a.js, post: b.js, post-if: success()}\ninputs: {A b: {default: 1}, c: }",
        "action.yml",
    )
    assert found.runs == Script(20, "a.js", post="b.js", post_if="success()")
    assert found.inputs == {"A b": "1", "c": ""}


def test_a_composite() -> None:
    text = b"""
outputs: {o: {value: "${{ steps.a.outputs.b }}"}}
runs:
  using: Composite
  steps:
    - {id: a, run: echo, shell: bash, env: {X: 1}}
    - {uses: ./x, with: {N: v}, if: always(), continue-on-error: true}
"""
    found = read_manifest(text, "action.yml")
    assert isinstance(found.runs, Composite)
    first, second = found.runs.steps
    assert (first.id, first.run, first.env) == ("a", "echo", {"X": "1"})
    assert second.uses is not None and second.uses.path == "x" and second.inputs == {"n": "v"}
    assert (second.condition, second.continue_on_error) == ("always()", "true")


def test_a_container() -> None:
    found = read_manifest(
        b"runs: {using: docker, image: docker://a:1, args: [x, '${{ inputs.y }}'], env: {A: b}}", "action.yml"
    ).runs
    assert isinstance(found, Container) and (found.image, found.built) == ("a:1", False)
    assert found.args == ("x", "${{ inputs.y }}") and found.env == {"A": "b"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[]", "action.yml:1:1"),
        ("name: x", "action.yml:1:1: Required property is missing: runs"),
        ("runs: {using: cobol}", "action.yml:1:8: 'using: cobol' is not known"),
        ("runs: {using: node20}", "Required property is missing: main"),
        ("runs: {using: node20, main: /etc/passwd}", "not a path inside the action"),
        (
            "runs:\n  using: composite\n  steps:\n    - run: x",
            "action.yml:4:7: Required property is missing: shell",
        ),
        (
            "runs:\n  using: composite\n  steps:\n    - {run: x, shell: sh, nope: 1}",
            "Unexpected value 'nope'",
        ),
        ("runs:\n  using: composite\n  steps:\n    - uses: nope", "Expected format {org}/{repo}"),
        ("runs: {using: composite}", "Required property is missing: steps"),
        ("runs: {using: composite, steps: 1}", "must be a sequence"),
        ("runs: {using: [x]}", "a text was expected"),
        ("inputs: [a]\nruns: {using: node20, main: x}", "must be a mapping"),
        ("a: &a [*a]", ""),
        ("{" * 200, ""),
        ("\0", ""),
    ],
)
def test_what_is_no_action_says_where(text: str, place: str) -> None:
    with pytest.raises(ActionError) as caught:
        read_manifest(text.encode(), "action.yml")
    assert place in str(caught.value)


def test_shells() -> None:
    assert shell_argv("BASH") == ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{script}")
    assert shell_argv("perl -w {0}") == ("perl", "-w", "{script}")
    assert shell_argv("bash -c '. {0}; echo end'") == ("bash", "-c", ". {script}; echo end")
    pwsh = shell_argv("pwsh")
    assert pwsh == ("pwsh", "-command", ". '{script.ps1}'")
    assert shell_script(("sh", "{script}"), "a") == "a\n"
    assert shell_script(pwsh, "Get-Item x").splitlines() == [
        "$ErrorActionPreference = 'stop'",
        "Get-Item x",
        "if ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) { exit $LASTEXITCODE }",
    ]
    assert shell_argv("perl") is None and shell_argv("'x {0}") is None and shell_argv("{0}") is None
