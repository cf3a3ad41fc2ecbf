"""What dialects do without being asked (`dialects.Round`): one thread with its own event loop; each round is
a task of it.

A round that fails is logged and comes again; a round never runs beside itself. Started by loops.py after the
port answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence

from runyard.dialects import Round
from runyard.engine.ports import Bell
from runyard.model.errors import RunyardError

log = logging.getLogger("runyard.rounds")

STOP_S = 5.0


class Rounds:
    """Runs until stopped."""

    def __init__(self, bell: Bell, rounds: Sequence[Round]) -> None:
        self._bell = bell
        self._rounds = rounds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)
        self._stop = asyncio.Event()

    def start(self) -> None:
        """Begins; the first round of each comes at once, for what fell due while the server was away."""
        if self._rounds:
            self._thread.start()

    def stop(self) -> None:
        """Ends; a round under way is cancelled between two of its steps."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(STOP_S)
        if not self._thread.is_alive() and not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._all())

    async def _all(self) -> None:
        tasks = [asyncio.create_task(self._again(r), name=r.name) for r in self._rounds]
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), STOP_S)

    async def _again(self, round: Round) -> None:
        while True:
            seen = self._bell.version(round.topic) if round.topic else 0
            try:
                await round.work()
            except RunyardError as error:
                log.warning(
                    "a round failed, will come again", extra={"round": round.name, "error": error.message}
                )
            except Exception:
                log.exception("a round failed, will come again", extra={"round": round.name})
            if round.topic:
                await self._bell.changed(round.topic, seen, round.every_s)
            else:
                await asyncio.sleep(round.every_s)
