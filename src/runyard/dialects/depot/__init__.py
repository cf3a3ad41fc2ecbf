"""Depot: Actions-syntax workflows, and the CI API over Connect. `DIALECT` is all that app knows of this folder."""

from __future__ import annotations

from typing import Any

from runyard.dialects import Dialect
from runyard.dialects.depot.compile import check, compile, entries, on_push
from runyard.dialects.depot.words import WORDS
from runyard.http.services import Services


def mount(services: Services) -> Any:
    """The door. The generated messages are imported only when a server needs them: they cost a compiler nothing."""
    from runyard.dialects.depot import routes

    return routes.mount(services)


DIALECT = Dialect(
    name="depot",
    title="Depot CI",
    words=WORDS,
    prefixes=("/depot.", "/depot/artifacts/"),
    mount=mount,
    compile=compile,
    entries=entries,
    check=check,
    on_push=on_push,
)
