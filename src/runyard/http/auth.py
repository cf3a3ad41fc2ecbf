"""Tokens: how they look, how they are stored, whom they name. Every door uses this; only the header that
carries the token differs.

Job tokens are `glcbt-<attempt id>-<random>`, so that they are found by primary key and live exactly as long
as the attempt's lease.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable

from runyard.engine.access import standing
from runyard.engine.ports import Clock, Database, Tx
from runyard.http.recall import Recall
from runyard.http.services import Principal
from runyard.model.state import LEASED
from runyard.model.work import Attempt, Job, Project, Run, Token, User

JOB_PREFIX = "glcbt-"
LOGIN_KINDS = frozenset({"personal", "session"})


def hash_token(text: str) -> str:
    """What the store keeps of a token. Tokens carry 160 random bits, so a plain digest is enough (no
    dictionary to try)."""
    return hashlib.sha256(text.encode()).hexdigest()


def new_token(prefix: str) -> str:
    """A fresh token; the alphabet needs no escaping in URLs, headers or shells."""
    return f"{prefix}{secrets.token_urlsafe(20).replace('-', 'x').replace('_', 'y')}"


def job_token(attempt_id: int) -> str:
    """A fresh job token for an attempt about to be claimed."""
    return new_token(f"{JOB_PREFIX}{attempt_id}-")


def attempt_of(tx: Tx, text: str) -> Attempt | None:
    """The leased attempt that this job token belongs to."""
    attempt = _attempt_named(tx, text)
    return attempt if attempt is not None and attempt.state in LEASED else None


def ended_attempt_of(tx: Tx, text: str) -> Attempt | None:
    """The attempt whose dead token this is: it opens nothing, but its runner may hear how the job ended."""
    attempt = _attempt_named(tx, text)
    return attempt if attempt is not None and attempt.state not in LEASED else None


def _attempt_named(tx: Tx, text: str) -> Attempt | None:
    number = text.removeprefix(JOB_PREFIX).split("-", 1)[0]
    if not (text.startswith(JOB_PREFIX) and number.isascii() and number.isdigit() and len(number) < 19):
        return None
    attempt = tx.get(Attempt, int(number))
    if attempt is None or not attempt.token_hash:
        return None
    return attempt if hmac.compare_digest(attempt.token_hash, hash_token(text)) else None


def principal_in(tx: Tx, text: str, now: int) -> Principal | None:
    """Who this token names, or None. A job acts as the user who caused it."""
    if text.startswith(JOB_PREFIX):
        attempt = attempt_of(tx, text)
        return None if attempt is None else _job(tx, attempt, now)
    token = tx.token_by_hash(hash_token(text))
    if token is None or token.kind not in LOGIN_KINDS or not is_live(token, now) or token.user_id is None:
        return None
    user = tx.get(User, token.user_id)
    return None if user is None else Principal(user, token=token, standing=standing(tx, user, now))


def _job(tx: Tx, attempt: Attempt, now: int) -> Principal:
    user, home = _actor(tx, attempt), tx.get(Project, attempt.project_id)
    job = tx.get(Job, attempt.job_id)
    path, plan = home.path if home else "", job.plan if job else None
    return Principal(
        user,
        attempt=attempt,
        standing=standing(tx, user, now),
        home=path,
        reads=plan is None or plan.reads_project,
        pushes=plan is not None and plan.pushes_code,
        steers=plan is not None and plan.steers_runs,
    )


def is_live(token: Token, now: int) -> bool:
    """Neither revoked nor expired."""
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now)


def _actor(tx: Tx, attempt: Attempt) -> User:
    run = tx.get(Run, attempt.run_id)
    actor_id = attempt.actor_id or (run.actor_id if run else None)
    return (tx.get(User, actor_id) if actor_id else None) or User(0, "nobody")


def resolver(db: Database, now: Clock) -> Callable[[str], Awaitable[Principal | None]]:
    """Services.principal: token text → who. Read once per token while nothing is written."""
    recall = Recall()

    async def principal(text: str) -> Principal | None:
        if not text or len(text) > 512:
            return None
        at = now()
        moment = recall.moment(db.version(), at)

        def look(tx: Tx) -> Principal | None:
            return moment.of(text, lambda: principal_in(tx, text, at))

        who = await db.glance(look)
        return who if who is None or who.token is None or is_live(who.token, at) else None

    return principal


def basic(header: str) -> tuple[str, str] | None:
    """(user, password) of an HTTP Basic header."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def scheme_token(header: str, *schemes: str) -> str:
    """The token after one of the schemes (any case), or an empty string."""
    scheme, _, rest = header.strip().partition(" ")
    return rest.strip() if scheme.lower() in schemes else ""


def signer(secret: bytes) -> Callable[[str, int], str]:
    """Services.sign: an HMAC over text and expiry, for links that carry no header."""

    def sign(text: str, expires_at: int) -> str:
        return hmac.new(secret, f"{expires_at}\n{text}".encode(), hashlib.sha256).hexdigest()

    return sign
