"""Which lines of a failing step's log a person would point at. Pure; the Depot door's diagnosis and the page
of a run show them.

Tools say the cause in shapes of their own and then count: what names one failure weighs more than what counts
failures, and both more than a line that merely has a bad word. Of the weightiest the first is the cause,
because compilers and test programs begin with it; only the last lines are looked at, because what went wrong
before a step went on was mended or retried.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LOOKED_AT = 400  # lines from the end
NEAR = 8  # lines between a cause and what belongs to it
_NAMED = re.compile(
    r"FAILED \S+(::| - )|ERROR \S+\.py\b"
)  # pytest's short summary: the test and its assertion in one line
_CAUSES = re.compile(
    r"""
    E\ {2,}\S                                              # pytest
    | (Caused\ by:\ )?(\w+\.)*\w*(Error|Exception)(\ \[\w+\])?(:|$)       # Python, Node, Java
    | (Uncaught|Unhandled)\b | (fatal|panic):
    | ---\ FAIL: | \s*\S+_test\.go:\d+:                     # go test
    | \s*●\ (?!Console)                                     # jest
    | error(\[\w+\])?:\ | (\S+[(:]\d+[,:]\d+\)?:?\s-?\s*)error\b       # rustc, gcc, tsc
    | \s+\d+:\d+\s+error\s                                 # eslint
    | thread\ '.*'\ (\(\d+\)\ )?panicked\ at
    | npm\ (error|ERR!)\ (code\ |(?!A\ complete|errno|syscall|path|command|signal|at\ |\s)\S) | ERR_\w+
    | (docker:\ )?Error(\ response\ from\ daemon)?:
    | .*(:\ command\ not\ found|:\ No\ such\ file\ or\ directory|:\ Permission\ denied|\bmanifest\ unknown)
    | .*\b(Segmentation\ fault|Killed|Out\ of\ memory|core\ dumped|ENOSPC|No\ space\ left)\b
    """,
    re.VERBOSE,
)
_PLACES = re.compile(
    r"""
    \s*(-->|╭▸)\s\S+:\d+ | \s*File\ "[^"]+",\ line\ \d+ | \s*(Expected|Received|expected|actual|left|right)\b.*:
    | \s*\S+\.\w+:\d+:(\d+:)?\s | \s*at\ \S.*[(:]\d+:\d+\)?$ | (?=/|\.)\S+\.(jsx?|tsx?|vue|mjs|cjs)$
    """,
    re.VERBOSE,
)
_COUNTS = re.compile(
    r"""
    (=+\ )?(\d+\ \w+,\ )*\d+\ (failed|errors?|problems?|failures?)\b | Tests:\s | Test\ Suites:\s | Found\ \d+\ errors? | (FAIL|ok)\b
    | ✖\ \d+\ problem | error:\ (aborting|could\ not\ compile|test\ failed|process\ didn't) | make(\[\d+\])?:\ \*\*\* | (npm\ error|npm\ ERR!)\ (A\ complete|errno|syscall)
    | error\ Command\ failed | \#\#\[error\]Process\ completed | exit\ status\ \d+$ | FAILED\ \(
    """,
    re.VERBOSE,
)
_BAD = re.compile(
    r"(?<![\w./-])(errors?|fail(s|ed|ing|ures?)?|fatal|panic(ked)?|exceptions?|traceback|assert\w*|denied|not found|no such|cannot|can't|could not|"
    r"undefined|segmentation|killed|aborted|timed out|timeout|refused)(?![\w/-]|\.\w)",
    re.IGNORECASE,
)  # as a word of its own: what a file is called tells nothing
_CAUSE = 3
_ENDED = re.compile(
    r"##\[error\]Process completed with exit code \d+\.\Z|ERROR: Job failed(: exit (code|status) \d+)?\Z|Cleaning up project directory and file based variables\Z"
)


def spoken(bodies: Sequence[str], *, is_whole: bool) -> list[int]:
    """Indexes of the lines that a step said itself: without empty ones, the runner's last words, and
    (`is_whole`: its beginning is there) the closed group in which it shows its own script, for what a script
    says about errors is none."""
    first = 0
    if is_whole and bodies and bodies[0].startswith("##[group]"):
        ends = (at for at, body in enumerate(bodies) if body.startswith("##[endgroup]"))
        first = next(ends, -1) + 1
    return [at for at in range(first, len(bodies)) if bodies[at].strip() and not _ENDED.match(bodies[at])]


def weight(text: str) -> int:
    """4 names a failure whole, 3 is a cause, 2 a place or a bad word, 1 counts, 0 tells nothing."""
    if _NAMED.match(text):
        return 4
    if _COUNTS.match(text):
        return 1
    if _CAUSES.match(text):
        return _CAUSE
    return 2 if _BAD.search(text) or _PLACES.match(text) else 0


@dataclass(frozen=True, slots=True)
class Told:
    """Indexes of lines: the cause (None when no line tells anything), and those to show, in their order."""

    cause: int | None
    shown: tuple[int, ...]


def told(bodies: Sequence[str], limit: int) -> Told:
    """Without a telling line the last ones are shown."""
    first = max(0, len(bodies) - LOOKED_AT)
    weights = {at: weight(bodies[at]) for at in range(first, len(bodies))}
    heaviest = max(weights.values(), default=0)
    if heaviest == 0:
        return Told(None, tuple(range(len(bodies)))[-limit:])
    cause = next(at for at, heavy in weights.items() if heavy == heaviest)
    if heaviest < _CAUSE:  # nothing in a known shape: the last word is the likeliest
        telling = [at for at, heavy in weights.items() if heavy == heaviest]
        return Told(telling[-1], tuple(telling[-limit:]))
    # Causes first, then places and bad words that stand near one; never mere counts.
    causes = [at for at, heavy in weights.items() if heavy >= _CAUSE]
    around = {at + step for at in causes for step in range(-NEAR, NEAR + 1)}
    near = [at for at, heavy in weights.items() if heavy == 2 and at in around]
    best = list(dict.fromkeys([cause, *causes, *near]))[:limit]
    return Told(cause, tuple(sorted(best)))
