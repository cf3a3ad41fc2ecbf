"""What the vault sealed is found wherever it lies, and only that."""

from __future__ import annotations

from typing import Any

from runyard.model.errors import Unavailable
from runyard.model.work import Connection, Record, SecretVariable, User
from runyard.store.vault import AesVault

OLD, NEW = AesVault("old"), AesVault("new")


def renew(sealed: str) -> str | None:
    try:
        return NEW.seal(OLD.open(sealed))
    except Unavailable:
        return None


def test_columns_and_json_are_sealed_anew_and_the_rest_stays(store: Any) -> None:
    looks_alike = AesVault("a stranger's").seal("x" * 99)
    with store.begin() as tx:
        variable = tx.add(SecretVariable(0, "PASSWORD", OLD.seal("one"), masked=True))
        connection = tx.add(Connection(0, "shop", "postgres", {"host": "h"}, OLD.seal('{"password": "two"}')))
        user = tx.add(
            User(0, "ann", f"v1: {looks_alike}", created_at=1, extra={"deep": {"seal": OLD.seal("three")}})
        )
        row = tx.add(Record(0, "a.note", data={"both": f"{OLD.seal('four')} {OLD.seal('')}"}))
    with store.begin() as tx:
        assert tx.reseal(renew) == 5
    with store.begin() as tx:
        assert NEW.open(tx.get(SecretVariable, variable.id).value) == "one"
        assert NEW.open(tx.get(Connection, connection.id).sealed) == '{"password": "two"}'
        kept = tx.get(User, user.id)
        assert (kept.name, NEW.open(kept.extra["deep"]["seal"])) == (user.name, "three")
        both = tx.get(Record, row.id).data["both"].split(" ")
        assert [NEW.open(text) for text in both] == ["four", ""]
        assert tx.reseal(renew) == 0
