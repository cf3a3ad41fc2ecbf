"""Connections: the databases that validators query, the same rows as Datafold's data sources. Administrators
write, everyone with a token reads.

Passwords are sealed and never shown. What their fields are is in `connection_fields`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import Response

from runyard.dialects.looker.connection_fields import read, shape, text
from runyard.dialects.looker.connections import named, settings_of
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.refusals import Detail, Unprocessable, answer, empty, missing_field
from runyard.engine.ports import Tx
from runyard.model.errors import NotFound
from runyard.model.work import Connection

TEST_TIMEOUT_S = 5.0


async def _row(ask: Ask) -> Connection:
    wanted = ask.params["connection_name"]
    found = await ask.services.db.read(lambda tx: named(tx, wanted))
    if found is None:
        raise NotFound
    return found


async def create(ask: Ask) -> Response:
    """POST /connections."""
    ask.admin()
    name = text(ask.body, "name").strip()
    if not name:
        raise missing_field("name")
    dialect, settings, secrets = read(ask.body)
    now = ask.services.now()
    row = Connection(0, name, dialect, settings, _sealed(ask, secrets), now, now)

    def work(tx: Tx) -> Connection:
        if named(tx, name) is not None:
            raise Unprocessable(
                Detail("name", "already_exists", f"There is a connection named {name!r} already.")
            )
        return tx.add(row)

    return ask.answer(shape(await ask.services.db.write(work)))


def _sealed(ask: Ask, secrets: Mapping[str, str]) -> str:
    return ask.services.vault.seal(json.dumps(secrets)) if secrets else ""


async def listed(ask: Ask) -> Response:
    """GET /connections."""
    found = await ask.services.db.read(lambda tx: tx.connections())
    return ask.answer([shape(row) for row in found])


async def get(ask: Ask) -> Response:
    """GET /connections/{name}."""
    return ask.answer(shape(await _row(ask)))


async def update(ask: Ask) -> Response:
    """PATCH /connections/{name}; a password that is not given stays."""
    ask.admin()
    row = await _row(ask)
    dialect, settings, secrets = read(ask.body, row)
    kept = json.loads(ask.services.vault.open(row.sealed)) if row.sealed and dialect == row.dialect else {}
    sealed = _sealed(ask, {**kept, **secrets})
    after = replace(row, dialect=dialect, settings=settings, sealed=sealed, updated_at=ask.services.now())
    await ask.services.db.write(lambda tx: tx.save(after))
    return ask.answer(shape(after))


async def delete(ask: Ask) -> Response:
    """DELETE /connections/{name}."""
    ask.admin()
    row = await _row(ask)
    await ask.services.db.write(lambda tx: tx.remove(Connection, row.id))
    return empty()


async def test(ask: Ask) -> Response:
    """PUT /connections/{name}/test: opens it and binds one query, read-only, in a process of its own."""
    ask.admin()
    row = await _row(ask)
    settings = settings_of(row, ask.services.vault)
    answered = await ask.aside("connect", name=row.name, settings=settings, timeout_s=TEST_TIMEOUT_S)
    found = answered["problem"]
    return answer(
        [
            {
                "can": {},
                "name": "connect",
                "status": "success" if not found else "error",
                "message": found or "Can connect",
            }
        ]
    )


_ALL = "/connections"
_ONE = _ALL + "/{connection_name}"
LINES = [
    Line("POST", _ALL, create),
    Line("GET", _ALL, listed),
    Line("GET", _ONE, get),
    Line("PATCH", _ONE, update),
    Line("DELETE", _ONE, delete),
    Line("PUT", _ONE + "/test", test),
]
