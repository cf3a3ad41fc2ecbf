"""Variables of a project, of a group and of the instance. Values are sealed at rest; only users see them.
contracts/gitlab.md §1.3."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab.asking import Parameters
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors, answer_json, missing
from runyard.dialects.gitlab.routes_groups import named
from runyard.engine.ports import Page, Tx
from runyard.model.access import Role
from runyard.model.errors import Conflict
from runyard.model.work import SecretVariable

_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")
# GitLab's rule for what can be masked: one line, 8 characters or more, no spaces.
_MASKABLE = re.compile(r"[^\s]{8,}")
TYPES = frozenset({"env_var", "file"})
MOST = 1000
VALUE_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Variables:
    """Handlers. The instance's variables are the administrator's."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        found = []
        owners = (
            ("/projects/{id}/variables", Door.USER),
            ("/groups/{group_id}/variables", Door.USER),
            ("/admin/ci/variables", Door.ADMIN),
        )
        for path, door in owners:
            one, role = f"{path}/{{key}}", Role.MAINTAINER
            found += [
                Line("GET", path, door, self.list, "List variables", role=role),
                Line("POST", path, door, self.create, "Create a variable", role=role),
                Line("GET", one, door, self.one, "Get a variable", role=role),
                Line("PUT", one, door, self.change, "Change a variable", role=role),
                Line("DELETE", one, door, self.delete, "Delete a variable", role=role),
            ]
        return found

    async def list(self, entry: Entry) -> Response:
        """In the order they were made."""
        rows = await self.desk.services.db.read(lambda tx: _own(tx, entry, _group(tx, entry)))
        return self.desk.sliced(entry, rows, self._shape)

    async def one(self, entry: Entry) -> Response:
        """One by key and environment scope."""
        return answer_json(self._shape(await self.desk.services.db.read(lambda tx: _find(tx, entry))))

    async def create(self, entry: Entry) -> Response:
        """A key once per environment scope."""
        key = entry.parameters.required("key")
        if not _KEY.fullmatch(key):
            raise FieldErrors("key", ["can contain only letters, digits and '_'."])
        if entry.parameters.text("value") is None:
            raise BadParameter("value is missing")
        row = self._changed(SecretVariable(0, key, "", entry.project.id or None), entry.parameters)

        def add(tx: Tx) -> SecretVariable:
            group_id = _group(tx, entry)
            rows = _own(tx, entry, group_id)
            _check_free(rows, row)
            if len(rows) >= MOST:
                raise FieldErrors("base", [f"Maximum number of ci variables ({MOST}) exceeded"])
            return tx.add(replace(row, group_id=group_id))

        return answer_json(self._shape(await self.desk.services.db.write(add)), 201)

    async def change(self, entry: Entry) -> Response:
        """What is given."""

        def save(tx: Tx) -> SecretVariable:
            row = self._changed(_find(tx, entry), entry.parameters)
            _check_free(_own(tx, entry, row.group_id), row)
            tx.save(row)
            return row

        return answer_json(self._shape(await self.desk.services.db.write(save)))

    async def delete(self, entry: Entry) -> Response:
        """Gone at once; runs that were handed out keep what they have."""
        await self.desk.services.db.write(lambda tx: tx.remove(SecretVariable, _find(tx, entry).id))
        return Response(status_code=204)

    def _changed(self, row: SecretVariable, given: Parameters) -> SecretVariable:
        value = given.text("value")
        if value is not None and len(value.encode("utf-8", "surrogatepass")) > VALUE_BYTES:
            raise FieldErrors("value", [f"is too long (maximum is {VALUE_BYTES} characters)"])
        hidden = bool(row.extra.get("hidden")) or given.flag("masked_and_hidden") or False
        masked = hidden or given.flag("masked")
        masked = row.masked if masked is None else masked
        vault = self.desk.services.vault
        if masked and not _MASKABLE.fullmatch(vault.open(row.value) if value is None else value):
            raise FieldErrors("value", ["is invalid"])
        is_raw, is_protected = given.flag("raw"), given.flag("protected")
        kind = given.choice("variable_type", TYPES, "file" if row.file else "env_var")
        description = given.limited("description")
        extra = {**row.extra, **({"hidden": True} if hidden else {})}
        return replace(
            row,
            value=row.value if value is None else vault.seal(value),
            masked=masked,
            protected=row.protected if is_protected is None else is_protected,
            raw=row.raw if is_raw is None else is_raw,
            file=kind == "file",
            environment_scope=given.limited("environment_scope") or row.environment_scope,
            extra=extra if description is None else {**extra, "description": description},
        )

    def _shape(self, row: SecretVariable) -> dict[str, Any]:
        return {
            "variable_type": "file" if row.file else "env_var",
            "key": row.key,
            "value": None if row.extra.get("hidden") else self.desk.services.vault.open(row.value),
            "protected": row.protected,
            "masked": row.masked,
            "hidden": bool(row.extra.get("hidden")),
            "raw": row.raw,
            "environment_scope": row.environment_scope,
            "description": row.extra.get("description"),
        }


def _group(tx: Tx, entry: Entry) -> int | None:
    """The id of the path's group; its variables are its owners' (GitLab: a group's CI settings)."""
    return named(tx, entry, Role.OWNER).id if "group_id" in entry.request.path_params else None


def _own(tx: Tx, entry: Entry, group_id: int | None) -> list[SecretVariable]:
    owner = {"project_id": entry.project.id or None, "group_id": group_id}
    rows = tx.find(SecretVariable, Page(limit=2 * MOST, descending=False), **owner)
    return [row for row in rows if row.kind == "variable"]


def _check_free(rows: list[SecretVariable], row: SecretVariable) -> None:
    """A key stands once per environment scope."""
    others = (other for other in rows if other.id != row.id and other.key == row.key)
    if any(other.environment_scope == row.environment_scope for other in others):
        raise FieldErrors("key", [f"({row.key}) has already been taken"])


def _find(tx: Tx, entry: Entry) -> SecretVariable:
    key, wanted = entry.part("key"), entry.parameters.values.get("filter")
    scope = wanted.get("environment_scope") if isinstance(wanted, dict) else None
    found = [
        row
        for row in _own(tx, entry, _group(tx, entry))
        if row.key == key and scope in (None, row.environment_scope)
    ]
    if len(found) > 1:
        raise Conflict(
            "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'"
        )
    if not found:
        raise missing("Variable")
    return found[0]
