"""Which explores a validator is asked about: `model/explore` selectors and exclusions, `*` for any. Shared by
all validators."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selection:
    """No selectors means all. Each is `model/explore`."""

    selectors: tuple[str, ...] = ()
    exclusions: tuple[str, ...] = ()

    def lets(self, model: str, explore: str) -> bool:
        """Whether this explore is asked for."""
        chosen = any(_matches(s, model, explore) for s in self.selectors) if self.selectors else True
        return chosen and not any(_matches(s, model, explore) for s in self.exclusions)


def _matches(selector: str, model: str, explore: str) -> bool:
    wanted, _, name = selector.partition("/")
    return wanted in ("*", model) and name in ("*", explore)
