"""Variables of a project and of the instance. Values are sealed at rest; only users see them. contracts/gitlab.md §1.3."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab.asking import Parameters, window_of
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import FieldErrors, answer_json, missing
from runyard.engine.ports import Tx
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
        for path, door in (("/projects/{id}/variables", Door.USER), ("/admin/ci/variables", Door.ADMIN)):
            one = f"{path}/{{key}}"
            found += [
                Line("GET", path, door, self.list, "List variables"),
                Line("POST", path, door, self.create, "Create a variable"),
                Line("GET", one, door, self.one, "Get a variable"),
                Line("PUT", one, door, self.change, "Change a variable"),
                Line("DELETE", one, door, self.delete, "Delete a variable"),
            ]
        return found

    async def list(self, entry: Entry) -> Response:
        """In the order they were made."""
        window = window_of(entry.parameters)
        rows = await self.desk.services.db.read(lambda tx: _own(tx, entry))
        start = (window.page - 1) * window.per_page
        shown = [self._shape(row) for row in rows[start : start + window.per_page]]
        return self.desk.listed(entry, window, shown, 0, len(rows) > start + window.per_page, len(rows))

    async def one(self, entry: Entry) -> Response:
        """One by key and environment scope."""
        return answer_json(self._shape(await self.desk.services.db.read(lambda tx: _find(tx, entry))))

    async def create(self, entry: Entry) -> Response:
        """A key once per environment scope."""
        key = entry.parameters.required("key")
        if not _KEY.fullmatch(key):
            raise FieldErrors("key", ["can contain only letters, digits and '_'."])
        row = self._changed(SecretVariable(0, key, "", entry.project.id or None), entry.parameters)
        if entry.parameters.text("value") is None:
            row = replace(row, value=self.desk.services.vault.seal(""))

        def add(tx: Tx) -> SecretVariable:
            rows = _own(tx, entry)
            if any(r.key == key and r.environment_scope == row.environment_scope for r in rows):
                raise FieldErrors("key", [f"({key}) has already been taken"])
            if len(rows) >= MOST:
                raise FieldErrors("base", [f"Maximum number of ci variables ({MOST}) exceeded"])
            return tx.add(row)

        return answer_json(self._shape(await self.desk.services.db.write(add)), 201)

    async def change(self, entry: Entry) -> Response:
        """What is given."""

        def save(tx: Tx) -> SecretVariable:
            row = self._changed(_find(tx, entry), entry.parameters)
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
        if masked and value is not None and not _MASKABLE.fullmatch(value):
            raise FieldErrors("value", ["is invalid"])
        is_raw, is_protected = given.flag("raw"), given.flag("protected")
        kind = given.choice("variable_type", TYPES, "file" if row.file else "env_var")
        description = given.text("description")
        extra = {**row.extra, **({"hidden": True} if hidden else {})}
        return replace(
            row,
            value=self.desk.services.vault.seal(value) if value is not None else row.value,
            masked=masked,
            protected=row.protected if is_protected is None else is_protected,
            raw=row.raw if is_raw is None else is_raw,
            file=kind == "file",
            environment_scope=given.text("environment_scope") or row.environment_scope,
            extra=extra if description is None else {**extra, "description": description[:255]},
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


def _own(tx: Tx, entry: Entry) -> list[SecretVariable]:
    owner = entry.project.id or None
    return [row for row in tx.secret_variables(owner) if row.project_id == owner and row.kind == "variable"]


def _find(tx: Tx, entry: Entry) -> SecretVariable:
    key, wanted = entry.part("key"), entry.parameters.values.get("filter")
    scope = wanted.get("environment_scope") if isinstance(wanted, dict) else None
    for row in _own(tx, entry):
        if row.key == key and scope in (None, row.environment_scope):
            return row
    raise missing("Variable")
