"""Reads a job's plan back from its text. Called by rows.py.

Most of a plan are variables, and most of these are the same in every job of a run (what a dialect predefines,
as templates). Jobs that are read back share them: a run of 1,000 jobs is kept in 9 MB instead of 34.
"""

from __future__ import annotations

from dataclasses import MISSING, field, fields, make_dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from runyard.model.plan import JobPlan, Variable

SHARED = 8192  # different variables that are remembered
_NAMES = tuple(f.name for f in fields(JobPlan))
_AT = _NAMES.index("variables")


def _as_stored() -> type[Any]:
    """JobPlan with its variables still as texts."""
    hints = get_type_hints(JobPlan) | {"variables": tuple[msgspec.Raw, ...]}
    columns: list[tuple[str, Any, Any]] = []
    for one in fields(JobPlan):
        default: Any = field(default=one.default) if one.default is not MISSING else field()
        if one.default_factory is not MISSING:
            default = field(default_factory=one.default_factory)
        columns.append((one.name, hints[one.name], default))
    return make_dataclass("StoredPlan", columns, slots=True)


_stored = msgspec.json.Decoder(_as_stored()).decode
_values = attrgetter(*_NAMES)
_variable = lru_cache(SHARED)(msgspec.json.Decoder(Variable).decode)


def unpacked(text: str) -> JobPlan:
    """The plan that was encoded so."""
    values = list(_values(_stored(text)))
    values[_AT] = tuple([_variable(bytes(raw)) for raw in values[_AT]])
    return JobPlan(*values)
