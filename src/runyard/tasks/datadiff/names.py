"""Names as people write them: dotted paths, and which existing name a wish means. How names are quoted in SQL is the grammar's business.

A wish is matched exactly first, then without regard to case if only one name fits (warehouses fold case, dbt projects do not care).
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
