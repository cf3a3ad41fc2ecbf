"""Numbers and times as people read them; the filters of the templates. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def ago(then: int | None, now: int) -> str:
    """`3 min ago`."""
    if then is None:
        return ""
    seconds = max(0, now - then) // 1000
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 5 else f"{seconds} s ago"


def lasted(start: int | None, end: int | None, now: int) -> str:
    """`1 min 04 s`; of something still running, so far."""
    if start is None:
        return ""
    total = max(0, (end if end is not None else now) - start) / 1000
    if total < 10:
        return f"{total:.1f} s"
    minutes, seconds = divmod(int(total), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def size(value: int) -> str:
    """`1.4 MB`."""
    amount = float(value)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{int(amount)} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def exact(at: int | None) -> str:
    """ISO time, for `datetime` attributes and titles."""
    return "" if at is None else datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")
