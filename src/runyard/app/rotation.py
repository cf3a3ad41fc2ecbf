"""A new secret key for a stopped server: what the old one sealed is opened and sealed again. Called by
`runyard rotate-key`.

It may be interrupted anywhere and done again: the new key lies in its file before the database changes, all
secrets change in one transaction, and what the new key opens is left as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from runyard.app.first_start import SEAL, kept, must_exist, prepare
from runyard.engine.ports import Tx, Vault
from runyard.model.errors import Invalid, Unavailable
from runyard.settings import Settings


def rotate(settings: Settings) -> tuple[int, Path]:
    """(how many secrets were sealed anew, the file of the new key). Invalid when the present key is not this
    database's; Conflict when a server uses the folder (SQLite)."""
    from runyard.store import open_database
    from runyard.store.vault import AesVault

    must_exist(settings)
    db, _ = open_database(settings.database, settings.data)
    try:
        place, next_place = settings.data / "secret-key", settings.data / "secret-key.new"
        present = prepare(settings).secret_key
        if kept(next_place, "rk-") == present:  # of a rotation that is over, not of one that was interrupted
            next_place.unlink()
        old, new = AesVault(present), AesVault(kept(next_place, "rk-"))
        count = db.submit_write(lambda tx: _again(tx, old, new)).result()
    finally:
        db.close()
    if settings.secret_key:
        return count, next_place
    os.replace(next_place, place)  # noqa: PTH105 - the atomic rename itself
    return count, place


def _again(tx: Tx, old: Vault, new: Vault) -> int:
    root = tx.user_by_name("root")
    seal = root.extra.get(SEAL) if root is not None else None
    if seal and _opened(old, seal) is None and _opened(new, seal) is None:
        raise Invalid(
            "This database was sealed with another secret key: put that one back first, then rotate it."
        )

    def renew(sealed: str) -> str | None:
        text = _opened(old, sealed)
        return None if text is None else new.seal(text)

    return tx.reseal(renew)


def _opened(vault: Vault, sealed: str) -> str | None:
    try:
        return vault.open(sealed)
    except Unavailable:
        return None
