"""Login, logout, who am I, versions, session, API credentials. A login gives a session token that ends after
an hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker import credentials
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.refusals import empty, invalid
from runyard.dialects.looker.sessions import LIFE_S, inherit
from runyard.engine.ports import Tx
from runyard.http.auth import hash_token
from runyard.model.errors import NotFound
from runyard.model.work import Token, User

RELEASE = "26.12.3"


def _user_of(tx: Tx, client_id: str, secret: str, now: int) -> User | None:
    """The user whose credentials these are: an api3 pair, or a user's name with one of their tokens."""
    token = tx.token_by_hash(hash_token(secret))
    if token is None or token.user_id is None or token.revoked_at is not None:
        return None
    if token.expires_at is not None and token.expires_at <= now:
        return None
    user = tx.get(User, token.user_id)
    if user is None:
        return None
    match token.kind:
        case "api3":
            return user if token.name == client_id else None
        case "personal":
            return user if user.username == client_id else None
    return None


def _session(tx: Tx, user: User, text: str, now: int) -> Token:
    return tx.add(
        Token(
            0,
            "session",
            hash_token(text),
            user.id,
            name="looker",
            created_at=now,
            expires_at=now + LIFE_S * 1000,
        )
    )


def _access_token(text: str) -> dict[str, Any]:
    return {"access_token": text, "token_type": "Bearer", "expires_in": LIFE_S, "refresh_token": None}


async def login(ask: Ask) -> Response:
    """POST /login: form, JSON, or query."""
    given: Mapping[str, Any] = {**ask.query, **ask.body}
    client_id, secret = str(given.get("client_id") or ""), str(given.get("client_secret") or "")
    if not client_id or not secret or len(secret) > 512:
        raise NotFound
    services, text, now = ask.services, ask.services.new_token("lk-"), ask.services.now()

    def work(tx: Tx) -> bool:
        user = _user_of(tx, client_id, secret, now)
        if user is not None:
            inherit(tx, user, _session(tx, user, text, now), now)
        return user is not None

    # Looker answers bad credentials with 404, not 401 (looker.md §2.2).
    if not await services.db.write(work):
        raise NotFound
    return ask.answer(_access_token(text))


async def login_user(ask: Ask) -> Response:
    """POST /login/{user_id}: an administrator acts as someone."""
    ask.admin()
    text, now = ask.services.new_token("lk-"), ask.services.now()
    wanted = ask.params["user_id"]

    def work(tx: Tx) -> bool:
        user = (
            tx.get(User, int(wanted)) if wanted.isascii() and wanted.isdigit() and len(wanted) < 19 else None
        )
        if user is not None:
            _session(tx, user, text, now)
        return user is not None

    if not await ask.services.db.write(work):
        raise NotFound
    return ask.answer(_access_token(text))


async def logout(ask: Ask) -> Response:
    """DELETE /logout, also without the version (the Python SDK): ends this session; a personal token is not
    ended by it."""
    token = ask.principal.token if ask.principal else None
    if token is not None and token.kind == "session":
        ended = replace(token, revoked_at=ask.services.now())
        await ask.services.db.write(lambda tx: tx.save(ended))
    return empty()


async def versions(ask: Ask) -> Response:
    """GET /versions."""
    url = ask.services.server.url
    current = {
        "version": "4.0",
        "full_version": f"4.0.{RELEASE}",
        "status": "current",
        "swagger_url": f"{url}/api/4.0/openapi.json",
    }
    return ask.answer(
        {
            "looker_release_version": RELEASE,
            "current_version": current,
            "supported_versions": [current],
            "api_server_url": url,
            "web_server_url": url,
        }
    )


def _user(user: User) -> dict[str, Any]:
    first, _, last = (user.name or user.username).partition(" ")
    return {
        "can": {"show": True},
        "id": str(user.id),
        "display_name": user.name or user.username,
        "first_name": first,
        "last_name": last,
        "email": user.email or None,
        "is_disabled": False,
        "locale": "en",
        "role_ids": ["2"] if user.is_admin else [],
    }


async def me(ask: Ask) -> Response:
    """GET /user."""
    return ask.answer(_user(ask.user))


def _workspace(workspace: str) -> dict[str, Any]:
    return {"can": {"show": True, "update": True}, "workspace_id": workspace, "sudo_user_id": None}


async def session(ask: Ask) -> Response:
    """GET /session: the workspace chosen in this session."""
    return ask.answer(_workspace((await ask.session()).workspace))


async def update_session(ask: Ask) -> Response:
    """PATCH /session."""
    ask.writer()
    wanted = ask.body.get("workspace_id")
    if wanted not in ("dev", "production"):
        raise invalid("workspace_id", "workspace_id must be dev or production.")
    await ask.change_session(lambda s: replace(s, workspace=wanted))
    return ask.answer(_workspace(wanted))


async def _owner(ask: Ask) -> User:
    """The user of the path: oneself, or anyone for an administrator."""
    wanted = ask.params["user_id"]
    if wanted != str(ask.writer().id):
        ask.admin()
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 19):
        raise NotFound
    found = await ask.services.db.read(lambda tx: tx.get(User, int(wanted)))
    if found is None:
        raise NotFound
    return found


async def get_user(ask: Ask) -> Response:
    """GET /users/{user_id}: oneself, or anyone for an administrator."""
    return ask.answer(_user(await _owner(ask)))


async def create_credentials(ask: Ask) -> Response:
    """POST /users/{user_id}/credentials_api3: a client id and secret for the SDKs; the secret is shown
    once."""
    user, now = await _owner(ask), ask.services.now()
    client_id, secret = ask.services.new_token(""), ask.services.new_token("lks-")
    token = await ask.services.db.write(lambda tx: credentials.add(tx, user, client_id, secret, now))
    return ask.answer(credentials.shape(token, secret))


async def list_credentials(ask: Ask) -> Response:
    """GET /users/{user_id}/credentials_api3."""
    user = await _owner(ask)
    found = await ask.services.db.read(lambda tx: credentials.of_user(tx, user))
    return ask.answer([credentials.shape(token) for token in found])


async def delete_credentials(ask: Ask) -> Response:
    """DELETE /users/{user_id}/credentials_api3/{credentials_id}."""
    user, wanted, now = await _owner(ask), ask.params["credentials_id"], ask.services.now()
    await ask.services.db.write(lambda tx: credentials.revoke(tx, user, wanted, now))
    return empty()


LINES = [
    Line("POST", "/login", login, public=True),
    Line("POST", "/login/{user_id}", login_user),
    Line("DELETE", "/logout", logout),
    Line("DELETE", "/api/logout", logout),
    Line("GET", "/versions", versions, public=True),
    Line("GET", "/user", me),
    Line("GET", "/session", session),
    Line("PATCH", "/session", update_session),
    Line("GET", "/users/{user_id}", get_user),
    Line("POST", "/users/{user_id}/credentials_api3", create_credentials),
    Line("GET", "/users/{user_id}/credentials_api3", list_credentials),
    Line("DELETE", "/users/{user_id}/credentials_api3/{credentials_id}", delete_credentials),
]
