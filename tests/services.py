"""Services on the real store in memory, for tests that call one door without a server. The clock stands still
until the test moves it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from runyard.blobs import open_blobs
from runyard.dialects import Dialect
from runyard.engine.access import add_member
from runyard.engine.ports import Tx
from runyard.engine.terms import Terms
from runyard.http.auth import hash_token, new_token, resolver, signer
from runyard.http.launch import Launcher
from runyard.http.reach import Elsewhere
from runyard.http.services import Services
from runyard.model.access import Role
from runyard.model.trigger import ServerFacts
from runyard.model.work import Member, Token, User
from runyard.settings import Settings
from runyard.sources.repositories import GitSource
from runyard.store import open_database
from runyard.store.vault import AesVault

ROOT, PLAIN = "glpat-root", "glpat-plain"


def services_of(dialect: Dialect, folder: Path, **settings: Any) -> tuple[Services, list[int]]:
    """The services, with an administrator (ROOT) and a person (PLAIN) in them, and the clock: a list of one
    moment."""
    chosen = Settings(data=folder, body_limit_bytes=1 << 20, **settings)
    server = ServerFacts(url="http://ci.test")
    terms = Terms.of(chosen, server)
    db, bell = open_database("sqlite://", folder)
    source, vault = GitSource(folder / "repositories", allow_local=True), AesVault("key")
    time = [1_800_000_000_000]

    def now() -> int:
        return time[0]

    blobs = open_blobs(str(folder / "blobs"))
    elsewhere = Elsewhere(db, source, blobs, False, now)
    launcher = Launcher(terms, db, source, vault, now, {dialect.name: dialect}, elsewhere.for_user)
    services = Services(
        settings=chosen,
        terms=terms,
        server=server,
        db=db,
        bell=bell,
        blobs=blobs,
        source=source,
        vault=vault,
        now=now,
        new_token=new_token,
        principal=resolver(db, now),
        start=launcher.start,
        draft=launcher.draft,
        pushed=launcher.pushed,
        words=lambda _: dialect.words,
        sign=signer(b"secret"),
    )
    launcher.hearers.append(partial(dialect.pushed, services))
    launcher.losers.append(partial(dialect.lost, services))
    db.submit_write(people).result()
    return services, time


def people(tx: Tx) -> None:
    """Root, and someone without rights of an administrator."""
    for name, text, admin in (("root", ROOT, True), ("plain", PLAIN, False)):
        user = tx.add(User(0, name, name.title(), f"{name}@x.test", is_admin=admin))
        tx.add(Token(0, "personal", hash_token(text), user.id, scopes=("api",)))


def join(tx: Tx, username: str, path: str, role: Role) -> None:
    """Makes someone a member of a project."""
    user, project = tx.user_by_name(username), tx.project_by_path(path)
    assert user is not None and project is not None
    add_member(tx, Member(0, user.id, role, project.id))
