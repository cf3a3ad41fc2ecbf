"""Whether a service is well by its own word: the health command of `options: --health-cmd …`, asked inside it
until it succeeds. Called by `services.py`.

As a container engine does it: every interval, within a time limit of its own, ill after so many failures in a
row; those in the start period do not count (docs.docker.com, "docker run", health checks). Only the wait is
shorter: it is asked once at once and then at least every two seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from runyard.model.plan import Image
from runyard.runner.sandbox.box import Box

MOST_S = 1800.0  # whatever the options say
LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """What `Image.options["health"]` asks: {"command", "interval_s"?, "timeout_s"?, "retries"?,
    "start_period_s"?}; defaults are the engines'."""

    command: str
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0

    @classmethod
    def of(cls, image: Image) -> Health | None:
        """None for a service without a health command."""
        given = image.options.get("health")
        return cls(**given) if isinstance(given, Mapping) else None

    @property
    def patience_s(self) -> float:
        """How long an engine would call it `starting` at most."""
        return min(self.start_period_s + self.interval_s * max(1, self.retries) + self.timeout_s, MOST_S)

    def waits_for(self, box: Box, env: Mapping[str, str], cwd: str) -> bool:
        """Asks until it is well (True), or ill (False)."""
        until = time.monotonic() + self.patience_s
        while True:
            began = time.monotonic()
            if self._is_well(box, env, cwd):
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(max(0.0, min(self.interval_s, LOOK_S) - (time.monotonic() - began)))

    def _is_well(self, box: Box, env: Mapping[str, str], cwd: str) -> bool:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            asked = box.start(("/bin/sh", "-c", self.command), env, cwd, {0: nothing, 1: nothing, 2: nothing})
        finally:
            os.close(nothing)
        code = asked.wait(self.timeout_s)
        if code is None:
            asked.kill()
            asked.wait(self.timeout_s)
        return code == 0
