"""Names as people write them: dotted paths, and which existing name a wish means. How names are quoted in SQL
is the grammar's business.

A wish is matched exactly first, then without regard to case if only one name fits (warehouses fold case, dbt
projects do not care).
"""

from __future__ import annotations

from collections.abc import Iterable

from runyard.tasks.datadiff.faults import CouldNot, Fault


def path_of(dotted: str) -> tuple[str, ...]:
    """The parts of `db.schema.table`; double quotes protect dots. At most three parts, none empty."""
    parts, part, inside, position = [], "", False, 0
    while position < len(dotted):
        char = dotted[position]
        if char == '"' and inside and dotted[position + 1 : position + 2] == '"':
            part, position = part + '"', position + 1
        elif char == '"':
            inside = not inside
        elif char == "." and not inside:
            parts.append(part)
            part = ""
        else:
            part += char
        position += 1
    parts.append(part)
    if inside or len(parts) > 3 or not all(parts):
        raise CouldNot(Fault.NO_TABLE, f"{dotted!r} is not a table path like schema.table.")
    return tuple(parts)


def match(wish: str, names: Iterable[str]) -> str | None:
    """The name meant by a wish, or None."""
    names = list(names)
    if wish in names:
        return wish
    folded = [name for name in names if name.casefold() == wish.casefold()]
    return folded[0] if len(folded) == 1 else None


def instead(wish: str, names: Iterable[str]) -> str:
    """The end of a message about a name that is not there: near ones that are, else some of those that
    are."""
    from difflib import get_close_matches  # only a mistake needs it

    by_folded = {name.casefold(): name for name in names}
    if near := get_close_matches(wish.casefold(), by_folded, n=3):
        return f" Did you mean {' or '.join(by_folded[n] for n in near)}?"
    some = sorted(by_folded.values())[:8]
    return (
        f" Available: {', '.join(some)}{' and more' if len(by_folded) > len(some) else ''}." if some else ""
    )
