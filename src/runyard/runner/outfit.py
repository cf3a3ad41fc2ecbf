"""Puts a runner's means together: sandbox, cache, images, folders. Called by app and by `runyard runner`."""

from __future__ import annotations

import time
from pathlib import Path

from runyard.model.plan import Network
from runyard.runner.cache import open_cache
from runyard.runner.job import Means
from runyard.runner.link import Link
from runyard.runner.sandbox import Limits, choose
from runyard.runner.sandbox.container import Images
from runyard.runner.sandbox.folders import empty
from runyard.runner.visits import BoxVisits


def outfit(
    link: Link,
    folder: Path,
    limits: Limits,
    network: Network,
    *,
    allow_plain: bool = False,
    grace_s: float = 10.0,
    cache: str = "",
    visits: BoxVisits | None = None,
) -> Means:
    """Everything below `folder`: work, cache, images, spool. SandboxError when no level may be used here."""
    folder.mkdir(parents=True, exist_ok=True)
    spool = folder / "spool"
    empty(spool)
    sandbox = choose(folder / "work", limits=limits, network=network, allow_plain=allow_plain)
    return Means(
        link=link,
        sandbox=sandbox,
        images=Images(folder / "images"),
        cache=open_cache(cache, folder / "cache"),
        spool=spool,
        now=lambda: time.time_ns() // 1_000_000,
        network=network,
        grace_s=grace_s,
        visits=visits or BoxVisits(),
    )
