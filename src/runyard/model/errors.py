"""The nine ways a request can be refused, and the located problem in a stranger's text.

RunyardError
├── NotFound · Unauthenticated · Forbidden      who asks, for what
├── Invalid (NothingToRun) · Conflict · Gone · TooLarge        what is asked
└── Busy · Unavailable (Away)                   when it is asked

A class docstring is its default message. `http/problems.py` maps each class to a status once; a dialect's
`problem()` gives the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding in a stranger's text. Lines and columns count from 1; 0 means unknown."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    severity: Severity = "error"
    suggestion: str = ""

    def __str__(self) -> str:
        where = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)]) if self.file else ""
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{where}: {self.message}{hint}" if where else f"{self.message}{hint}"


class RunyardError(Exception):
    """Something was refused."""

    def __init__(self, message: str = "", *, retry_after_s: int | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class NotFound(RunyardError):
    """There is nothing here that you may see."""


class Unauthenticated(RunyardError):
    """A valid token is required."""


class Forbidden(RunyardError):
    """Your token does not allow this."""


class Invalid(RunyardError):
    """The request does not say what is needed."""

    def __init__(self, message: str = "", *, problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message or "; ".join(str(p) for p in self.problems))


class NothingToRun(Invalid):
    """The rules leave nothing to run here."""


class Conflict(RunyardError):
    """This is not possible in the present state."""


class Gone(RunyardError):
    """This existed and was removed."""


class TooLarge(RunyardError):
    """This is larger than the limit."""


class Busy(RunyardError):
    """Too many requests; try again shortly."""


class Unavailable(RunyardError):
    """The server cannot do this now; try again shortly."""


class Away(Unavailable):
    """The server or its database cannot be reached now; the same may be asked again.

    Whether what was asked has happened is not known: the answer may be what was lost.
    """
