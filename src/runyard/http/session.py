"""Signing in to the pages: a token becomes a session cookie. The pages ask `who(request)` on every request;
forms need a same-origin POST."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from starlette.requests import Request

from runyard.engine.ports import Tx
from runyard.http.auth import hash_token
from runyard.http.services import Principal, Services
from runyard.model.errors import Forbidden
from runyard.model.work import Token

COOKIE, SESSION = "runyard_session", "web"
SESSION_S = 14 * 86400


async def who(services: Services, request: Request) -> Principal | None:
    """The signed-in person, or None. Job tokens open no pages."""
    text = request.cookies.get(COOKIE, "")
    found = await services.principal(text) if text else None
    return found if found and not found.is_job and found.token and found.token.kind == "session" else None


async def sign_in(services: Services, token: str) -> str | None:
    """A fresh session for a personal token's owner, which lives no longer than the token; None when that is
    not valid. Sessions give no sessions: they would never end."""
    owner = await services.principal(token.strip())
    if owner is None or owner.token is None or owner.token.kind != "personal":
        return None
    text, now = services.new_token("rys-"), services.now()
    ends = now + SESSION_S * 1000
    row = Token(
        id=0,
        kind="session",
        hash=hash_token(text),
        user_id=owner.user.id,
        name=SESSION,
        created_at=now,
        expires_at=min(ends, owner.token.expires_at or ends),
    )
    await services.db.write(lambda tx: tx.add(row))
    return text


def end(tx: Tx, token: Token, now: int) -> None:
    """Ends a token. Whoever had a personal one may have signed in with it, so its user's sessions end too."""
    also = [
        t
        for t in tx.tokens_of(token.user_id or 0)
        if token.kind == "personal" and t.kind == "session" and t.name == SESSION
    ]
    for row in (token, *also):
        if row.revoked_at is None:
            tx.save(replace(row, revoked_at=now))


async def sign_out(services: Services, request: Request) -> None:
    """Ends this session."""
    text, now = request.cookies.get(COOKIE, ""), services.now()

    def revoke(tx: Tx) -> None:
        token = tx.token_by_hash(hash_token(text))
        if token is not None and token.kind == "session":
            tx.save(replace(token, revoked_at=now))

    await services.db.write(revoke)


def same_origin(request: Request) -> None:
    """Refuses a form that another site sent. Browsers set Origin (or Sec-Fetch-Site) on every cross-site
    POST."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")
    if site not in (None, "same-origin", "none") or foreign:
        raise Forbidden("This form came from another site.")
