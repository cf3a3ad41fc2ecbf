"""Depot: Actions-syntax workflows, and the CI API over Connect. `DIALECT` is all that app knows of this
folder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from runyard.dialects import Dialect, Round
from runyard.dialects.depot.compile import check, compile, entries, on_push
from runyard.dialects.depot.offering import offers
from runyard.dialects.depot.words import WORDS
from runyard.dialects.depot.workflow.facts import OWNER_ID
from runyard.engine import caches
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.trigger import Push, Trigger
from runyard.model.work import Run


class Door:
    """The mounted application, made at the first request: the generated messages take half as long to import
    as FastAPI and SQLAlchemy together, and a server that nobody asks through this door should start without
    them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes the request on."""
        if self._app is None:
            self._app = await asyncio.to_thread(self._make)
        await self._app(scope, receive, send)

    def _make(self) -> Any:
        from runyard.dialects.depot import routes

        return routes.mount(self._services)


async def _pushed(services: Services, push: Push) -> Sequence[Run]:
    from runyard.dialects.depot import happenings

    return await happenings.pushed(services, push)


def _facts(tx: Tx, draft: Trigger) -> Mapping[str, Any]:
    """Whose repository it is."""
    group = tx.group_by_path(draft.project.path.rpartition("/")[0])
    return {OWNER_ID: group.id} if group else {}


def rounds(services: Services) -> list[Round]:
    """Events that nobody sends us; old cache entries go."""

    async def sweep() -> None:
        from runyard.dialects.depot.cache import sweep as sweep_entries

        await services.db.write(lambda tx: sweep_entries(tx, services.now()))

    async def sweep_results() -> None:
        from runyard.dialects.depot.results import artifacts, uploads

        def everything(tx: Tx) -> None:
            for verb in (uploads.sweep, artifacts.sweep, caches.sweep):
                verb(tx, services.now())

        await services.db.write(everything)

    from runyard.dialects.depot import happenings, pulls

    return [
        Round("depot schedules", partial(happenings.run_schedules, services), every_s=5.0),
        Round("depot workflow_run", happenings.Watch(services).round, every_s=5.0),
        Round(
            "depot pull requests", partial(happenings.run_pulls, services), every_s=30.0, topic=pulls.TOPIC
        ),
        Round("depot cache", sweep, every_s=600),
        Round("actions results", sweep_results, every_s=600),
    ]


DIALECT = Dialect(
    name="depot",
    title="Depot CI",
    words=WORDS,
    prefixes=(
        "/depot.",
        "/api/actions/",
        "/api/v3/",
        "/depot/artifacts/",
        "/depot/cache/",
        "/twirp/",
        "/_apis/",
        "/_results/",
    ),
    mount=Door,
    compile=compile,
    entries=entries,
    check=check,
    on_push=on_push,
    rounds=rounds,
    pushed=_pushed,
    facts=_facts,
    offers=offers,
)
