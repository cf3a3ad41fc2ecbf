"""Every text that the vault sealed, wherever it lies: a rule over the schema, so that a new column cannot be
forgotten. Called by transaction.py."""
# ruff: noqa: S608 - names of our own tables and columns are pasted into SQL; every value is bound

from __future__ import annotations

import re
from collections.abc import Callable

from runyard.store.link import Link

SEALED = re.compile(r"v1:[A-Za-z0-9+/]{36,}={0,2}")  # vault.py: base64 of nonce (12), text, mark (16)


def reseal(link: Link, renew: Callable[[str], str | None]) -> int:
    """Puts `renew(sealed)` in the place of every sealed text; None leaves one as it is. Answers how many were
    renewed."""
    from sqlalchemy import Text  # lazy: only this rare look needs the schema as objects

    from runyard.store.tables import metadata

    count = 0

    def again(found: re.Match[str]) -> str:
        nonlocal count
        renewed = renew(found[0])
        count += renewed is not None
        return found[0] if renewed is None else renewed

    for table in metadata.sorted_tables:
        keys = [column.name for column in table.primary_key]
        is_row, order = " AND ".join(f"{key} = ?" for key in keys), ", ".join(keys)
        for name in (c.name for c in table.columns if isinstance(c.type, Text) and c.name not in keys):
            for row in link.rows(f"SELECT {order} FROM {table.name} WHERE {name} LIKE ?", ("%v1:%",)):
                ((old,),) = link.rows(f"SELECT {name} FROM {table.name} WHERE {is_row}", row)
                new = SEALED.sub(again, old)
                if new != old:
                    link.run(f"UPDATE {table.name} SET {name} = ? WHERE {is_row}", (new, *row))
    return count
