"""How often each event of the world comes: profiles of histories, one of them per seed."""

from __future__ import annotations

COMMON = (
    ["submit"] * 5
    + ["bridge"] * 3
    + ["claim"] * 10
    + ["finish"] * 8
    + ["log"] * 4
    + ["beat", "step", "artifact", "foreign_token", "give_back", "vanish"]
    + ["cancel"] * 2
    + ["force_cancel", "retry", "retry", "retry_run", "play", "play", "unschedule", "erase", "vanish"]
    + ["delete_run", "extend", "seal", "clock_jumps"]
    + ["pass_time"] * 3
)
LOSSY = (
    ["submit"]
    + ["lose"] * 12
    + ["claim", "vanish", "pass_time"] * 2
    + ["finish", "cancel", "cancel", "beat", "play"]
)
CHATTY = (
    ["submit"] + ["claim"] * 3 + ["log"] * 8 + ["finish", "beat", "artifact", "foreign_token"] * 2 + ["seal"]
)
PROFILES = [COMMON, COMMON, COMMON, LOSSY, CHATTY]
