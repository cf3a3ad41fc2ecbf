"""Problems of one file, collected while reading goes on; the first ten are reported, as GitHub's parser
does."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from runyard.model.errors import Invalid, Problem, Severity
from runyard.syntax.yamltree import Mark

MAX_REPORTED = 10
MAX_MESSAGE = 500


@dataclass(slots=True)
class Findings:
    """Grows while a file is read. `sampled`: contexts that hold samples only (a check without a trigger), so
    that what depends on them cannot be judged."""

    problems: list[Problem] = field(default_factory=list)
    sampled: frozenset[str] = frozenset()

    def error(self, at: Mark, message: str, suggestion: str = "") -> None:
        """Something that stops the file from being run."""
        self._add(at, message, suggestion, "error")

    def warning(self, at: Mark, message: str, suggestion: str = "") -> None:
        """Something that is ignored here."""
        self._add(at, message, suggestion, "warning")

    def refused(self, at: Mark, what: str) -> None:
        """Something the language has and this server does not serve yet."""
        self.error(at, f"{what} is not served yet")

    def _add(self, at: Mark, message: str, suggestion: str, severity: Severity) -> None:
        shown = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
        self.problems.append(Problem(shown, at.file, at.line, at.column, severity, suggestion))

    @property
    def errors(self) -> list[Problem]:
        """Without the warnings."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def sorted(self) -> list[Problem]:
        """All of them once, in the file's order: a matrix builds the same text once per leg."""
        return sorted(dict.fromkeys(self.problems), key=lambda p: (p.file, p.line, p.column))

    def raise_errors(self) -> None:
        """Invalid with the first problems, if there are errors."""
        errors = [problem for problem in self.sorted if problem.severity == "error"]
        if errors:
            raise Invalid(problems=errors[:MAX_REPORTED])


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or nothing when no known word is near."""
    by_folded = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower()[:100], list(by_folded), n=1, cutoff=0.6)
    return f"did you mean '{by_folded[found[0]]}'?" if found else ""
