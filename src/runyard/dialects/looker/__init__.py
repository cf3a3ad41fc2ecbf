"""Looker: CI suites on LookML projects, without a Looker instance. Both API families of 25.6 and later; see
README.md."""

from __future__ import annotations

from collections.abc import Sequence

from runyard.dialects import Asgi, Dialect, Round
from runyard.dialects.looker.compile import check, compile_suite, entries, on_push
from runyard.dialects.looker.words import WORDS
from runyard.http.services import Services
from runyard.model.trigger import Push
from runyard.model.work import Run


def mount(services: Services) -> Asgi:
    """The routes; imported only when the door is opened."""
    from runyard.dialects.looker.routes import mount as routes

    return routes(services)


def rounds(services: Services) -> Sequence[Round]:
    """Schedules and housekeeping."""
    from runyard.dialects.looker.triggers import rounds as made

    return made(services)


async def pushed(services: Services, push: Push) -> Sequence[Run]:
    """What a push starts."""
    from runyard.dialects.looker.triggers import pushed as heard

    return await heard(services, push)


DIALECT = Dialect(
    name="looker",
    title="Looker",
    words=WORDS,
    prefixes=("/api/4.0", "/api/logout", "/-/looker"),
    mount=mount,
    compile=compile_suite,
    entries=entries,
    check=check,
    on_push=on_push,
    rounds=rounds,
    pushed=pushed,
)
