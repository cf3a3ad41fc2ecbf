"""Joins ports to adapters and dialects to doors. Everything that is constructed once per server is
constructed here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from runyard.app.first_start import Keys, ensure_root
from runyard.app.vendors import load_dialects
from runyard.dialects import Dialect, Words, offers_nothing
from runyard.engine.ports import Bell, Blobs, Database
from runyard.engine.terms import Terms
from runyard.http.auth import new_token, resolver, signer
from runyard.http.front import Asgi, Door, Front, Late
from runyard.http.gitdoor import GitDoor
from runyard.http.launch import Launcher
from runyard.http.reach import Elsewhere
from runyard.http.services import Services
from runyard.http.visiting import Switchboard
from runyard.model.errors import NotFound
from runyard.model.trigger import ServerFacts
from runyard.runner.sandbox.folders import empty
from runyard.runner.visits import BoxVisits
from runyard.settings import Settings
from runyard.sources.actions import ActionTrees
from runyard.sources.repositories import GitSource
from runyard.sources.smart_http import GitHttp
from runyard.store import open_database
from runyard.store.vault import AesVault

FREE_BYTES = 512 << 20


def clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class House:
    """A server, put together but not yet serving."""

    settings: Settings
    services: Services
    launcher: Launcher
    dialects: Mapping[str, Dialect]
    source: GitSource
    keys: Keys
    visits: BoxVisits
    front: Front | None = None
    late: tuple[Late, ...] = ()  # applications to make when there is time

    def close(self) -> None:
        """Lets go of the database; everything answered before is durable."""
        self.services.db.close()


def build(settings: Settings, keys: Keys, url: str) -> House:
    """The whole server for this external address."""
    house = build_core(settings, keys, url)
    empty(settings.data / "spool")  # after the folder is ours: a server that is refused takes nothing
    services = house.services
    late = [Late(partial(d.mount, services)) for d in house.dialects.values()]
    doors = [Door(d.name, d.prefixes, app) for d, app in zip(house.dialects.values(), late, strict=True)]
    web, probes = Late(partial(_site, services, house.dialects)), Late(partial(health, services))
    git = GitDoor(
        services.db, services.source, house.source, services.now, services.principal, house.launcher, url
    )
    front = Front(
        doors=[*doors, Door("health", ("/healthz", "/readyz", "/metrics"), probes)],
        git=GitHttp(house.source, git.authorize, git.pushed, git.announced),
        web=web,
    )
    return replace(house, front=front, late=(*late, web, probes))


def build_core(settings: Settings, keys: Keys, url: str) -> House:
    """Ports, dialects and launcher without any HTTP: what `runyard run` needs."""
    db, bell = open_database(settings.database, settings.data)
    db.submit_write(lambda tx: ensure_root(tx, keys.root_token, clock())).result()
    source = GitSource(settings.data / "repositories", allow_local=settings.allow_local_import)
    server = ServerFacts(
        url=url, builtin_actions=settings.actions_builtin, needs_per_job=settings.needs_per_job
    )
    terms = Terms.of(settings, server)
    vault = AesVault(keys.secret_key)
    dialects = load_dialects()
    blobs = open_store(settings)
    elsewhere = Elsewhere(db, source, blobs, settings.allow_local_import, clock, settings.templates)
    launcher = Launcher(terms, db, source, vault, clock, dialects, elsewhere.for_user, room_in(settings.data))
    visits, words = BoxVisits(), _words(dialects)
    services = _services(settings, terms, db, bell, blobs, source, vault, keys, launcher, words, visits)
    launcher.hearers.extend(partial(d.pushed, services) for d in dialects.values())
    launcher.losers.extend(partial(d.lost, services) for d in dialects.values())
    return House(settings, services, launcher, dialects, source, keys, visits)


def _services(
    settings: Settings,
    terms: Terms,
    db: Database,
    bell: Bell,
    blobs: Blobs,
    source: GitSource,
    vault: AesVault,
    keys: Keys,
    launcher: Launcher,
    words: Callable[[str], Words],
    visits: BoxVisits,
) -> Services:
    return Services(
        settings=settings.model_copy(update={"registration_token": keys.registration_token}),
        terms=terms,
        server=terms.server,
        db=db,
        bell=bell,
        blobs=blobs,
        source=source,
        vault=vault,
        now=clock,
        new_token=new_token,
        principal=resolver(db, clock),
        start=launcher.start,
        draft=launcher.draft,
        pushed=launcher.pushed,
        words=words,
        sign=signer(keys.secret_key.encode()),
        visits=Switchboard(visits),
        actions=ActionTrees(settings.data / "actions", settings.actions_url),
    )


def room_in(folder: Path) -> Callable[[], bool]:
    """Whether there is more free space than running jobs and the database may need to end well
    (reliability.md §3)."""

    def has_room() -> bool:
        try:
            status = os.statvfs(folder)
        except OSError:
            return True  # whoever writes there will be told better
        return status.f_bavail * status.f_frsize >= FREE_BYTES

    return has_room


def open_store(settings: Settings) -> Blobs:
    """Blobs where the settings say."""
    from runyard.blobs import open_blobs

    return open_blobs(settings.blobs or str(settings.data / "blobs"))


def _words(dialects: Mapping[str, Dialect]) -> Callable[[str], Words]:
    def words(name: str) -> Words:
        try:
            return dialects[name].words
        except KeyError:
            raise NotFound(f"There is no dialect {name!r}.") from None

    return words


def _site(services: Services, dialects: Mapping[str, Dialect]) -> Asgi:
    from runyard.web.routes import site

    by_hand = {name: d.offers for name, d in dialects.items() if d.offers is not offers_nothing}
    asks = {name: d.job_inputs for name, d in dialects.items() if d.job_inputs is not None}
    return site(services, list(dialects), by_hand, asks)


def health(services: Services) -> Asgi:
    """/healthz says the process lives; /readyz that the database answers; /metrics counts for Prometheus."""
    from runyard.app.health import probes

    return probes(services)
