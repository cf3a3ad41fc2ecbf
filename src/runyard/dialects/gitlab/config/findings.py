"""Findings: every problem of a configuration, each at its place, in GitLab's words where it has some.

Used by every reader here. A `Place` is a keyword's path (`jobs:build:artifacts`) with the collector, so that
a reader can say what is wrong and go on; the compiler raises once, at the end, with all of them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from runyard.model.errors import Invalid, Problem
from runyard.syntax.yamltree import Mark

MAX_ERRORS = 100
MAX_WARNINGS = 25  # GitLab shows no more
MAX_WORK = 600_000  # nodes read and rules judged; 2,000 jobs with 300 nodes each


@dataclass(slots=True)
class Findings:
    """Collects; the same sentence at the same place counts once, and after a hundred errors nobody reads on.
    Warnings never crowd out an error."""

    problems: list[Problem] = field(default_factory=list)
    trusting: bool = (
        False  # an include could not be read here: a name that nobody defines may be defined there
    )
    halves: set[str] = field(
        default_factory=set
    )  # jobs that lack what they extend: nobody says what else they lack
    _seen: set[tuple[str, str, int, int]] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)
    _work: int = MAX_WORK

    def error(self, at: Mark, message: str, suggestion: str = "") -> None:
        self._add(Problem(message, at.file, at.line, at.column, "error", suggestion), MAX_ERRORS)

    def warn(self, at: Mark, message: str) -> None:
        self._add(Problem(message, at.file, at.line, at.column, "warning"), MAX_WARNINGS)

    def _add(self, problem: Problem, most: int) -> None:
        key = (problem.message, problem.file, problem.line, problem.column)
        if key not in self._seen and self._counts[problem.severity] < most:
            self._seen.add(key)
            self._counts[problem.severity] += 1
            self.problems.append(problem)

    def undefined(self, at: Mark, message: str, suggestion: str = "") -> None:
        """A name that nothing defines: an error, but for what an unread include may define."""
        if not self.trusting:
            self.error(at, message, suggestion)

    def spend(self, amount: int, at: Mark) -> None:
        """Counts work that sharing (extends, aliases, parallel) can multiply; raises Invalid when it is too
        much."""
        self._work -= amount
        if self._work < 0:
            self.error(
                at, f"the configuration is too large: more than {MAX_WORK} nodes once everything is merged"
            )
            self.check()

    @property
    def errors(self) -> list[Problem]:
        return [p for p in self.problems if p.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        return [p for p in self.problems if p.severity == "warning"]

    def check(self) -> None:
        """Raises when there is any error."""
        if errors := self.errors:
            raise Invalid(problems=sorted(errors, key=lambda p: (p.file, p.line, p.column)))


@dataclass(frozen=True, slots=True)
class Place:
    """A keyword's path and where its problems go."""

    path: str
    out: Findings

    def sub(self, key: str) -> "Place":
        return Place(f"{self.path}:{key}", self.out)

    def wrong(self, at: Mark, what: str, suggestion: str = "") -> None:
        """`jobs:build:timeout config should be a duration`."""
        self.out.error(at, f"{self.path} config {what}", suggestion)

    def error(self, at: Mark, message: str, suggestion: str = "") -> None:
        """A sentence of its own."""
        self.out.error(at, message, suggestion)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint when `word` looks like a slip for a known one."""
    close = get_close_matches(word[:60], list(known), 1, 0.7)
    return f"did you mean `{close[0]}`?" if close else ""
