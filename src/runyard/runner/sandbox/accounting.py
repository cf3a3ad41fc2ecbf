"""What processes use, from /proc: for boxes without control groups. Used by `kept.py`.

The CPU time of a process that ended is in its parent's once that has waited for it; what nobody waited for is
lost, so this counts a little less than a control group does. Memory is the sum of resident sets: shared pages
count once per process, so it is a little more.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from runyard.runner.sandbox.box import Limits, Used
from runyard.runner.sandbox.cgroups import Slot
from runyard.runner.sandbox.kernel import descendants

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def used(group: Slot | None, limits: Limits, pid: int) -> Used:
    """Of a box: by its groups, and where these do not count, by the processes from `pid` down (0: none
    runs)."""
    cpu_ns = group.cpu_ns() if group else None
    memory_bytes = group.memory_bytes() if group else None
    if (cpu_ns is None or memory_bytes is None) and pid:
        tree_ns, tree_bytes = of_tree(pid)
        cpu_ns = tree_ns if cpu_ns is None else cpu_ns
        memory_bytes = tree_bytes if memory_bytes is None else memory_bytes
    cores = min(limits.cpus or os.cpu_count() or 1, os.cpu_count() or 1)
    limit = min(limits.memory_bytes or machine_bytes(), machine_bytes())
    return Used(cpu_ns, memory_bytes, cores, limit)


def of_tree(pid: int) -> tuple[int | None, int | None]:
    """(CPU nanoseconds, resident bytes) of a process and all below it; (None, None) when it is gone."""
    ticks = pages = 0
    seen = False
    for one in (pid, *descendants(pid)):
        with suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(text) for text in fields[11:15])
            pages += int(fields[21])
            seen = True
    return (ticks * _TICK_NS, pages * _PAGE_BYTES) if seen else (None, None)


@cache
def machine_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
