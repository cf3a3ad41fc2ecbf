"""Members of projects and groups: who sees what, and who may do what. GitLab's Members API; levels are
`model.access.Role`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import BadParameter, answer_json, missing
from runyard.dialects.gitlab.routes_groups import named
from runyard.engine.ports import Page, Tx
from runyard.model.access import Role, lineage
from runyard.model.errors import Conflict, Forbidden
from runyard.model.work import Member, User

MOST = Page(limit=10_000, descending=False)
LEVELS = frozenset(int(role) for role in Role if role is not Role.NONE)
Pair = tuple[Member, User]


@dataclass(frozen=True, slots=True)
class Members:
    """Handlers."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        found = []
        for owner in ("/projects/{id}", "/groups/{group_id}"):
            path, change = f"{owner}/members", Role.MAINTAINER
            found += [
                Line("GET", path, Door.USER, self.list, "List members", role=Role.GUEST),
                Line(
                    "GET", f"{path}/all", Door.USER, self.all, "List members, inherited ones too",
                    role=Role.GUEST,
                ),
                Line(
                    "GET", f"{path}/all/{{user_id}}", Door.USER, self.any_one,
                    "Get a member, an inherited one too", role=Role.GUEST,
                ),
                Line("POST", path, Door.USER, self.add, "Add a member", role=change),
                Line("GET", f"{path}/{{user_id}}", Door.USER, self.one, "Get a member", role=Role.GUEST),
                Line("PUT", f"{path}/{{user_id}}", Door.USER, self.change, "Change a member", role=change),
                Line(
                    "DELETE", f"{path}/{{user_id}}", Door.USER, self.remove, "Remove a member",
                    role=Role.GUEST,
                ),
            ]  # fmt: skip
        return found

    async def list(self, entry: Entry) -> Response:
        """Of this project or group itself; `query` and `user_ids[]` narrow."""
        rows = await self.desk.services.db.read(lambda tx: _own(tx, entry, _owner(tx, entry)))
        return self._page(entry, rows)

    async def all(self, entry: Entry) -> Response:
        """With those of the groups above; of each person the highest level."""
        rows = await self.desk.services.db.read(lambda tx: _inherited(tx, entry))
        return self._page(entry, rows)

    async def one(self, entry: Entry) -> Response:
        """One, by the user's id."""
        rows = await self.desk.services.db.read(lambda tx: _own(tx, entry, _owner(tx, entry)))
        return self._single(entry, rows)

    async def any_one(self, entry: Entry) -> Response:
        """The same among the inherited."""
        return self._single(entry, await self.desk.services.db.read(lambda tx: _inherited(tx, entry)))

    async def add(self, entry: Entry) -> Response:
        """`user_id` or `username`, `access_level`, `expires_at`. Nobody gives more than they have."""
        given, now = entry.parameters, self.desk.services.now()
        level, expires = _level(entry), _expiry(entry)
        user_id, username = given.number("user_id"), given.text("username")
        if user_id is None and not username:
            raise BadParameter("user_id, username are missing, exactly one parameter must be provided")

        def save(tx: Tx) -> Pair:
            owner = _owner(tx, entry, Role.MAINTAINER)
            _may_give(entry, owner.path, level)
            user = tx.get(User, user_id) if user_id is not None else tx.user_by_name(username or "")
            if user is None:
                raise missing("User")
            if tx.find(Member, Page(limit=1), user_id=user.id, **owner.columns):
                raise Conflict("Member already exists")
            row = Member(
                0, user.id, level, created_at=now, created_by=entry.who.user.id, expires_at=expires,
                **owner.columns,
            )  # fmt: skip
            return tx.add(row), user

        return answer_json(self._shape(await self.desk.services.db.write(save)), 201)

    async def change(self, entry: Entry) -> Response:
        """Level and expiry."""
        level, expires = _level(entry), _expiry(entry)

        def save(tx: Tx) -> Pair:
            owner = _owner(tx, entry, Role.MAINTAINER)
            row, user = _one_of(_own(tx, entry, owner), entry)
            _may_give(entry, owner.path, max(level, row.level))
            _keep_an_owner(tx, owner, row, level)
            keep = row.expires_at if entry.parameters.text("expires_at") is None else expires
            fresh = replace(row, level=level, expires_at=keep)
            tx.save(fresh)
            return fresh, user

        return answer_json(self._shape(await self.desk.services.db.write(save)))

    async def remove(self, entry: Entry) -> Response:
        """By a maintainer, or by the member itself (leaving)."""

        def delete(tx: Tx) -> None:
            leaving = entry.part("user_id") == str(entry.who.user.id)
            owner = _owner(tx, entry, Role.GUEST if leaving else Role.MAINTAINER)
            row, _ = _one_of(_own(tx, entry, owner), entry)
            entry.check_unmodified(row.created_at)
            if not leaving:
                _may_give(entry, owner.path, row.level)
            _keep_an_owner(tx, owner, row, 0)
            tx.remove(Member, row.id)

        await self.desk.services.db.write(delete)
        return Response(status_code=204)

    def _single(self, entry: Entry, rows: Sequence[Pair]) -> Response:
        return answer_json(self._shape(_one_of(rows, entry)))

    def _page(self, entry: Entry, rows: Sequence[Pair]) -> Response:
        query = (entry.parameters.text("query") or "").lower()
        wanted = set(entry.parameters.texts("user_ids"))
        kept = [
            pair
            for pair in rows
            if (query in pair[1].username.lower() or query in pair[1].name.lower())
            and (not wanted or str(pair[1].id) in wanted)
        ]
        return self.desk.sliced(entry, kept, self._shape)

    def _shape(self, pair: Pair) -> dict[str, Any]:
        row, user = pair
        expires = shapes.when(row.expires_at)
        return {
            **shapes.user(user, self.desk.services.server),
            "access_level": row.level,
            "created_at": shapes.when(row.created_at),
            "expires_at": expires[:10] if expires else None,
            "membership_state": "active",
        }


@dataclass(frozen=True, slots=True)
class _Owner:
    """What has members: columns to find them by, the path whose groups count above it."""

    columns: dict[str, int | None]
    path: str
    above: str


def _owner(tx: Tx, entry: Entry, least: Role = Role.GUEST) -> _Owner:
    if entry.project.id:
        if (entry.who.role_in(entry.project) or Role.NONE) < least:
            raise Forbidden
        path = entry.project.path
        return _Owner({"project_id": entry.project.id, "group_id": None}, path, path.rpartition("/")[0])
    row = named(tx, entry, least)
    return _Owner({"project_id": None, "group_id": row.id}, row.path, row.path.rpartition("/")[0])


def _own(tx: Tx, entry: Entry, owner: _Owner) -> list[Pair]:
    return _people(tx, tx.find(Member, MOST, **owner.columns))


def _inherited(tx: Tx, entry: Entry) -> list[Pair]:
    owner = _owner(tx, entry)
    rows = tx.find(Member, MOST, **owner.columns)
    for path in lineage(owner.above):
        group = tx.group_by_path(path)
        rows += tx.find(Member, MOST, group_id=group.id) if group else []
    best: dict[int, Member] = {}
    for row in rows:
        if row.user_id not in best or row.level > best[row.user_id].level:
            best[row.user_id] = row
    return _people(tx, sorted(best.values(), key=lambda row: row.id))


def _people(tx: Tx, rows: Sequence[Member]) -> list[Pair]:
    pairs = ((row, tx.get(User, row.user_id)) for row in rows)
    return [(row, user) for row, user in pairs if user is not None]


def _one_of(rows: Sequence[Pair], entry: Entry) -> Pair:
    wanted = entry.id("user_id", "Member")
    found = next((pair for pair in rows if pair[1].id == wanted), None)
    if found is None:
        raise missing("Member")
    return found


def _may_give(entry: Entry, path: str, level: int) -> None:
    """Nobody makes, changes or removes somebody higher than themselves."""
    own = entry.who.role_in(entry.project) if entry.project.id else entry.who.rights.role_under(path)
    if level > (own or Role.NONE):
        raise Forbidden


def _keep_an_owner(tx: Tx, owner: _Owner, row: Member, level: int) -> None:
    """The last owner of an outermost group stays: a group that nobody owns could not be given away."""
    group_id = owner.columns["group_id"]
    if group_id is None or owner.above or row.level < Role.OWNER or level >= Role.OWNER:
        return
    if sum(m.level >= Role.OWNER for m in tx.find(Member, MOST, group_id=group_id)) < 2:
        raise Forbidden("The last owner of a group cannot leave it")


def _level(entry: Entry) -> int:
    level = entry.parameters.number("access_level")
    if level is None:
        raise BadParameter("access_level is missing")
    if level not in LEVELS:
        raise BadParameter("access_level does not have a valid value")
    return level


def _expiry(entry: Entry) -> int | None:
    """A day, whose beginning (UTC) is the end of the membership."""
    text = entry.parameters.text("expires_at")
    if not text:
        return None
    try:
        return int(datetime.fromisoformat(text[:10]).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise BadParameter("expires_at is invalid") from None
