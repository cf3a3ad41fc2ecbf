"""The dialects by name: the only place that imports them. Apart from compose, so that a command that only
compiles loads no server."""

from __future__ import annotations

import importlib

from runyard.dialects import Dialect

DIALECTS = ("gitlab", "depot", "looker", "datafold")


def load_dialect(name: str) -> Dialect:
    """One vendor."""
    found: Dialect = importlib.import_module(f"runyard.dialects.{name}").DIALECT
    return found


def load_dialects() -> dict[str, Dialect]:
    """Every vendor, by name, in the order pushes reach them."""
    return {name: load_dialect(name) for name in DIALECTS}
