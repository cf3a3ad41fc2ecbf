"""Datafold: data diffs of a pull request's tables, over the CI API of datafold-sdk. `DIALECT` is all that app
knows of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runyard.dialects import Dialect, Round
from runyard.dialects.datafold.compile import check, compile_run, entries, on_push
from runyard.dialects.datafold.words import WORDS
from runyard.http.services import Services


def mount(services: Services) -> Any:
    """The door; its framework is imported only when a server needs it."""
    from runyard.dialects.datafold import routes

    return routes.mount(services)


def rounds(services: Services) -> Sequence[Round]:
    """What it does without being asked; imported late for the same reason."""
    from runyard.dialects.datafold.rounds import rounds as made

    return made(services)


DIALECT = Dialect(
    name="datafold",
    title="Datafold",
    words=WORDS,
    prefixes=("/api/v1/", "/api/internal/", "/datadiffs/"),
    mount=mount,
    compile=compile_run,
    entries=entries,
    check=check,
    on_push=on_push,
    rounds=rounds,
)
