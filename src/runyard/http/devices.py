"""Signing in from a program: it asks, a person approves on the page, it gets a token of its own (as RFC
8628's device flow). Used by dialects and web.

A wish is a Record (`login.wish`) under the hash of its id; whoever holds the id may take the token once, so
ids are as random as tokens. The token's text is made when it is taken and stored nowhere.
"""

from __future__ import annotations

from dataclasses import replace

from runyard.engine.ports import Page, Tx
from runyard.http.auth import hash_token
from runyard.model.errors import Busy, NotFound
from runyard.model.work import Record, Token

WISH = "login.wish"
LIFE_MS = 10 * 60 * 1000
MOST = 200  # anyone may ask, so the number is bounded
_ALL = Page(limit=MOST + 1, descending=False)


def topic(id: str) -> str:
    """Rings when a wish was answered."""
    return f"login:{hash_token(id)[:16]}"


def ask(tx: Tx, id: str, program: str, now: int) -> None:
    """Notes a wish. Busy when too many wait."""
    waiting = tx.records(WISH, None, None, _ALL)
    for old in waiting:
        if old.created_at + LIFE_MS < now:
            tx.remove(Record, old.id)
    if sum(old.created_at + LIFE_MS >= now for old in waiting) >= MOST:
        raise Busy(
            "Too many programs are waiting to be let in; try again in a few minutes.", retry_after_s=60
        )
    tx.add(Record(0, WISH, None, hash_token(id), {"program": program}, now, now))


def wish(tx: Tx, id: str, now: int) -> Record:
    """A wish that still stands; NotFound otherwise."""
    found = tx.records(WISH, None, hash_token(id), Page(limit=1))
    if not found or found[0].created_at + LIFE_MS < now:
        raise NotFound(
            "This sign-in is not known here, was answered already, or is older than ten minutes. Start it again."
        )
    return found[0]


def answer(tx: Tx, id: str, user_id: int, now: int, *, yes: bool) -> None:
    """A person's word. No means the wish is gone."""
    found = wish(tx, id, now)
    if yes:
        tx.save(replace(found, data={**found.data, "user_id": user_id}, updated_at=now))
    else:
        tx.remove(Record, found.id)
    tx.ring(topic(id))


def take(tx: Tx, id: str, token: str, now: int) -> bool:
    """Makes `token` a personal token of who approved; False while nobody has. A wish can be taken once."""
    found = wish(tx, id, now)
    user_id = found.data.get("user_id")
    if user_id is None:
        return False
    tx.add(
        Token(
            0, "personal", hash_token(token), user_id=user_id, name=str(found.data["program"]), created_at=now
        )
    )
    tx.remove(Record, found.id)
    return True
