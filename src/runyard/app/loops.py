"""The background work of a server: upkeep, the dialects' rounds, and the built-in runner. Started after the
port answers, stopped before the database closes."""

from __future__ import annotations

from runyard.app.compose import House
from runyard.app.mending import mend
from runyard.app.rounds import Rounds
from runyard.app.upkeep import Upkeep
from runyard.dialects import Round
from runyard.http.auth import hash_token, job_token, new_token
from runyard.http.bridging import Bridging
from runyard.http.identity import Identity
from runyard.http.pushes import EVERY_S, Pushes
from runyard.model.plan import Network
from runyard.runner.cache import open_cache
from runyard.runner.job import Means
from runyard.runner.link import Door
from runyard.runner.local import LocalLink, Ports, enroll
from runyard.runner.loop import RunnerLoop
from runyard.runner.sandbox.box import Limits, SandboxError
from runyard.runner.sandbox.container import Images
from runyard.runner.sandbox.levels import choose


class Loops:
    """Start and stop everything that runs beside the requests."""

    def __init__(self, house: House, door: Door | None = None) -> None:
        """`door`: where this server listens."""
        self._door = door
        services = house.services
        self.house = house
        self.upkeep = Upkeep(services.db, services.blobs, services.now, services.terms)
        # The bell also rings for bridges; ten seconds are for a ring that was lost.
        bridges = Round("bridges", Bridging(house.launcher).round, 10.0, "outside")
        pushes = Pushes(services.db, house.source, house.launcher, services.now)
        left = Round("pushes", pushes.round, EVERY_S)
        rounds = [r for d in house.dialects.values() for r in d.rounds(services)]
        self.rounds = Rounds(services.bell, [bridges, left, *rounds])
        self.runner: RunnerLoop | None = None

    def start(self) -> list[str]:
        """Begins; answers sentences for the operator."""
        mend(self.house.services.db, self.house.services.source)
        self.upkeep.start()
        self.rounds.start()
        settings = self.house.settings
        if settings.runner_slots == 0:
            return ["built-in runner: off (--runner-slots 0); jobs wait for other runners"]
        try:
            means, notes = self._means()
        except SandboxError as error:
            return [f"built-in runner: off, {error.message}"]
        self.runner = RunnerLoop(means, settings.runner_slots)
        self.runner.start()
        return [f"built-in runner: {settings.runner_slots} slots, sandbox {means.sandbox.level}", *notes]

    def _means(self) -> tuple[Means, tuple[str, ...]]:
        settings, services = self.house.settings, self.house.services
        limits = Limits(settings.job_memory_bytes, settings.job_processes, settings.job_cpus)
        network = Network(settings.network)
        sandbox = choose(
            settings.data / "work", limits=limits, network=network, allow_plain=settings.allow_plain
        )
        ports = Ports(
            db=services.db,
            bell=services.bell,
            blobs=services.blobs,
            source=services.source,
            vault=services.vault,
            terms=services.terms,
            now=services.now,
            mint=job_token,
            sign=Identity(services.vault).sign,
            actions=services.actions,
            door=self._door,
        )
        tags = tuple(t.strip() for t in settings.runner_tags.split(",") if t.strip())
        row = enroll(ports, "built-in runner", tags, hash_token(new_token("glrt-")))
        spool = settings.data / "spool"
        spool.mkdir(exist_ok=True, mode=0o700)
        means = Means(
            link=LocalLink(ports, row),
            sandbox=sandbox,
            images=Images(settings.data / "images"),
            cache=open_cache(settings.cache, settings.data / "cache"),
            spool=spool,
            now=services.now,
            network=network,
            grace_s=settings.cancel_grace_s,
            visits=self.house.visits,
        )
        return means, sandbox.notes

    def stop(self) -> None:
        """Ends; what still runs is handed back unharmed."""
        if self.runner is not None:
            self.runner.stop()
        self.rounds.stop()
        self.upkeep.stop()
