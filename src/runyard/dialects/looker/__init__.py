"""Looker: CI suites on LookML projects, without a Looker instance. Both API families of 25.6 and later; see README.md."""

from __future__ import annotations

from runyard.dialects import Asgi, Dialect
from runyard.dialects.looker.compile import check, compile_suite, entries, on_push
from runyard.dialects.looker.words import WORDS
from runyard.http.services import Services


def mount(services: Services) -> Asgi:
    """The routes; imported only when the door is opened."""
    from runyard.dialects.looker.routes import mount as routes

    return routes(services)


DIALECT = Dialect(
    name="looker",
    title="Looker",
    words=WORDS,
    prefixes=("/api/4.0", "/api/logout"),
    mount=mount,
    compile=compile_suite,
    entries=entries,
    check=check,
    on_push=on_push,
)
