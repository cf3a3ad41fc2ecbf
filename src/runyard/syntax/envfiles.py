"""What a step wrote to $GITHUB_ENV, $GITHUB_OUTPUT, $GITHUB_STATE, $GITHUB_PATH and $GITHUB_STEP_SUMMARY.

The runner reads the files after every step, even a failed one, and calls these functions with their bytes.
The grammar is the Actions runner's, to the wording of its errors; an `EnvFileError` fails the step. Pure and
capped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MAX_FILE_BYTES = 1 << 20
"""Of one ENV, OUTPUT, STATE or PATH file (job outputs are at most 1 MiB at GitHub)."""

MAX_SUMMARY_BYTES = 1 << 20
"""Of one step's summary; a larger one is refused whole, as at GitHub."""

MAX_VARIABLE_BYTES = 131_000
"""`NAME=value` of one environment variable: Linux's execve takes 128 KiB for one string."""

MAX_PAIRS = 10_000
"""Entries of one file."""


class EnvFileError(ValueError):
    """The file cannot be read by the runner's grammar; the step fails with this message."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What $GITHUB_ENV asks for: variables in order, and the names that were refused."""

    variables: tuple[tuple[str, str], ...]
    refused: tuple[str, ...] = ()


def pairs(data: bytes, file: str = "GITHUB_OUTPUT") -> tuple[tuple[str, str], ...]:
    """Every `K=V` and `K<<DELIMITER` entry in order; of equal keys only the last, in the first one's
    place."""
    text = _text(data, file, MAX_FILE_BYTES)
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        line, _, at = _line(text, at)
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if heredoc >= 0 and (equals < 0 or heredoc < equals):
            key, _, delimiter = line.partition("<<")
            if not key or not delimiter:
                raise EnvFileError(
                    f"Invalid format '{_shown(line)}'. Name must not be empty and delimiter must not be empty"
                )
            value, at = _heredoc(text, at, delimiter)
        elif equals >= 0:
            key, _, value = line.partition("=")
            if not key:
                raise EnvFileError(f"Invalid format '{_shown(line)}'. Name must not be empty")
        else:
            raise EnvFileError(f"Invalid format '{_shown(line)}'")
        if "\0" in key or "\0" in value:
            raise EnvFileError(f"The value of '{_shown(key)}' in {file} holds a NUL character")
        found[key] = value
        if len(found) > MAX_PAIRS:
            raise EnvFileError(f"{file} holds more than {MAX_PAIRS} entries")
    return tuple(found.items())


def environment(data: bytes) -> Environment:
    """$GITHUB_ENV: NODE_OPTIONS, GITHUB_* and RUNNER_* are refused by name, over-long values fail the
    step."""
    kept: list[tuple[str, str]] = []
    refused: list[str] = []
    for key, value in pairs(data, "GITHUB_ENV"):
        if key.upper() == "NODE_OPTIONS" or key.upper().startswith(("GITHUB_", "RUNNER_")):
            refused.append(key)
            continue
        if len(key.encode()) + len(value.encode("utf-8", "surrogatepass")) > MAX_VARIABLE_BYTES:
            raise EnvFileError(
                f"The value of '{_shown(key)}' in GITHUB_ENV is larger than {MAX_VARIABLE_BYTES} bytes"
            )
        kept.append((key, value))
    return Environment(tuple(kept), tuple(refused))


def with_paths(current: Iterable[str], data: bytes) -> tuple[str, ...]:
    """The folders to put before PATH, first searched first: each line of $GITHUB_PATH goes to the front."""
    folders = list(current)
    for line in _text(data, "GITHUB_PATH", MAX_FILE_BYTES).splitlines():
        if not line.strip():
            continue
        if "\0" in line:
            raise EnvFileError("A line of GITHUB_PATH holds a NUL character")
        folders = [line, *(folder for folder in folders if folder != line)]
        if len(folders) > MAX_PAIRS:
            raise EnvFileError(f"GITHUB_PATH holds more than {MAX_PAIRS} entries")
    return tuple(folders)


def summary(data: bytes) -> str:
    """$GITHUB_STEP_SUMMARY as Markdown; too large is an error annotation, not a failed step: the caller
    decides."""
    if len(data) > MAX_SUMMARY_BYTES:
        raise EnvFileError(
            f"$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of {MAX_SUMMARY_BYTES // 1024}k, "
            f"got {len(data) // 1024}k"
        )
    return data.decode("utf-8", "replace").removeprefix("\ufeff")


def _text(data: bytes, file: str, limit: int) -> str:
    if len(data) > limit:
        raise EnvFileError(f"{file} is larger than {limit} bytes")
    return data.decode("utf-8", "replace").removeprefix("\ufeff")


def _line(text: str, at: int) -> tuple[str, str, int]:
    """(line, its newline or '', where the next begins). Only \\n ends a line on Linux, as in the runner."""
    end = text.find("\n", at)
    if end < 0:
        return text[at:], "", len(text)
    return text[at:end], "\n", end + 1


def _heredoc(text: str, at: int, delimiter: str) -> tuple[str, int]:
    start = end = at
    while True:
        if at >= len(text):
            raise EnvFileError(f"Invalid value. Matching delimiter not found '{_shown(delimiter)}'")
        line, newline, after = _line(text, at)
        if line == delimiter:
            return text[start:end], after
        if not newline:
            raise EnvFileError("Invalid value. EOF marker missing new line.")
        end = after - 1
        at = after


def _shown(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "…"
