"""People and their access tokens, as administrators keep them: the part of GitLab's Users API that a team of
a few needs on a running server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import TEXT_CHARS
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import answer_json, missing
from runyard.engine.ports import Tx
from runyard.http.auth import hash_token, is_live
from runyard.http.session import end
from runyard.model.errors import Conflict, Invalid, Unauthenticated
from runyard.model.work import Token, User

PERSONAL = "personal"
USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class People:
    """Handlers."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        return [
            Line("GET", "/users", Door.USER, self.find, "Find a user by name"),
            Line("POST", "/users", Door.ADMIN, self.create, "Create a user"),
            Line("GET", "/users/{id}", Door.USER, self.get, "Get a user"),
            Line(
                "POST",
                "/users/{id}/personal_access_tokens",
                Door.ADMIN,
                self.grant,
                "Create a token for a user",
            ),
            Line("GET", "/personal_access_tokens", Door.USER, self.tokens, "List access tokens"),
            Line("GET", "/personal_access_tokens/self", Door.USER, self.token, "Get the current token"),
            Line("GET", "/personal_access_tokens/{id}", Door.USER, self.token, "Get a token"),
            Line(
                "DELETE", "/personal_access_tokens/self", Door.USER, self.revoke, "Revoke the current token"
            ),
            Line("DELETE", "/personal_access_tokens/{id}", Door.USER, self.revoke, "Revoke a token"),
        ]

    async def find(self, entry: Entry) -> Response:
        """The user with exactly this `username`; without one, whoever asks."""
        name = entry.parameters.text("username")
        found = entry.who.user
        if name:
            named = await self.desk.services.db.read(lambda tx: tx.user_by_name(name))
            if named is None:
                return answer_json([])
            found = named
        return answer_json([self._shown(entry, found)])

    def _shown(self, entry: Entry, user: User) -> dict[str, Any]:
        """Administrators see the whole account, others what is public."""
        shape = shapes.me if entry.who.user.is_admin else shapes.job_user
        return shape(user, self.desk.services.server)

    async def get(self, entry: Entry) -> Response:
        """One user."""
        return answer_json(self._shown(entry, await self._user(entry)))

    async def create(self, entry: Entry) -> Response:
        """`username`, and `name`, `email` where given. There are no passwords here: grant a token next."""
        given, services = entry.parameters, self.desk.services
        username = given.required("username")
        if not USERNAME.fullmatch(username):
            raise Invalid("username may have letters, digits, '_', '-' and '.' only")
        row = User(
            0, username, given.limited("name") or username, given.limited("email") or "", created_at=services.now()
        )  # fmt: skip

        def add(tx: Tx) -> User:
            # Everyone owns the namespace of their own name, so a group of others must not fall to a newcomer.
            if tx.user_by_name(username) is not None or tx.group_by_path(username) is not None:
                raise Conflict("Username has already been taken")
            return tx.add(row)

        return answer_json(self._shown(entry, await services.db.write(add)), 201)

    async def grant(self, entry: Entry) -> Response:
        """A token that acts as the user, shown this once."""
        given, services = entry.parameters, self.desk.services
        user, text = await self._user(entry), services.new_token("glpat-")
        row = Token(
            0, PERSONAL, hash_token(text), user.id, None, given.required("name", TEXT_CHARS), ("api",), services.now(), given.time("expires_at")
        )  # fmt: skip
        stored = await services.db.write(lambda tx: tx.add(row))
        return answer_json({**_said(stored, services.now()), "token": text}, 201)

    async def tokens(self, entry: Entry) -> Response:
        """One's own, or for administrators those of `user_id`; of a `state` where one is asked for."""
        given, now = entry.parameters, self.desk.services.now()
        user_id, state = given.number("user_id") or entry.who.user.id, given.text("state")
        if user_id != entry.who.user.id and not entry.who.user.is_admin:
            raise Unauthenticated("401 Unauthorized")
        found = await self.desk.services.db.read(lambda tx: tx.tokens_of(user_id))
        shown = [_said(token, now) for token in found if token.kind == PERSONAL]
        return answer_json([one for one in shown if state is None or one["active"] is (state == "active")])

    async def token(self, entry: Entry) -> Response:
        """A token, never its text."""
        return answer_json(_said(await self._token(entry), self.desk.services.now()))

    async def revoke(self, entry: Entry) -> Response:
        """A token ends here, with what was opened with it."""
        token, now = await self._token(entry), self.desk.services.now()
        await self.desk.services.db.write(lambda tx: end(tx, token, now))
        return Response(status_code=204)

    async def _token(self, entry: Entry) -> Token:
        """The one of the address, else the one that asks. GitLab: who may not see a token is told 401, be
        it there or not."""
        if "id" not in entry.request.path_params:
            if entry.who.token is None:
                raise missing("Token")
            return entry.who.token
        number = entry.id("id", "Token")
        found = await self.desk.services.db.read(lambda tx: tx.get(Token, number))
        if found is None or found.kind != PERSONAL or found.user_id is None:
            raise missing("Token") if entry.who.user.is_admin else Unauthenticated("401 Unauthorized")
        if found.user_id != entry.who.user.id and not entry.who.user.is_admin:
            raise Unauthenticated("401 Unauthorized")
        return found

    async def _user(self, entry: Entry) -> User:
        number = entry.id("id", "User")
        found = await self.desk.services.db.read(lambda tx: tx.get(User, number))
        if found is None:
            raise missing("User")
        return found


def _said(token: Token, now: int) -> dict[str, Any]:
    """PersonalAccessToken."""
    return {
        "id": token.id, "name": token.name, "description": None, "revoked": token.revoked_at is not None,
        "created_at": shapes.when(token.created_at), "scopes": list(token.scopes), "user_id": token.user_id,
        "last_used_at": None, "active": is_live(token, now),
        "expires_at": (shapes.when(token.expires_at) or "")[:10] or None,
    }  # fmt: skip
