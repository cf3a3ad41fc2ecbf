"""Starts the runs that bridges ask for: reads the order, compiles outside any transaction, links in one
(engine/bridges.py).

app runs `round` when the bell "outside" rings, and now and then in case it was lost. A server that dies in
between has made nothing; the next round, here or on another replica, begins the same order again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from runyard.engine import bridges
from runyard.engine.bridges import Order, Refusal
from runyard.engine.ports import Database
from runyard.http.launch import HEADS, Launcher
from runyard.http.services import RunRequest
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound, RunyardError, TooLarge
from runyard.model.plan import Plan
from runyard.model.state import Reason
from runyard.model.trigger import Trigger
from runyard.model.work import Run

log = logging.getLogger("runyard.bridges")

BATCH = 100


@dataclass(frozen=True, slots=True)
class Bridging:
    """The one who starts them."""

    launcher: Launcher

    @property
    def _db(self) -> Database:
        return self.launcher.db

    async def round(self) -> None:
        """Everything that waits now. One that cannot be tried at the moment (no room, no database) keeps no
        other from its turn."""
        for attempt_id in await self._db.read(lambda tx: bridges.waiting(tx, BATCH)):
            try:
                await self._start(attempt_id)
            except RunyardError as error:
                log.warning(
                    "a bridge could not be started, will try again",
                    extra={"attempt": attempt_id, "error": error.message},
                )
            except Exception:  # a bug of ours must not be tried again for ever
                log.exception("a bridge could not be started", extra={"attempt": attempt_id})
                await self._fail(
                    attempt_id,
                    Reason.DOWNSTREAM_REFUSED,
                    "The server failed to make this pipeline; its log says why.",
                )

    async def _start(self, attempt_id: int) -> None:
        house = self.launcher
        order = await self._db.read(
            lambda tx: bridges.order(tx, attempt_id, house.now(), house.vault, house.terms)
        )
        match order:
            case None:
                return
            case Refusal():
                await self._fail(attempt_id, order.reason, order.message)
            case Order(existing=int() as run_id):
                await self._follow(attempt_id, run_id)
            case Order():
                await self._make(order)

    async def _follow(self, attempt_id: int, run_id: int) -> None:
        try:
            await self._db.write(lambda tx: bridges.linked(tx, attempt_id, run_id, self.launcher.now()))
        except Conflict:
            return  # canceled, or linked by another replica

    async def _make(self, order: Order) -> None:
        house = self.launcher
        await house.check_room()
        try:
            trigger, files = await house.draft(_request(order))
            plan = await asyncio.to_thread(house.dialects[order.dialect].compile, trigger, files)
            run = await self._link(order, trigger, plan)
        except (Invalid, NotFound, Forbidden, TooLarge) as error:
            problems = "\n".join(str(p) for p in getattr(error, "problems", ())) or error.message
            await self._fail(order.attempt_id, Reason.DOWNSTREAM_REFUSED, problems)
            return
        if run is not None:
            await house.keep(run)

    async def _link(self, order: Order, trigger: Trigger, plan: Plan) -> Run | None:
        house = self.launcher
        return await self._db.write(
            lambda tx: bridges.started(tx, order.attempt_id, trigger, plan, house.now(), house.terms)
        )

    async def _fail(self, attempt_id: int, reason: Reason, message: str) -> None:
        await self._db.write(lambda tx: bridges.failed(tx, attempt_id, reason, message, self.launcher.now()))


def _request(order: Order) -> RunRequest:
    ref = order.ref or None
    return RunRequest(
        project=order.project,
        dialect=order.dialect,
        source=order.source,
        actor=order.actor,
        ref=f"{HEADS}{ref}"
        if order.sha and ref and not order.tag
        else f"refs/tags/{ref}"
        if order.sha and ref
        else ref,
        sha=order.sha or None,
        before_sha=order.before_sha or None,
        variables=order.variables,
        inputs=order.inputs,
        options=order.options,
        archives=order.archives,
    )
