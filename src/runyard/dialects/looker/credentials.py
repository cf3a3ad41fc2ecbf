"""API credentials of a user: client ids with secrets, which Looker calls `api3`. Kept as tokens of that kind;
only the secret's hash is stored.

Made by the command line (`runyard token NAME --api3`), the page `/-/looker/credentials`, and POST
/users/{id}/credentials_api3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runyard.engine.ports import Tx
from runyard.http.auth import hash_token
from runyard.model.errors import NotFound
from runyard.model.work import Token, User

KIND = "api3"


def of_user(tx: Tx, user: User) -> list[Token]:
    """Those that are not ended, oldest first."""
    return [t for t in tx.tokens_of(user.id) if t.kind == KIND and t.revoked_at is None]


def add(tx: Tx, user: User, client_id: str, secret: str, now: int) -> Token:
    """A fresh pair."""
    return tx.add(Token(0, KIND, hash_token(secret), user.id, name=client_id, created_at=now))


def revoke(tx: Tx, user: User, id: str, now: int) -> None:
    """Ends one of the user's; NotFound when it is none."""
    found = next((t for t in of_user(tx, user) if str(t.id) == id), None)
    if found is None:
        raise NotFound
    tx.save(replace(found, revoked_at=now))


def shape(token: Token, secret: str = "") -> dict[str, Any]:
    """CredentialsApi3; the secret only when it has just been made."""
    shown = {"client_secret": secret} if secret else {}
    return {
        "can": {"show": True, "destroy": True},
        "id": str(token.id),
        "client_id": token.name,
        **shown,
        "is_disabled": token.revoked_at is not None,
        "type": KIND,
    }
