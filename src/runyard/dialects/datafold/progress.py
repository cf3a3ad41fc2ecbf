"""How far a running diff is, from the lines that its program writes: `[  1.2 s] compare 37% …`.

Called by routes_diffs.
"""

from __future__ import annotations

import re
from typing import Any

from runyard.engine.views import log_size
from runyard.http.logs import log_bytes
from runyard.http.services import Services
from runyard.model.state import State
from runyard.model.work import Attempt
from runyard.tasks.datadiff.meter import STEPS

TAIL_BYTES = 16 << 10
PARTS = 10  # of a step: Datafold counts steps, we know shares of them too
_LINE = re.compile(rb"^\[ *\d+\.\d s\] ([a-zA-Z ]+?)(?: (\d{1,3})%.*)?$", re.MULTILINE)


async def of(services: Services, attempt: Attempt) -> dict[str, Any]:
    """`diff_progress`."""
    total = len(STEPS) * PARTS
    if attempt.state is State.DONE:
        return {"version": "1", "completed_steps": total, "total_steps": total}
    done = 0
    if attempt.state in (State.RUNNING, State.STOPPING):
        size = log_size(attempt)
        tail = b"".join(
            [piece async for piece in log_bytes(services, attempt.id, max(0, size - TAIL_BYTES), size)]
        )
        done = completed(tail)
    return {"version": "1", "completed_steps": done, "total_steps": total}


def completed(log: bytes) -> int:
    """Tenths of steps that a log's last line of progress tells."""
    told = [(m[1].decode(), int(m[2] or 0)) for m in _LINE.finditer(log) if m[1].decode() in STEPS]
    if not told:
        return 0
    step, percent = told[-1]
    return STEPS.index(step) * PARTS + min(PARTS, percent * PARTS // 100)
