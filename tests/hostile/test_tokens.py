"""Tokens end when they are told to: a changed root token, a user whose tokens are revoked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.app.first_start import ensure_root, key_notes, make_token, prepare, revoke_tokens
from runyard.engine.ports import Database
from runyard.http.auth import hash_token, principal_in
from runyard.model.errors import NotFound
from runyard.model.work import Token
from runyard.settings import Settings
from runyard.store import open_database
from runyard.store.vault import AesVault


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened, _ = open_database("", tmp_path)
    yield opened
    opened.close()


def names_root(db: Database, text: str) -> bool:
    return db.submit_read(lambda tx: principal_in(tx, text, 10)).result() is not None


def test_a_changed_root_token_ends_the_earlier_one_and_its_sessions(db: Database) -> None:
    root = db.submit_write(lambda tx: ensure_root(tx, "first", 1)).result()
    for text, kind, name in (("rys-old", "session", "web"), ("glpat-kept", "personal", "of a script")):
        row = Token(0, kind, hash_token(text), root.id, name=name)
        db.submit_write(lambda tx, row=row: tx.add(row)).result()
    db.submit_write(lambda tx: ensure_root(tx, "first", 2)).result()
    assert all(names_root(db, text) for text in ("first", "rys-old", "glpat-kept"))
    db.submit_write(lambda tx: ensure_root(tx, "second", 3)).result()
    assert [names_root(db, t) for t in ("first", "second", "rys-old", "glpat-kept")] == [
        False,
        True,
        False,
        True,
    ]
    db.submit_write(lambda tx: ensure_root(tx, "first", 4)).result()
    assert [names_root(db, t) for t in ("first", "second")] == [True, False]


def test_a_start_with_another_secret_key_says_so_until_the_old_one_is_back(db: Database) -> None:
    db.submit_write(lambda tx: ensure_root(tx, "first", 1)).result()

    def told(key: str) -> list[str]:
        return db.submit_write(lambda tx: key_notes(tx, AesVault(key))).result()

    assert told("ours") == []
    assert told("ours") == []
    (note,) = told("another")
    assert "Put the old DATA/secret-key back" in note
    assert told("another") == [note]
    assert told("ours") == []


def test_all_tokens_of_a_user_can_be_ended(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, root_token="glpat-root")
    with pytest.raises(NotFound, match="no server's data folder"):
        make_token(settings, "ada", "test", 0)
    prepare(settings)
    ada, eve = (make_token(settings, name, "test", 0) for name in ("ada", "eve"))
    assert revoke_tokens(settings, "eve") == 1
    assert revoke_tokens(settings, "eve") == 0
    with pytest.raises(NotFound):
        revoke_tokens(settings, "nobody")
    opened, _ = open_database("", tmp_path)
    assert names_root(opened, ada) and not names_root(opened, eve)
    opened.close()
