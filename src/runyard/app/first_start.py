"""What a data folder holds from its first start: keys and tokens in files only the owner reads, and the
administrator."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from runyard.engine.ports import Tx, Vault
from runyard.http.auth import hash_token, new_token
from runyard.model.errors import Invalid, NotFound, Unavailable
from runyard.model.work import Token, User
from runyard.settings import Settings


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets of this server."""

    root_token: str
    secret_key: str
    registration_token: str


def prepare(settings: Settings) -> Keys:
    """The data folder and its keys, made when they are not there."""
    data = settings.data
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Keys(
            root_token=settings.root_token or kept(data / "root-token", "glpat-"),
            secret_key=settings.secret_key or kept(data / "secret-key", "rk-"),
            registration_token=settings.registration_token or kept(data / "registration-token", "GR"),
        )
    except OSError as error:
        raise Unavailable(
            f"The data folder {data} cannot be used: {error.strerror}. Choose another with --data."
        ) from error


def kept(path: Path, prefix: str) -> str:
    """The text in the file; a new one is written whole or not at all, mode 0600."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        text = new_token(prefix)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the atomic rename itself
        return text


ROOT_TOKEN = "root token"  # noqa: S105 - its name
SEAL = "seal"


def ensure_root(tx: Tx, root_token: str, now: int) -> User:
    """The administrator, with this token; an earlier root token is worth nothing any more."""
    root = tx.user_by_name("root") or tx.add(
        User(
            id=0, username="root", name="Administrator", email="root@localhost", is_admin=True, created_at=now
        )
    )
    hashed = hash_token(root_token)
    known = tx.token_by_hash(hashed)
    if known is None:
        tx.add(
            Token(
                id=0,
                kind="personal",
                hash=hashed,
                user_id=root.id,
                name=ROOT_TOKEN,
                scopes=("api",),
                created_at=now,
            )
        )
    elif known.revoked_at is not None:
        tx.save(replace(known, revoked_at=None))
    # A changed root token means that the old one may be in wrong hands: it ends, with the sessions that were
    # opened with it.
    live = [t for t in tx.tokens_of(root.id) if t.revoked_at is None and t.hash != hashed]
    earlier = [t for t in live if t.name == ROOT_TOKEN]
    for token in (*earlier, *(t for t in live if t.kind == "session" and earlier)):
        tx.save(replace(token, revoked_at=now))
    return root


def revoke(tx: Tx, user: User, now: int) -> int:
    """Ends every token and session of a user; answers how many."""
    live = [t for t in tx.tokens_of(user.id) if t.revoked_at is None]
    for token in live:
        tx.save(replace(token, revoked_at=now))
    return len(live)


def key_notes(tx: Tx, vault: Vault) -> list[str]:
    """What to tell of a secret key that is not the one this database's secrets were sealed with, as after a
    restore without it. The first key leaves its mark with the administrator."""
    root = tx.user_by_name("root")
    if root is None:
        return []
    if SEAL not in root.extra:
        tx.save(replace(root, extra={**root.extra, SEAL: vault.seal(SEAL)}))
        return []
    try:
        vault.open(str(root.extra[SEAL]))
    except Unavailable:
        return [
            "secret key: not the one this database was sealed with, so its passwords and variables cannot be opened. "
            "Put the old DATA/secret-key back (or set RUNYARD_SECRET_KEY) and start again; if it is lost, set each of them anew."
        ]
    return []


def add_token(tx: Tx, username: str, text: str, name: str, days: int, now: int) -> None:
    """A personal token for a user, who is made when new."""
    user = tx.user_by_name(username) or tx.add(User(id=0, username=username, name=username, created_at=now))
    expires = now + days * 86_400_000 if days else None
    tx.add(
        Token(
            id=0,
            kind="personal",
            hash=hash_token(text),
            user_id=user.id,
            name=name[:255],
            scopes=("api",),
            created_at=now,
            expires_at=expires,
        )
    )


def must_exist(settings: Settings) -> None:
    """A token for a folder that nobody serves would open nothing."""
    if not settings.secret_key and not (settings.data / "secret-key").exists():
        raise NotFound(
            f"{settings.data} is no server's data folder; name it with --data, or start `runyard serve` once to make it."
        )


def make_token(settings: Settings, username: str, name: str, days: int) -> str:
    """`runyard token`: works on the data folder of a stopped server (SQLite) or of any (PostgreSQL)."""
    text = new_token("glpat-")
    _with_user(settings, username, lambda tx, now: add_token(tx, username, text, name, days, now))
    return text


def make_client(settings: Settings, username: str) -> tuple[str, str]:
    """`runyard token USER --api3`: (client id, secret) for the clients of Looker's API, under the same
    conditions."""
    client_id, secret = new_token(""), new_token("lks-")

    def work(tx: Tx, now: int) -> None:
        user = tx.user_by_name(username) or tx.add(User(0, username, username, created_at=now))
        tx.add(Token(0, "api3", hash_token(secret), user.id, name=client_id, created_at=now))

    _with_user(settings, username, work)
    return client_id, secret


def _with_user(settings: Settings, username: str, work: Callable[[Tx, int], None]) -> None:
    from runyard.app.compose import clock
    from runyard.store import open_database

    if not username.isascii() or not username.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise Invalid("A user name has letters, digits, '.', '_' and '-' only.")
    must_exist(settings)
    db, _ = open_database(settings.database, settings.data)
    try:
        db.submit_write(lambda tx: work(tx, clock())).result()
    finally:
        db.close()


def revoke_tokens(settings: Settings, username: str) -> int:
    """`runyard token USER --revoke`: ends all tokens and sessions of a user, under the same conditions."""
    from runyard.app.compose import clock
    from runyard.store import open_database

    must_exist(settings)
    db, _ = open_database(settings.database, settings.data)

    def work(tx: Tx) -> int:
        user = tx.user_by_name(username)
        if user is None:
            raise NotFound(f"There is no user {username[:100]!r}.")
        return revoke(tx, user, clock())

    try:
        return db.submit_write(work).result()
    finally:
        db.close()
